"""The plain wire: `data: <text>` … `data: [DONE]`, for simple clients.

Every line end starts a new `data:` line: an event stream cannot contain it otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Refusal
from ..events import Reset
from . import Wire
from . import sse

INTERRUPTED = "[Response interrupted. Please try again.]"
STARTED_AGAIN = "[The answer starts again.]"
END = "[DONE]"


class TextWire(Wire):
    def __init__(self) -> None:
        self._after_cr = False
        self._has_text = False

    def opening(self, retry_ms: int = sse.RETRY_MS) -> bytes:
        return sse.retry(retry_ms)

    def resume(self, last: Event) -> None:
        self._has_text = True
        if isinstance(last, (Delta, Refusal)):
            self._after_cr = last.text.endswith("\r")

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        return b"".join(
            self._numbered(f"id: {stream_id}-{number}\n".encode(), self._frames(event))
            for number, event in enumerate(events, first)
        )

    @staticmethod
    def _numbered(number: bytes, frames: list[bytes]) -> bytes:
        """Only the last frame of an event has its id, so a reader with the id has the whole event."""
        return b"".join(frames[:-1]) + number + frames[-1] if frames else b""

    def _frames(self, event: Event) -> list[bytes]:
        if isinstance(event, (Delta, Refusal)):
            return self._text(event.text)
        if isinstance(event, Failure):
            return self._paragraph(INTERRUPTED)
        if isinstance(event, Reset):
            return self._paragraph(STARTED_AGAIN + "\n\n")
        if isinstance(event, Done):
            return [_frame([END])]
        return []

    def _text(self, text: str) -> list[bytes]:
        if self._after_cr and text.startswith("\n"):
            self._after_cr = False
            text = text[1:]  # the LF of a CRLF whose CR has already been written as a line end
        if not text:
            return []
        self._has_text = True
        self._after_cr = text.endswith("\r")
        return self._lines(sse.LINE_END.split(text))

    def _lines(self, lines: list[str]) -> list[bytes]:
        """Usually one frame. A line of the text that equals `END` is split over two."""
        if END not in lines:
            return [_frame(lines)]
        at = lines.index(END)
        return [_frame([*lines[:at], END[:3]]), *self._lines([END[3:], *lines[at + 1 :]])]

    def _paragraph(self, text: str) -> list[bytes]:
        self._after_cr = False
        return self._lines(sse.LINE_END.split(f"\n\n{text}" if self._has_text else text))


def _frame(lines: list[str]) -> bytes:
    return sse.data_lines(lines) + b"\n"
