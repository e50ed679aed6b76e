"""`LLMStream`: what a Flask app registers, and calls from views of its own."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import TypeVar

from flask import Response
from flask import request
from openai import OpenAI

from .chat_request import Message
from .chat_request import checked_key
from .chat_request import from_program
from .core import part
from .core.books import Hook
from .events import Event
from .upstream.iterator import check_iterable
from .upstream.iterator import discard
from .usage.budget import BudgetOf
from .web import access
from .web import cli
from .web import response
from .web import routes
from .web.service import Service
from .wire import sse

HookT = TypeVar("HookT", bound=Hook)
AuthorizeT = TypeVar("AuthorizeT", bound=access.Authorize)
BudgetOfT = TypeVar("BudgetOfT", bound=BudgetOf)
ViewT = TypeVar("ViewT", bound=Callable[..., Any])


class LLMStream(Service):
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
        super().__init__(name, import_name, model, client, **options)
        routes.add_to(self)
        cli.add_to(self)

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
            defaults = self.defaults(model, max_output_tokens)
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
            asked = from_program(messages, prompt, *self.defaults(model, max_output_tokens), temperature, tools)

        def events() -> Iterator[Event]:
            if whole := part.whole():
                made = self.source_of(ours, asked, source, model, is_part=True)
                yield from part.events_of_part(whole, made, ours.settings.prices)
                return
            with ours.app.app_context():
                stream = self.open(owner, asked, source=source, model=model)
            yield from ours.streams.events_of(stream)

        return events()
