"""How events are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from typing import Protocol

from ..events import Event


class Wire(Protocol):
    """Turns the events of one reader into bytes. An instance serves one response."""

    heartbeat: ClassVar[bytes]
    is_the_same_for_all: ClassVar[bool] = False
    """Whether the bytes of an event depend on nothing but the event and its number."""

    is_over: bool = False
    """It has written its end, which may come before the stream's: the response ends there."""

    def opening(self) -> bytes:
        """The first bytes, which let the headers go out."""

    def resume(self, last: Event) -> None:
        """The reader has had all events up to `last` before."""

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        """Events number `first`, `first + 1`, …"""
