"""`LLMStream`: what a Flask app registers, and calls from views of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import TypeVar
from typing import cast

from flask import Blueprint
from flask import Config
from flask import Flask
from flask import Response
from flask import current_app
from flask import request
from flask.blueprints import BlueprintSetupState
from flask.logging import default_handler
from flask.logging import has_level_handler
from openai import OpenAI

from . import access
from . import cli
from . import response
from . import routes
from . import signals
from .chat_request import ChatRequest
from .chat_request import Message
from .errors import ConfigError
from .errors import ExpiredStream
from .errors import InvalidField
from .errors import LLMStreamError
from .errors import UnknownStream
from .events import Event
from .events import Usage
from .settings import PREFIX
from .settings import Settings
from .stream import Stream
from .stream import Verdict
from .streams import Streams
from .upstream.client import Client
from .upstream.completion import Completion
from .upstream.iterator import IteratorSource
from .usage.account import account
from .usage.record import UsageRecord
from .wire import Wire
from .wire import sse

logger = logging.getLogger("llm_stream")

EXTENSION = "llm_stream"

Hook = Callable[[UsageRecord], object]
HookT = TypeVar("HookT", bound=Hook)
AuthorizeT = TypeVar("AuthorizeT", bound=access.Authorize)


@dataclass(frozen=True)
class State:
    """What one `LLMStream` has in one app."""

    app: Flask
    settings: Settings
    model: str
    streams: Streams


class LLMStream(Blueprint):
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
        self._hooks: list[Hook] = []
        self.record(self._install)
        routes.add_to(self)
        cli.add_to(self)

    def authorize(self, function: AuthorizeT) -> AuthorizeT:
        """Decorate the function that says who pays: it returns the owner, as a string, or aborts.

        It is called in the request, before anything else of it is read.
        """
        self._authorize = function
        return function

    def on_usage(self, function: HookT) -> HookT:
        """Decorate a function that is called with the `UsageRecord` of each stream, once, however it ended.

        It is called within the app's context, in the stream's own thread, before the stream's readers are told that
        it is done. What it raises is logged and harms nothing.
        """
        self._hooks.append(function)
        return function

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
        state = self.state
        wire = response.wire_of(format or request.args.get("format"))
        owner = self.admit()
        if attached := self.attached(owner, wire):
            _discard(source)
            return attached
        if request.method == "HEAD":
            _discard(source)
            return Response(mimetype=sse.MIMETYPE)
        if source is not None:
            stream = self.open(owner, source=source, model=model, key=key)
        else:
            asked = self._request(state, messages, prompt, model, max_output_tokens, temperature, tools, key)
            stream = self.open(owner, asked)
        return response.answer(state.streams, stream, request, wire)

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

        Ends with `Done`; never raises for what goes wrong upstream. Closing the generator stops the stream.
        """
        state = self.state
        if source is not None:
            stream = self.open(owner, source=source, model=model)
        else:
            asked = self._request(state, messages, prompt, model, max_output_tokens, temperature, tools, None)
            stream = self.open(owner, asked)
        return _events_of(state.streams, stream)

    # What the routes and the commands are made of…

    @property
    def state(self) -> State:
        """This `LLMStream`'s part of the current app."""
        try:
            state: State = current_app.extensions[EXTENSION][self.name]
        except KeyError:
            raise RuntimeError(f"The LLMStream {self.name!r} is not registered on this app.") from None
        return state

    def admit(self) -> str:
        """The owner of the current request. Raises `CrossSite`, `Unauthorized`, or what `authorize` aborts with."""
        access.check_site(request, self.state.settings)
        return access.owner_of(request, self._authorize)

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
        state = self.state
        if asked is not None:
            request_asked = asked
            stream, new = state.streams.start(
                owner,
                asked.model,
                lambda: Completion(self._client.get, request_asked, state.settings),
                key=asked.key,
                fingerprint=asked.fingerprint() if asked.key else b"",
            )
        else:
            made = IteratorSource(source or ())
            stream, new = state.streams.start(owner, model or made.asked_model, lambda: made, key=key)
        if new:
            signals.stream_started.send(state.app, id=stream.id, owner=stream.owner, model=stream.model)
        else:
            _discard(source)
        return stream

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
        return self.follow(stream, int(number) if number.isdecimal() else 0, wire)

    def follow(self, stream: Stream, after: int, wire: Wire) -> Response:
        """The rest of a stream, from the event after number `after`; 204 if there is none and will be none."""
        if stream.settled.is_set() and after >= len(stream.log):
            return response.nothing_more()
        after = min(after, len(stream.log))
        return response.answer(self.state.streams, stream, request, wire, after=after)

    def _request(
        self,
        state: State,
        messages: Sequence[Message] | None,
        prompt: str | None,
        model: str | None,
        max_output_tokens: int | None,
        temperature: float | None,
        tools: Sequence[Mapping[str, Any]] | None,
        key: str | None,
    ) -> ChatRequest:
        if (messages is None) == (prompt is None):
            raise TypeError("give either messages or prompt, or an iterable to stream")
        if not (messages or prompt):
            raise InvalidField("The field 'prompt' is empty.")
        return ChatRequest(
            messages=messages if messages is not None else [{"role": "user", "content": prompt}],
            model=model or state.model,
            max_output_tokens=max_output_tokens or state.settings.max_output_tokens,
            temperature=temperature,
            tools=tools,
            key=key,
        )

    # Registration…

    def _install(self, setup: BlueprintSetupState) -> None:
        app = cast(Flask, setup.app)
        states = app.extensions.setdefault(EXTENSION, {})
        if self.name in states:
            return  # the same one under a second prefix
        _take_defaults_from_environment(app)
        settings = Settings.from_config(app.config)
        if self._authorize is None and not settings.public:
            raise ConfigError(
                f"Anybody could spend your money: decorate a function with @{self.name}.authorize that returns who"
                " pays, or set LLM_STREAM_PUBLIC = True."
            )
        model = self._model or settings.model
        if model is None:
            raise ConfigError(f"Which model? LLMStream({self.name!r}, …, model='…'), or LLM_STREAM_MODEL.")

        def settle(stream: Stream, verdict: Verdict) -> tuple[UsageRecord, Usage]:
            record, usage = account(stream, verdict, settings.prices)
            self._tell(app, record)
            return record, usage

        states[self.name] = State(app, settings, model, Streams(settings, settle))
        app.register_error_handler(LLMStreamError, response.error_response)
        _make_log_visible()

    def _tell(self, app: Flask, record: UsageRecord) -> None:
        """Everybody who wants to know; none can keep the others from it."""

        def send_signal(record: UsageRecord) -> None:
            signals.stream_settled.send(app, record=record)

        with app.app_context():
            for hook in (*self._hooks, send_signal, log_usage):
                try:
                    hook(record)
                except Exception:
                    logger.exception("%r failed for stream %s", hook, record.id)


def log_usage(record: UsageRecord) -> None:
    """The default hook: one line per stream."""
    logger.info("%s", record)


def _events_of(streams: Streams, stream: Stream) -> Iterator[Event]:
    reader = streams.follow(stream)
    try:
        for _, batch in reader.batches():
            yield from batch
    finally:
        stream.stop("cancelled")
        reader.close()


def _discard(source: Iterable[Any] | None) -> None:
    """A generator that will not be begun after all."""
    if close := getattr(source, "close", None):
        close()


def _take_defaults_from_environment(app: Flask) -> None:
    environment = Config(app.root_path)
    environment.from_prefixed_env(PREFIX.rstrip("_"))
    for name, value in environment.items():
        app.config.setdefault(PREFIX + name, value)


def _make_log_visible() -> None:
    """As Flask does for its own logger: the usage line is of no use where nobody sees it."""
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not has_level_handler(logger):
        logger.addHandler(default_handler)
