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

    :param model: the model for requests that name none; defaults to `LLM_STREAM_MODEL`.
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
        """Decorate the function that returns the owner, who pays, as a string; or it aborts.

        It runs in the request context, before the body or the query is read.
        """
        self._authorize = function
        return function

    def authorize_usage(self, function: AuthorizeT) -> AuthorizeT:
        """Decorate the function that controls access to the usage page and its data.

        It returns True for all streams, or an owner for that owner's; or it aborts. Without it the routes are closed.
        """
        self._authorize_usage = function
        return function

    def on_usage(self, function: UsageHookT) -> UsageHookT:
        """Decorate a function that gets the `UsageRecord` of each stream, once, however the stream ended.

        It runs in the stream's thread, in an app context, before readers receive `done`. Its exceptions are logged and
        otherwise ignored.
        """
        self._hooks.on_usage.append(function)
        return function

    def on_answer(self, function: AnswerHookT) -> AnswerHookT:
        """Decorate a function that gets the `Answer` of each stream, once, however the stream ended.

        It runs after the functions of `on_usage`, in the same thread and app context, before readers receive `done`:
        a page that has seen the end finds the answer in your database. Its exceptions are logged and otherwise ignored.

        If the worker that wrote the answer died, another worker calls it. With a shared log (`LLM_STREAM_LOG_URL`) the
        answer then has the text. Without one, but with a ledger, it has only its record and its metadata.
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

        Its docstring and its typed parameters tell the model what it does; pydantic checks the model's arguments. It
        runs in a thread of the stream, with the request and an app context, for `deadline_s` at most (default:
        `LLM_STREAM_TOOL_S`). It returns JSON, or what pydantic can turn into JSON. A generator may yield `Data`,
        `Source` and `File` meanwhile, and returns its result.

        Raise `ToolError` to tell the model what went wrong. Of other exceptions the model only learns that the tool
        failed, and the log has the traceback. `concurrent`: it may run beside its neighbours of the same step.
        `needs_approval`: the stream ends with the call open, and the reader's next turn brings the decision.
        Raises `TypeError` for a function that cannot be a tool, and `ValueError` for a name that is taken.
        """

        def register(function: ToolT) -> ToolT:
            self._toolbox.add(Tool(function, **options))
            return function

        return register if function is None else register(function)

    def transform(self, function: TransformT) -> TransformT:
        """Decorate a generator function that gets the events of each stream and yields what readers shall see.

        It gets an iterator of the content events, in order, without `Start`, `Failure`, `Usage` and `Done`. It may
        yield events, text, lists of these, and `None`, which is skipped. Several are applied in the order of their
        registration. It runs in the stream's thread, in an app context of its own, and is closed when the stream ends.

        If it returns before its input has ended, the upstream is closed, and the stream ends as `incomplete` with the
        finish_reason `content_filter`. If it yields a `Done` or a `Failure`, the stream ends with that. If it raises,
        the stream fails. The record counts what the model wrote, whatever readers see of it.

        `events()` inside a generator that is passed to `respond()` is not transformed, because that generator's stream
        is. `events()` inside a transform starts a stream of its own, without transforms.
        """
        check_transform(function)
        self._transforms.append(function)
        return function

    def budget(self, function: BudgetOfT) -> BudgetOfT:
        """Decorate the function that returns an owner's budget. It replaces `LLM_STREAM_BUDGETS`.

        It is called with the owner before each stream, in the request context. It returns a value of the same form as
        the setting, or None for no limit.
        """
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

        A request with a `Last-Event-ID`, or with a `key` that was used before, attaches to the existing stream:
        `source` is not started. `format` is `native`, `text` or `html`, and defaults to the query parameter `format`.
        With `format="html"`, `template` names a Jinja template that renders each content event and a failure. It gets
        `event`, `text`, which is escaped already, and `css_class`, which its element should have.
        `tools` are functions, which run here, and schemas of tools that the reader runs. Without it all functions of
        `tool()` are offered; `[]` offers none. `approvals` are the reader's decisions, `{id: true}`, as they come.
        `schema` is a type that pydantic checks the answer with; `partial` events carry the JSON so far.
        `response_format` is that of the chat completions API, and the answer is not checked.
        `metadata` is JSON of the app's own, 4 KiB at most. It is kept with the stream, for `on_answer`, `on_usage`,
        the signals, the ledger and `stream()`, and is never sent to readers.
        Raises `LLMStreamError` if the request is refused; the app answers it with JSON.
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
        """The same stream as a generator of events, without HTTP: for a command, a job or a test. Needs an app context.

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
        """A stream by its id, of any owner: compare `owner` before you show it. Needs an app context.

        Raises `UnknownStream` (404) and `ExpiredStream` (410), which are `LLMStreamError`s, and with a shared log
        `LogUnavailable` (503).
        """
        return handle.StreamHandle(self.state.streams.find(None, stream_id))
