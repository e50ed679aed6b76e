"""How events are written."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from ..events import Event
from . import sse


class Wire(ABC):
    """Turns the events of one reader into bytes. An instance serves one response."""

    heartbeat: ClassVar[bytes] = sse.HEARTBEAT
    is_the_same_for_all: ClassVar[bool] = False
    """Whether the bytes of an event depend on nothing but the event and its number."""

    is_over = False
    """It has written its end, which may come before the stream's: the response ends there."""

    def opening(self) -> bytes:
        """The first bytes; of those wires whose clients need some to see the headers."""
        return b""

    def resume(self, last: Event) -> None:  # noqa: B027 (most have nothing to do)
        """The reader has had all events up to `last` before. Wires without numbers are read from the start, always."""

    @abstractmethod
    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        """Events number `first`, `first + 1`, …"""
