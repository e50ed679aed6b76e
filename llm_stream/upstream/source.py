"""The interface of a source: what a producer drains into the log, and the attempts that it makes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol

import msgspec

from ..errors import StreamError
from ..events import Event
from ..events import Usage


class Watchable(Protocol):
    """A connection that an event loop can watch. No method blocks."""

    def watch(self, callback: Callable[[], None]) -> bool:
        """Call `callback` whenever the connection may be readable, until `unwatch()`; False if there is no loop."""

    def unwatch(self) -> None: ...

    def read_ahead(self) -> bool:
        """Buffer the available bytes for the source's next read; False if there are none yet.

        Raises `OSError`, and `EOFError` at the end. Then the source's own read raises the same.
        """


class Waits:
    """A source yields this, in place of a batch, before it blocks on `connection`. None: it may block on anything."""

    __slots__ = ("connection",)

    def __init__(self, connection: Watchable | None = None) -> None:
        self.connection = connection


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A model at an upstream. The price of a call depends on both."""

    model: str
    """The upstream's name of the model."""
    alias: str | None = None
    """Our name of the model, if the upstream's name differs."""
    base_url: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A source's request to a model, as far as known before the call. Only the app knows an iterable's requests."""

    models: Sequence[str] = ()
    """The models that may be called, in this order."""
    places: Sequence[Place] = ()
    """The models with their upstreams, if there are several upstreams."""
    messages: Sequence[Mapping[str, Any]] | None = None
    """None if unknown."""
    input_tokens: int | None = None
    """The estimated number of input tokens. Used if another worker sent the request, so that the messages are unknown.
    """
    tools: Sequence[Mapping[str, Any]] | None = None
    options: Mapping[str, Any] | None = None
    """Other request fields, under the upstream's names."""
    max_output_tokens: int | None = None
    """The limit of one attempt."""
    most_attempts: int = 1
    """The maximum number of attempts that may produce output."""

    @property
    def model(self) -> str | None:
        return self.models[0] if self.models else None

    @property
    def most_output_tokens(self) -> int | None:
        """The limit of all attempts together."""
        return None if self.max_output_tokens is None else self.max_output_tokens * self.most_attempts


NOTHING = Asked()


@dataclass(eq=False)
class Attempt:
    """One call of a model. The source lists it before the call and fills it in during the call."""

    model: str | None = None
    """The model in the request."""
    asked: Asked = NOTHING
    base_url: str | None = None
    alias: str | None = None
    """Our name of the model, if the upstream's name differs."""
    upstream: str | None = None
    """The name of the upstream, if there are several."""
    accepted: bool = False
    """Whether the provider received the request and did not refuse it. Such a call must be paid for."""
    upstream_model: str | None = None
    """The model that the provider reports."""
    request_id: str | None = None
    """The provider's id of the call: its `x-generation-id` or `x-request-id`."""
    service_tier: str | None = None
    """The service class that the provider reports: `flex`, `priority`, …"""
    figures: Usage | None = None
    """The provider's token counts and cost so far."""
    is_whole: bool = False
    """Whether the answer is complete, so the figures are final."""
    segment: int = 0
    """The log segment with the attempt's events. Each `Reset` and each `Step` begins another segment."""
    written: list[Event] | None = None
    """The events of the answer; None if they are in the stream's log."""

    @property
    def models(self) -> tuple[str, ...]:
        """The model names to look up a price by."""
        return tuple(name for name in (self.model, self.alias, self.upstream_model) if name)


class SourceOfEvents(Protocol):
    """What a producer drains. One thread at a time runs `batches()`; any thread may call `interrupt()`."""

    def batches(self) -> Iterable[Any]:
        """Lists of events, one per read, with `Waits` in between. The last item is the `Ending`."""

    def interrupt(self) -> None:
        """Cancel the current call, even if it is blocked."""

    @property
    def asked(self) -> Asked: ...

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The calls made so far, in order. The cost is the sum over the accepted ones."""

    @property
    def base_url(self) -> str | None:
        """The upstream's URL; None if unknown."""

    @property
    def last_refusal(self) -> StreamError | None:
        """Why the last attempt failed, if it did."""

    @property
    def wrapping_up(self) -> bool:
        """Whether the answer is complete, and only its figures and the end of the body may follow."""

    @property
    def is_busy(self) -> bool:
        """Whether tools are running, which have their own deadlines."""
