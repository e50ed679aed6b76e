"""The plain text wire, for simple clients: `data: <text>` … `data: [DONE]`."""

from __future__ import annotations

from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Refusal
from ..events import Reset
from . import sse
from .lines import LinesWire
from .lines import frame

INTERRUPTED = "[Response interrupted. Please try again.]"
STARTED_AGAIN = "[The answer starts again.]"
END = "[DONE]"


class TextWire(LinesWire):
    def __init__(self) -> None:
        super().__init__()
        self._has_text = False

    def resume(self, last: Event) -> None:
        super().resume(last)
        self._has_text = True

    def _frames(self, event: Event) -> list[bytes]:
        if isinstance(event, (Delta, Refusal)):
            return self._text(event.text)
        if isinstance(event, Failure):
            return self._paragraph(INTERRUPTED)
        if isinstance(event, Reset):
            return self._paragraph(STARTED_AGAIN + "\n\n")
        if isinstance(event, Done):
            return [frame([END])]
        return []

    def _text(self, text: str) -> list[bytes]:
        rest = self._rest_of(text)
        if not rest:
            return []
        self._has_text = True
        return self._lines(sse.LINE_END.split(rest))

    def _lines(self, lines: list[str]) -> list[bytes]:
        """The text as frames, usually one. A line that equals `END` is split over two frames."""
        if END not in lines:
            return [frame(lines)]
        at = lines.index(END)
        return [frame([*lines[:at], END[:3]]), *self._lines([END[3:], *lines[at + 1 :]])]

    def _paragraph(self, text: str) -> list[bytes]:
        self._after_cr = False
        return self._lines(sse.LINE_END.split(f"\n\n{text}" if self._has_text else text))
