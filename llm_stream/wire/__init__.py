"""The formats in which clients receive events."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

from ..events import Event
from . import sse


class Wire(ABC):
    """Encodes the events of one response as bytes. Each response has its own instance."""

    heartbeat: ClassVar[bytes] = sse.HEARTBEAT
    is_the_same_for_all: ClassVar[bool] = False
    """Whether the bytes depend only on the event and its number, so that several readers can share them."""

    is_over = False
    """Set once the wire has written its last bytes, possibly before the stream's end. The response then ends."""

    def opening(self, retry_ms: int = sse.RETRY_MS) -> bytes:
        """The first bytes, sent at once. Some clients do not see the headers before the first byte.

        `retry_ms` is how long the client should wait before it reconnects. Some wires cannot send it.
        """
        return b""

    def resume(self, last: Event) -> None:  # noqa: B027 (empty by default)
        """Continue after `last`, which the reader has. Wires without event numbers always start at the first event."""

    @abstractmethod
    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        """Encode the events numbered `first`, `first + 1`, …"""


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
