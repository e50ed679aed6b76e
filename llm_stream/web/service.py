"""The operations that routes, commands and the app's own views share: admit, open, resume and follow."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

from flask import Response
from flask import request
from flask.blueprints import BlueprintSetupState
from openai import OpenAI

from ..chat_request import ChatRequest
from ..core.filled import outside
from ..core.followed import Followed
from ..core.hooks import Hooks
from ..core.schema import Schema
from ..core.steps import Steps
from ..core.streams import NO_METADATA
from ..core.structured import Structured
from ..core.tools.run import is_tool
from ..core.tools.toolbox import Toolbox
from ..core.transforms import Transform
from ..errors import ExpiredStream
from ..errors import UnknownStream
from ..requests import native
from ..settings import ApiName
from ..settings import Settings
from ..upstream.client import Client
from ..upstream.completion import Completion
from ..upstream.iterator import IteratorSource
from ..upstream.iterator import discard
from ..upstream.source import SourceOfEvents
from ..upstream.upstreams import Upstreams
from ..usage.budget import BudgetOf
from ..wire import Wire
from ..wire import sse
from . import access
from . import body
from . import response
from . import state
from .registration import Views
from .state import State

NO_TOOLS = Toolbox()


class Service(Views):
    """A blueprint that starts and finds streams. It stores nothing that belongs to an app."""

    def __init__(
        self,
        name: str,
        import_name: str,
        model: str | None,
        client: OpenAI | Callable[[], OpenAI] | None,
        api: ApiName | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, import_name, **options)
        self._model = model
        self._client = Client(client)
        self._api = api
        self._upstreams: WeakSet[Upstreams] = WeakSet()
        self._authorize: access.Authorize | None = None
        self._authorize_usage: access.Authorize | None = None
        self._hooks = Hooks()
        self._toolbox = Toolbox()
        self._transforms: list[Transform] = []
        self._budget_of: BudgetOf | None = None
        self.record(self._install)

    def _install(self, setup: BlueprintSetupState) -> None:
        state.install(
            setup,
            self,
            model=self._model,
            client=self._client,
            api=self._api,
            is_guarded=self._authorize is not None,
            hooks=self._hooks,
            transforms=self._transforms,
            budget_of=self._budget_of,
        )
        self._upstreams.add(setup.app.extensions[state.EXTENSION][self].upstreams)

    @property
    def state(self) -> State:
        """This blueprint's state in the current app."""
        return state.current(self)

    @property
    def tools(self) -> Toolbox:
        return self._toolbox

    @property
    def is_guarded(self) -> bool:
        """Whether the app has an `authorize` function."""
        return self._authorize is not None

    @property
    def is_registered(self) -> bool:
        """Whether an app that still exists has registered it."""
        return bool(self._upstreams)

    @property
    def has_budget_function(self) -> bool:
        return self._budget_of is not None

    def close(self) -> None:
        """Close the connections to the upstream. The next stream opens new ones."""
        self._client.close()
        for upstreams in self._upstreams:
            upstreams.close()

    def admit(self) -> str:
        """Check the current request and return its owner. Raises `RequestError`, or the exception of `authorize`."""
        access.check_processes(request, self.state.settings)
        access.warn_if_one_at_a_time(request)
        access.check_site(request, self.state.settings)
        return access.owner_of(request, self._authorize)

    def read_request(self) -> ChatRequest:
        """Read and check the current request's JSON body as `POST /chat` does, for a view of your own.

        It accepts only the roles `user` and `assistant`, allowed models and an allowed size. The `approvals` are the
        reader's decisions. Raises `RequestError`, which becomes a JSON error response.
        """
        settings = self.state.settings
        return native.from_body(body.read_json(settings), settings, self.state.model)

    @property
    def shows_usage(self) -> bool:
        """Whether the app has an `authorize_usage` function."""
        return self._authorize_usage is not None

    def usage_scope(self) -> str | None:
        """The owner whose usage the current request may see; None for all owners. Raises `UsageClosed`."""
        return access.scope_of(self._authorize_usage, self.name)

    def open(
        self,
        owner: str,
        chat_request: ChatRequest | None = None,
        *,
        source: Iterable[Any] | None = None,
        model: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] = NO_METADATA,
        toolbox: Toolbox | None = None,
        schema: Schema | None = None,
        settings: Settings | None = None,
        kept_request: bytes = b"",
    ) -> Followed:
        """Start a stream, or attach to the stream that has the key. Raises `LLMStreamError`.

        `toolbox` has the tools that run on the server; None means all registered tools. The answer must match
        `schema`. `settings` replace the app's settings for this stream. `kept_request` is stored with the stream.
        """
        state = self.state
        stream_source = self.source_of(state, owner, chat_request, source, model, toolbox)
        key = chat_request.key if chat_request else key
        fingerprint = (chat_request.fingerprint() if chat_request else body.fingerprint()) if key else b""
        try:
            stream, is_new = state.streams.start(
                owner,
                stream_source.asked.model,
                stream_source,
                key=key,
                fingerprint=fingerprint,
                metadata=metadata,
                structured=self.structured(schema),
                settings=settings,
                request=kept_request,
            )
        except BaseException:
            discard(source)
            raise
        if not is_new:
            discard(source)
        return stream

    def source_of(
        self,
        state: State,
        owner: str,
        chat_request: ChatRequest | None,
        source: Iterable[Any] | None,
        model: str | None,
        toolbox: Toolbox | None,
        *,
        is_part: bool = False,
    ) -> SourceOfEvents:
        """The upstream calls for `chat_request`, or `source` unchanged. `is_part`: another stream gets its events."""
        if chat_request is None:
            return IteratorSource(source or (), model, state.app.app_context)
        settings, approvals = state.settings, chat_request.approvals
        if toolbox is None:  # a tool that asks a model must not call itself
            toolbox = NO_TOOLS if is_tool() else self._toolbox

        def complete(request: ChatRequest, segment: int = 0) -> Completion:
            may_reset = not (is_part or segment or approvals)
            # a reset would also void the events before it: other parts, earlier steps, results
            own = settings if may_reset else replace(settings, retry_after_content=False)
            if segment:  # one hedge per answer
                own = replace(own, hedge_after_s=None)
            return Completion(state.upstreams, request, own, owner, segment)

        if not (toolbox or approvals):
            return complete(chat_request)
        return Steps(
            toolbox.offered_to(chat_request),
            complete,
            toolbox,
            decided=state.approvals.decided(owner, chat_request),
            ask=partial(state.approvals.ask, owner),
            scope=state.app.app_context,
            tool_s=settings.tool_s,
            max_steps=settings.max_steps,
        )

    def structured(self, schema: Schema | None) -> Structured | None:
        """The check of one answer against `schema`. The app's validators run in their own app context."""
        state = self.state

        @contextmanager
        def scope() -> Iterator[None]:
            with outside(), state.app.app_context():
                yield

        return Structured(schema, scope) if schema else None

    def defaults(self, model: str | None, max_output_tokens: int | None) -> tuple[str, int]:
        return model or self.state.model, max_output_tokens or self.state.settings.max_output_tokens

    def resume(self, owner: str, wire: Wire) -> Response | None:
        """The response to a reader that reconnects with a `Last-Event-ID`; None without this header.

        It never starts a stream: 204 if the stream is unknown or expired.
        """
        event_id = request.headers.get("Last-Event-ID")
        if not event_id:
            return None
        stream_id, _, number = event_id.rpartition("-")
        try:
            stream = self.state.streams.find(owner, stream_id)
        except (UnknownStream, ExpiredStream):
            return response.nothing_more()
        return self.follow(stream, sse.event_number(number) or 0, wire)

    def follow(self, stream: Followed, after: int, wire: Wire) -> Response:
        """The events after number `after`; 204 if the stream has ended and has no more."""
        if stream.log.ended and after >= stream.log.last:
            return response.nothing_more(stream)
        return response.answer(self.state.streams, stream, request, wire, after=stream.position(after))
