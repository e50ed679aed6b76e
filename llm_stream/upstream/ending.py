"""The ending of an answer, as a single value."""

from __future__ import annotations

import msgspec

from ..errors import LLMStreamError
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Status
from ..events import Usage
from .source import Attempt


class Ending(msgspec.Struct, frozen=True):
    """The last item of a source. The stream settles with this ending."""

    status: Status
    finish_reason: str | None = None
    failure: Failure | None = None
    usage: Usage | None = None
    attempts: tuple[Attempt, ...] = ()
    """The calls that were made, in their final state."""

    @classmethod
    def of(cls, error: LLMStreamError) -> Ending:
        return cls(error.ending, failure=error.failure())

    def events(self) -> list[Event]:
        """The terminal events, in order."""
        events: list[Event] = [event for event in (self.failure, self.usage) if event is not None]
        return [*events, Done(self.status, self.finish_reason)]
