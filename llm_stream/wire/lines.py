"""The base of the wires that send text in `data:` lines instead of JSON.

Every line end starts a new `data:` line, because a line of an event stream cannot contain one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from ..events import Delta
from ..events import Event
from ..events import Refusal
from . import Wire
from . import sse


class LinesWire(Wire):
    def __init__(self) -> None:
        self._after_cr = False

    def opening(self, retry_ms: int = sse.RETRY_MS) -> bytes:
        return sse.retry(retry_ms)

    def resume(self, last: Event) -> None:
        if isinstance(last, (Delta, Refusal)):
            self._after_cr = last.text.endswith("\r")

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        return b"".join(
            self._numbered(f"id: {stream_id}-{number}\n".encode(), self._frames(event))
            for number, event in enumerate(events, first)
        )

    @staticmethod
    def _numbered(number: bytes, frames: list[bytes]) -> bytes:
        """Add the event's id to its last frame only, so a reader that has the id has the whole event."""
        return b"".join(frames[:-1]) + number + frames[-1] if frames else b""

    @abstractmethod
    def _frames(self, event: Event) -> list[bytes]:
        """The event as frames; empty if this wire does not show the event."""

    def _rest_of(self, text: str) -> str:
        """`text` without the LF of a CRLF whose CR has already been written as a line end."""
        if not text:
            return text
        rest = text[1:] if self._after_cr and text.startswith("\n") else text
        self._after_cr = text.endswith("\r")
        return rest


def frame(lines: list[str]) -> bytes:
    return sse.data_lines(lines) + b"\n"
