"""How events are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from typing import Protocol

from ..events import Event


class Wire(Protocol):
    """Turns the events of one reader into bytes. An instance serves one response."""

    heartbeat: ClassVar[bytes]

    def opening(self) -> bytes:
        """The first bytes, which let the headers go out."""

    def resume(self, last: Event) -> None:
        """The reader has had all events up to `last` before."""

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        """Events number `first`, `first + 1`, …"""
