"""The HTML wire, for pages without JavaScript of their own: each piece of the answer is a fragment to append.

    data: <span class="llm-8a8b35a6a342e491b341">Hello &lt;you&gt;</span>

    event: done
    data: completed

htmx's SSE extension shows the answer with `sse-connect`, `sse-swap="message"` and `sse-close="done"`. The wire keeps
line ends, so the element needs `white-space: pre-wrap`. A failure is also a fragment: `<p role="alert">`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from html import escape

from ..events import CONTENT
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Refusal
from ..events import Reset
from ..events import Start
from . import sse
from .lines import LinesWire
from .lines import frame
from .text import STARTED_AGAIN

Render = Callable[[Event, str, str], str]
"""Renders a fragment from a content event or a failure, its text, and the class of the fragment's element."""


class HtmlWire(LinesWire):
    """Every fragment of a stream has the same class, so that a later fragment can remove void ones.

    The removal uses htmx's out-of-band swap. It happens after a reset, and at the start, because a page that lost its
    connection may request the answer again. Clients without htmx show a note about the reset instead.
    """

    def __init__(self, render: Render | None = None) -> None:
        super().__init__()
        self._render = render
        self._class = ""
        self._has_text = False

    def resume(self, last: Event) -> None:
        super().resume(last)
        self._has_text = True

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        self._class = f"llm-{stream_id}"
        return super().encode(stream_id, first, events)

    def _frames(self, event: Event) -> list[bytes]:
        if isinstance(event, Start):  # with nothing to remove, htmx logs an error in the console
            return [frame([f'<span class="{self._class}"></span>']), self._void()]
        if isinstance(event, Done):
            return [b"event: done\n" + frame([event.status])]
        if isinstance(event, Reset):
            return [self._void(STARTED_AGAIN)] if self._has_text else []
        fragment = self._fragment(event)
        if not fragment:
            return []
        self._has_text = True
        return [frame(sse.LINE_END.split(fragment))]

    def _void(self, note: str = "") -> bytes:
        """An element that makes htmx remove the answer's fragments and this element. Other clients show the note."""
        self._after_cr = self._has_text = False
        return frame([f'<span hx-swap-oob="delete:.{self._class}">{note}</span>'])

    def _fragment(self, event: Event) -> str:
        text = self._text_of(event)
        if text is None:
            return ""
        if self._render is not None:
            return self._render(event, text, self._class)
        if isinstance(event, Failure):
            return f'<p role="alert" class="{self._class}">{escape(text)}</p>'
        return f'<span class="{self._class}">{escape(text)}</span>'

    def _text_of(self, event: Event) -> str | None:
        """None: this wire does not show the event."""
        if isinstance(event, (Delta, Refusal)):
            return self._rest_of(event.text) or None
        if isinstance(event, Failure):
            return event.message
        if self._render is not None and type(event) in CONTENT:
            return getattr(event, "text", "")
        return None
