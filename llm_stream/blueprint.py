"""`LLMStream`: the blueprint that an app registers and calls from its own views."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import TypeVar
from typing import overload

from flask import Response
from flask import request
from openai import OpenAI

from .chat_request import Message
from .chat_request import checked_key
from .chat_request import checked_metadata
from .chat_request import from_program
from .core import part
from .core.hooks import AnswerHook
from .core.hooks import UsageHook
from .core.tools.tool import Tool
from .core.tools.toolbox import Offered
from .core.transforms import Transform
from .core.transforms import check_transform
from .events import Event
from .requests.response_format import options_of_program
from .settings import ApiName
from .upstream.iterator import check_iterable
from .upstream.iterator import discard
from .usage.budget import BudgetOf
from .web import access
from .web import cli
from .web import handle
from .web import response
from .web import routes
from .web.service import Service
from .wire import sse

UsageHookT = TypeVar("UsageHookT", bound=UsageHook)
AnswerHookT = TypeVar("AnswerHookT", bound=AnswerHook)
AuthorizeT = TypeVar("AuthorizeT", bound=access.Authorize)
BudgetOfT = TypeVar("BudgetOfT", bound=BudgetOf)
ToolT = TypeVar("ToolT", bound=Callable[..., Any])
TransformT = TypeVar("TransformT", bound=Transform)
ViewT = TypeVar("ViewT", bound=Callable[..., Any])


class LLMStream(Service):
    """Answers of a language model, streamed: `app.register_blueprint(LLMStream("llm", __name__), url_prefix="/llm")`.

    :param model: the model for requests that do not name one; defaults to `LLM_STREAM_MODEL`.
    :param client: an `OpenAI` client, or a function that returns one, called once per process by the first stream.
        Defaults to `OpenAI()`, which reads `OPENAI_API_KEY` and `OPENAI_BASE_URL`.
    :param api: the upstream's API, `"chat"` (completions) or `"responses"`; defaults to `LLM_STREAM_API`.
    :param options: the options of `flask.Blueprint`.

    One `LLMStream` may be registered on several apps, and one app may register several.
    Registering raises `ConfigError` for an invalid setting, or without `authorize` unless `LLM_STREAM_PUBLIC` is on.
    """

    def __init__(
        self,
        name: str,
        import_name: str,
        *,
        model: str | None = None,
        client: OpenAI | Callable[[], OpenAI] | None = None,
        api: ApiName | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("static_folder", str(Path(__file__).parent / "static"))
        options.setdefault("static_url_path", "/static")
        super().__init__(name, import_name, model, client, api, **options)
        routes.add_to(self)
        cli.add_to(self)

    def authorize(self, function: AuthorizeT) -> AuthorizeT:
        """Decorate the function that identifies the owner, who pays. It returns a string, or aborts the request.

        It runs in the request context, before the body or the query is read.
        """
        self._authorize = function
        return function

    def authorize_usage(self, function: AuthorizeT) -> AuthorizeT:
        """Decorate the function that controls access to the usage page and its data.

        The function returns True for access to all streams, or an owner for access to that owner's streams. Or it
        aborts the request. Without such a function, the routes refuse all requests.
        """
        self._authorize_usage = function
        return function

    def on_usage(self, function: UsageHookT) -> UsageHookT:
        """Decorate a function that gets the `UsageRecord` of each stream, once, whatever the stream's status.

        It runs in the stream's thread, in an app context, before readers get `done`. Its exceptions are only logged.
        """
        self._hooks.on_usage.append(function)
        return function

    def on_answer(self, function: AnswerHookT) -> AnswerHookT:
        """Decorate a function that gets the `Answer` of each stream, once, whatever the stream's status.

        It runs after the functions of `on_usage`, in the same thread and app context, before readers receive `done`.
        So when a page gets `done`, the answer is already in your database. Its exceptions are only logged.

        If the worker that wrote the answer died, another worker calls the function. With a shared log
        (`LLM_STREAM_LOG_URL`), the answer has the text then. With only a ledger, it has just the record and metadata.
        """
        self._hooks.on_answer.append(function)
        return function

    @overload
    def tool(self, function: ToolT, /) -> ToolT: ...
    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        concurrent: bool = False,
        needs_approval: bool = False,
        deadline_s: float | None = None,
    ) -> Callable[[ToolT], ToolT]: ...
    def tool(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Decorate a function that the model may call: `@llm.tool`, or `@llm.tool(concurrent=True)`.

        The function's docstring and its typed parameters describe the tool to the model. pydantic checks the model's
        arguments. The function runs in a thread of the stream, with the request and an app context, for `deadline_s` at
        most (default: `LLM_STREAM_TOOL_S`). It returns JSON, or a value that pydantic can convert to JSON. A generator
        may yield `Data`, `Source` and `File` while it runs, and returns its result.

        Raise `ToolError` to tell the model what went wrong. After any other exception, the model only learns that the
        tool failed, and the server's log has the traceback. `concurrent`: the tool may run at the same time as
        neighbouring concurrent calls of the step. `needs_approval`: the stream ends with the call open, and the
        reader's next request has the decision.
        Raises `TypeError` for a function that cannot be a tool, and `ValueError` for a name that is already registered.
        """

        def register(function: ToolT) -> ToolT:
            self._toolbox.add(Tool(function, **options))
            return function

        return register if function is None else register(function)

    def transform(self, function: TransformT) -> TransformT:
        """Decorate a generator function that gets the events of each stream and yields the events for readers.

        The generator gets an iterator of the content events, in order, without `Start`, `Failure`, `Usage` and `Done`.
        It may yield events, text, lists of these, and `None`, which is skipped. Several transforms are applied in the
        order of their registration. The generator runs in the stream's thread, in its own app context, and is closed
        when the stream ends.

        If the generator returns before its input has ended, the upstream is closed, and the stream ends as `incomplete`
        with the finish_reason `content_filter`. If it yields a `Done` or a `Failure`, the stream ends with that event.
        If it raises, the stream fails. The record counts everything that the model wrote, even what readers do not get.

        `events()` inside a generator that is passed to `respond()` is not transformed, because the generator's stream
        is transformed already. `events()` inside a transform starts a separate stream, without transforms.
        """
        check_transform(function)
        self._transforms.append(function)
        return function

    def budget(self, function: BudgetOfT) -> BudgetOfT:
        """Decorate the function that returns an owner's budget. It replaces `LLM_STREAM_BUDGETS`.

        It gets the owner before each stream, in the request context. It returns a value like the setting's, or None.
        """
        if self.is_registered:
            raise RuntimeError("Put @llm.budget before app.register_blueprint(): a later one is never called.")
        self._budget_of = function
        return function

    def cross_origin(self, view: ViewT) -> ViewT:
        """Decorate a view that calls `respond()`, so that pages of `LLM_STREAM_ORIGINS` may POST JSON to it."""
        routes.origins.mark_view(view, self)
        return view

    # For the app's own views:

    def respond(
        self,
        source: Iterable[Any] | None = None,
        /,
        *,
        messages: Sequence[Message] | None = None,
        prompt: str | None = None,
        model: str | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        tools: Sequence[Offered] | None = None,
        approvals: Mapping[str, Any] | None = None,
        schema: Any = None,
        response_format: Mapping[str, Any] | None = None,
        key: str | None = None,
        format: str | None = None,
        template: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Response:
        """Answer the current request with a stream: a model's answer to `messages` or `prompt`, or `source`.

        `source` is an iterable of text, events or chat completion chunks. It is read in its own thread, which has the
        request context. All arguments are trusted: any role, model and size is allowed.

        A request with a `Last-Event-ID`, or with a `key` that was used before, attaches to the existing stream, and
        `source` is not started. `format` is `native`, `text` or `html`, and defaults to the query parameter `format`.
        With `format="html"`, `template` names a Jinja template that renders each content event and a failure. The
        template gets `event`, `text` (already escaped) and `css_class`, the class for its element.
        `tools` are functions, which run here, and schemas of tools that the reader runs. By default, all functions of
        `tool()` are offered; `[]` offers none. `approvals` are the reader's unchecked decisions, `{id: true}`.
        `schema` is a type that pydantic checks the answer with; `partial` events have the JSON so far.
        `response_format` has the format of the chat completions API. The answer is not checked against it.
        `metadata` is the app's own JSON, 4 KiB at most. It is kept with the stream, for `on_answer`, `on_usage`,
        the signals, the ledger and `stream()`, and is never sent to readers.
        Raises `LLMStreamError` if the request is refused; if the view does not catch it, the client gets JSON.
        """
        routes.origins.claim_request(self)
        check_iterable(source)
        try:
            wire = response.wire_of(format or request.args.get("format"), template)
            kept = checked_metadata(metadata)
            form, options = options_of_program(schema, response_format, has_source=source is not None)
            owner, key = self.admit(), checked_key(key) if key else None
        except BaseException:
            discard(source)
            raise
        if resumed := self.resume(owner, wire):
            discard(source)
            return resumed
        if request.method == "HEAD":
            discard(source)
            return Response(mimetype=sse.MIMETYPE)
        if source is not None:
            stream = self.open(owner, source=source, model=model, key=key, metadata=kept)
        else:
            defaults = self.defaults(model, max_output_tokens)
            toolbox, schemas = self._toolbox.chosen(tools)
            asked = from_program(messages, prompt, *defaults, temperature, schemas, key, approvals, options)
            stream = self.open(owner, asked, metadata=kept, toolbox=toolbox, schema=form)
        return response.answer(self.state.streams, stream, request, wire)

    def events(
        self,
        source: Iterable[Any] | None = None,
        /,
        *,
        messages: Sequence[Message] | None = None,
        prompt: str | None = None,
        model: str | None = None,
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        tools: Sequence[Offered] | None = None,
        approvals: Mapping[str, Any] | None = None,
        schema: Any = None,
        response_format: Mapping[str, Any] | None = None,
        owner: str = "local",
        metadata: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """Like `respond()`, but as a generator of events, for a command, a job or a test. Needs an app context.

        The first `next()` starts the stream. The last event is `Done`; upstream errors are events, not exceptions.
        Closing the generator stops the stream and waits until its record is written.
        """
        check_iterable(source)
        state, kept = self.state, checked_metadata(metadata)
        form, options = options_of_program(schema, response_format, has_source=source is not None)
        chat_request = toolbox = None
        if source is None:
            defaults = self.defaults(model, max_output_tokens)
            chosen, schemas = self._toolbox.chosen(tools)
            toolbox = None if tools is None else chosen
            chat_request = from_program(messages, prompt, *defaults, temperature, schemas, None, approvals, options)

        def events() -> Iterator[Event]:
            if whole := part.whole():
                part_source = self.source_of(state, whole.owner, chat_request, source, model, toolbox, is_part=True)
                yield from part.events_of_part(whole, part_source, state.settings.prices, self.structured(form))
                return
            with state.app.app_context():
                stream = self.open(
                    owner, chat_request, source=source, model=model, metadata=kept, toolbox=toolbox, schema=form
                )
            yield from state.streams.events_of(stream)

        return events()

    def stream(self, stream_id: str) -> handle.StreamHandle:
        """Find any owner's stream by its id: compare its `owner` before you show it. Needs an app context.

        Raises `UnknownStream` (404) and `ExpiredStream` (410), which are `LLMStreamError`s, and with a shared log
        `LogUnavailable` (503).
        """
        return handle.StreamHandle(self.state.streams.find(None, stream_id))
