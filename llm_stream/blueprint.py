"""`LLMStream`: what a Flask app registers, and calls from views of its own."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import TypeVar

from flask import Response
from flask import request
from flask.blueprints import BlueprintSetupState
from openai import OpenAI

from . import access
from . import cli
from . import part
from . import response
from . import routes
from . import state
from .books import Hook
from .chat_request import ChatRequest
from .chat_request import Message
from .chat_request import checked_key
from .chat_request import from_program
from .errors import ExpiredStream
from .errors import UnknownStream
from .events import Event
from .registration import Views
from .routes import body
from .source import SourceOfEvents
from .state import State
from .stream import Stream
from .upstream.client import Client
from .upstream.completion import Completion
from .upstream.iterator import IteratorSource
from .upstream.iterator import check_iterable
from .upstream.iterator import discard
from .usage.budget import BudgetOf
from .wire import Wire
from .wire import sse

HookT = TypeVar("HookT", bound=Hook)
AuthorizeT = TypeVar("AuthorizeT", bound=access.Authorize)
BudgetOfT = TypeVar("BudgetOfT", bound=BudgetOf)
ViewT = TypeVar("ViewT", bound=Callable[..., Any])


class LLMStream(Views):
    """Answers of a language model, streamed: `app.register_blueprint(LLMStream("llm", __name__), url_prefix="/llm")`.

    :param model: the model that is asked when a request names none; without it `LLM_STREAM_MODEL` is.
    :param client: an `OpenAI` client, or a function that makes one. It is called once in each process, by the first
        stream. Without it `OpenAI()` is used, which reads `OPENAI_API_KEY` and `OPENAI_BASE_URL`.
    :param options: what `flask.Blueprint` takes.

    It may be registered on several apps, and several may be registered on one; nothing of an app is kept here.
    Registering raises `ConfigError` for a wrong `LLM_STREAM_*` value, and where nothing says who may use it.
    """

    def __init__(
        self,
        name: str,
        import_name: str,
        *,
        model: str | None = None,
        client: OpenAI | Callable[[], OpenAI] | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("static_folder", str(Path(__file__).parent / "static"))
        options.setdefault("static_url_path", "/static")
        super().__init__(name, import_name, **options)
        self._model = model
        self._client = Client(client)
        self._authorize: access.Authorize | None = None
        self._authorize_usage: access.Authorize | None = None
        self._hooks: list[Hook] = []
        self._budget_of: BudgetOf | None = None
        self.record(self._install)
        routes.add_to(self)
        cli.add_to(self)

    def _install(self, setup: BlueprintSetupState) -> None:
        state.install(
            setup,
            self,
            model=self._model,
            is_guarded=self._authorize is not None,
            hooks=self._hooks,
            budget_of=self._budget_of,
        )

    def authorize(self, function: AuthorizeT) -> AuthorizeT:
        """Decorate the function that says who pays: it returns the owner, as a string, or aborts.

        It is called in the request, before anything else of it is read.
        """
        self._authorize = function
        return function

    def authorize_usage(self, function: AuthorizeT) -> AuthorizeT:
        """Decorate the function that says who may see what was spent: it returns True, or an owner, or aborts.

        With an owner, only that owner's streams are shown. Without such a function nobody sees anything.
        """
        self._authorize_usage = function
        return function

    def on_usage(self, function: HookT) -> HookT:
        """Decorate a function that is called with the `UsageRecord` of each stream, once, however it ended.

        It is called within the app's context, in the stream's own thread, before the stream's readers are told that
        it is done. What it raises is logged and harms nothing.
        """
        self._hooks.append(function)
        return function

    def budget(self, function: BudgetOfT) -> BudgetOfT:
        """Decorate the function that says what an owner may spend, in the place of `LLM_STREAM_BUDGETS`.

        It is called with the owner before each stream, in the request, and returns the same as that setting holds, or
        None for an owner who may spend without a limit.
        """
        self._budget_of = function
        return function

    def cross_origin(self, view: ViewT) -> ViewT:
        """Decorate a view that calls `respond()`, so that pages of `LLM_STREAM_ORIGINS` may POST JSON to it."""
        routes.origins.mark(view, self)
        return view

    # In views of one's own…

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
        tools: Sequence[Mapping[str, Any]] | None = None,
        key: str | None = None,
        format: str | None = None,
    ) -> Response:
        """Answer the current request with a stream: of a model, asked `messages` or `prompt`, or of `source`.

        `source` is any iterable of text, events or chat completion chunks; it is read in a thread of its own, which
        sees the request's context. What is passed here is trusted: any role, any model, any size.

        A request that comes with a `Last-Event-ID`, or with a `key` that was seen before, attaches to the stream it
        knows, and `source` is not begun. `format` is `native` or `text`; without it the request's own `?format=` is.
        Raises `LLMStreamError` where the request is refused, which the app answers with JSON.
        """
        routes.origins.claim(self)
        check_iterable(source)
        try:
            wire = response.wire_of(format or request.args.get("format"))
            owner, key = self.admit(), checked_key(key) if key else None
        except BaseException:
            discard(source)
            raise
        if attached := self.attached(owner, wire):
            discard(source)
            return attached
        if request.method == "HEAD":
            discard(source)
            return Response(mimetype=sse.MIMETYPE)
        if source is not None:
            stream = self.open(owner, source=source, model=model, key=key)
        else:
            defaults = self._defaults(model, max_output_tokens)
            stream = self.open(owner, from_program(messages, prompt, *defaults, temperature, tools, key))
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
        tools: Sequence[Mapping[str, Any]] | None = None,
        owner: str = "local",
    ) -> Iterator[Event]:
        """The same as a generator of events, without HTTP: for the terminal, a job, a test. Needs an app context.

        The stream is started when the first event is asked for. Ends with `Done`; never raises for what goes wrong
        upstream. Closing the generator stops the stream, and waits until its record is written.
        """
        check_iterable(source)
        ours = self.state
        asked = None
        if source is None:
            asked = from_program(messages, prompt, *self._defaults(model, max_output_tokens), temperature, tools)

        def events() -> Iterator[Event]:
            if whole := part.whole():
                made = self._source(ours, asked, source, model, is_part=True)
                yield from part.events_of_part(whole, made, ours.settings.prices)
                return
            with ours.app.app_context():
                stream = self.open(owner, asked, source=source, model=model)
            yield from ours.streams.events_of(stream)

        return events()

    # What the routes and the commands are made of…

    @property
    def state(self) -> State:
        """This `LLMStream`'s part of the current app."""
        return state.current(self)

    def admit(self) -> str:
        """The owner of the current request. Raises `RequestError`, or what `authorize` aborts with."""
        access.check_processes(request)
        access.check_site(request, self.state.settings)
        return access.owner_of(request, self._authorize)

    def usage_scope(self) -> str | None:
        """The owner whose usage the current request may see, None for everybody's. Raises `UsageClosed`."""
        return access.scope_of(self._authorize_usage, self.name)

    def open(
        self,
        owner: str,
        asked: ChatRequest | None = None,
        *,
        source: Iterable[Any] | None = None,
        model: str | None = None,
        key: str | None = None,
    ) -> Stream:
        """Start a stream, or find the one that the key stands for. Raises `LLMStreamError`."""
        ours = self.state
        made = self._source(ours, asked, source, model)
        key = asked.key if asked else key
        fingerprint = (asked.fingerprint() if asked else body.fingerprint()) if key else b""
        try:
            stream, new = ours.streams.start(owner, made.asked.model, made, key=key, fingerprint=fingerprint)
        except BaseException:
            discard(source)
            raise
        if not new:
            discard(source)
        return stream

    def _source(
        self,
        ours: State,
        asked: ChatRequest | None,
        source: Iterable[Any] | None,
        model: str | None,
        *,
        is_part: bool = False,
    ) -> SourceOfEvents:
        if asked is None:
            return IteratorSource(source or (), model, ours.app.app_context)
        settings = ours.settings
        if is_part:  # a reset would void what the other parts have said
            settings = replace(settings, retry_after_content=False)
        return Completion(self._client.endpoint, asked, settings)

    def _defaults(self, model: str | None, max_output_tokens: int | None) -> tuple[str, int]:
        return model or self.state.model, max_output_tokens or self.state.settings.max_output_tokens

    def attached(self, owner: str, wire: Wire) -> Response | None:
        """The response to a reader that comes back with a `Last-Event-ID`; None for one that does not.

        What it read is never bought again: where the stream is not known any more there is nothing more to say.
        """
        last = request.headers.get("Last-Event-ID")
        if not last:
            return None
        stream_id, _, number = last.rpartition("-")
        try:
            stream = self.state.streams.find(owner, stream_id)
        except (UnknownStream, ExpiredStream):
            return response.nothing_more()
        return self.follow(stream, sse.event_number(number) or 0, wire)

    def follow(self, stream: Stream, after: int, wire: Wire) -> Response:
        """The rest of a stream, from the event after number `after`; 204 if there is none and will be none."""
        if stream.log.ended and after >= len(stream.log):
            return response.nothing_more()
        after = min(after, len(stream.log))
        return response.answer(self.state.streams, stream, request, wire, after=after)
