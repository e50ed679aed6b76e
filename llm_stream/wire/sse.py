"""The frames of an event stream.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MIMETYPE = "text/event-stream"

HEADERS = {
    "Cache-Control": "no-cache, no-transform",  # nothing between us and the reader may compress, and so hold back
    "X-Accel-Buffering": "no",  # nor may nginx
}

RETRY = b"retry: 1000\n"
"""Not a block of its own: it goes out at once, and the first event's lines follow it."""

HEARTBEAT = b": ping\n\n"

LINE_END = re.compile(r"\r\n|\r|\n")  # not splitlines(): it also splits on U+2028, \x0b, \x85


def event_number(text: str) -> int | None:
    """The number in an id, or in a query; None if it is none that we could have given."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def data_lines(lines: Iterable[str]) -> bytes:
    """One `data:` line for each, with the space that parsers take away: the text's own would go instead."""
    return "".join(f"data: {line}\n" for line in lines).encode()
