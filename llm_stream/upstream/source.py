"""What a stream is filled from."""

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
    """A connection that an event loop can watch. None of this waits."""

    def watch(self, callback: Callable[[], None]) -> bool:
        """Call `callback` whenever there may be something to read, until `unwatch()`; False if no loop is at hand."""

    def unwatch(self) -> None: ...

    def read_ahead(self) -> bool:
        """Have what there is ready for the source's next read; False if there is nothing yet.

        Raises `OSError`, and `EOFError` at the end: the source will find the same.
        """


class Waits:
    """What a source gives in the place of a batch when it is about to wait: for `connection`, or for anything."""

    __slots__ = ("connection",)

    def __init__(self, connection: Watchable | None = None) -> None:
        self.connection = connection


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a source asks of a model, as far as that is known before it asks. Of an iterable, only its app knows."""

    models: Sequence[str] = ()
    """The models that may be asked, in this order."""
    messages: Sequence[Mapping[str, Any]] | None = None
    """None: not known."""
    tools: Sequence[Mapping[str, Any]] | None = None
    options: Mapping[str, Any] | None = None
    """What else is sent, under the upstream's own names."""
    max_output_tokens: int | None = None
    """The most that one attempt may write."""
    most_attempts: int = 1
    """How many attempts may come to write something."""

    @property
    def model(self) -> str | None:
        return self.models[0] if self.models else None

    @property
    def most_output_tokens(self) -> int | None:
        """The most that all attempts together may write."""
        return None if self.max_output_tokens is None else self.max_output_tokens * self.most_attempts


NOTHING = Asked()


@dataclass(eq=False)
class Attempt:
    """One call of a model. A source lists it before the call, and fills in what the provider says."""

    model: str | None = None
    """The model that was asked for."""
    asked: Asked = NOTHING
    base_url: str | None = None
    accepted: bool = False
    """The request reached the provider, which has not refused it: the call has to be paid for."""
    upstream_model: str | None = None
    """The model that the provider says it used."""
    request_id: str | None = None
    """The provider's own name of the call: its `x-generation-id`, or `x-request-id`."""
    service_tier: str | None = None
    """The class of service that the provider says it gave: `flex`, `priority`, …"""
    figures: Usage | None = None
    """The provider's token counts, and its price, so far."""
    is_whole: bool = False
    """The answer came to its end, so that the figures are final."""
    resets: int = 0
    """How many attempts of the same answer were voided by a `Reset` before this one."""
    written: list[Event] | None = None
    """The events of the answer; None where they are in the stream's log, between its resets."""

    @property
    def models(self) -> tuple[str, ...]:
        """The names under which this call may have a price."""
        return tuple(name for name in (self.model, self.upstream_model) if name)


class SourceOfEvents(Protocol):
    """What a producer drains. One thread at a time runs `batches()`, `interrupt()` may come from another."""

    def batches(self) -> Iterable[Any]:
        """The events that came together, as a list; or `Waits`."""

    def interrupt(self) -> None:
        """End the call that is being made, whatever it waits for."""

    @property
    def asked(self) -> Asked: ...

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The calls made so far, in their order. What they cost is the sum over those that were accepted."""

    @property
    def base_url(self) -> str | None:
        """Where the models are asked; None where that is not known."""

    @property
    def last_refusal(self) -> StreamError | None:
        """Why the last attempt failed, if it did."""

    @property
    def wrapping_up(self) -> bool:
        """The answer is whole; what is still awaited are its figures, and the end of the body."""
