"""Server-sent events: constants, ids and `data:` lines.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MIMETYPE = "text/event-stream"

HEADERS = {
    "Cache-Control": "no-cache, no-transform",  # a compressing proxy would buffer
    "X-Accel-Buffering": "no",  # turns off buffering in nginx
}

RETRY_MS = 1000
"""How long a client waits before it reconnects."""

HEARTBEAT = b": ping\n\n"

LINE_END = re.compile(r"\r\n|\r|\n")  # not splitlines(): it also splits on U+2028, \x0b, \x85


def retry(ms: int) -> bytes:
    """The `retry:` line, sent at once. It has no empty line after it: the first event's lines continue the block."""
    return b"retry: %d\n" % ms


def event_number(text: str) -> int | None:
    """Parse an event number from an id or a query; None if invalid."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def data_lines(lines: Iterable[str]) -> bytes:
    """One `data:` line for each line. Parsers strip one space after the colon, so we add one that they can strip."""
    return "".join(f"data: {line}\n" for line in lines).encode()
