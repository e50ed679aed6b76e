"""The payloads of a body: the JSON values in it, however they are framed.

What frames them, its first byte tells, not its label: servers send one JSON object as `text/event-stream`, as
`text/plain` or without a label, and event streams as `application/json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from ..errors import UpstreamGarbled
from . import json_values
from .sse import MAX_EVENT_BYTES
from .sse import Splitter

OPENING = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n]+|:[^\r\n]*[\r\n])*")
"""Bytes that tell nothing: a byte order mark, blank lines, comments of an event stream."""

PAGE = b'{"error":{"type":"html_page"}}'
"""Stands for an HTML page: a gateway's error page, or a captive portal's."""


class Framing(Protocol):
    def feed(self, piece: bytes) -> list[bytes]: ...

    def end(self) -> list[bytes]: ...


class Payloads:
    """Give it the bytes of each read; it returns the payloads that became complete.

    As soon as the framing is known, `feed` and `end` are the framing's own methods. So finding it out costs nothing per
    token.
    """

    def __init__(self) -> None:
        self.feed: Callable[[bytes], list[bytes]] = self._begin
        self.end: Callable[[], list[bytes]] = list
        self._opening = b""

    def _begin(self, piece: bytes) -> list[bytes]:
        opening = OPENING.sub(b"", self._opening + piece, count=1)
        if opening.startswith(b":"):  # a comment, which goes on
            self._opening = b":"
        elif b"\xef\xbb\xbf".startswith(opening):  # half a byte order mark, or nothing
            self._opening = opening
        else:
            framing = _framing_of(opening)
            self.feed, self.end, self._opening = framing.feed, framing.end, b""
            return framing.feed(opening)
        return []


class JSONText:
    """JSON without a frame: one value over any number of lines, or one value per line."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_by_line: bool | None = None

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises `UpstreamGarbled` for a value of more than `MAX_EVENT_BYTES`."""
        if self._is_by_line is False or b"\n" not in piece:
            self._keep(piece)
            return []
        *lines, rest = b"".join([*self._pieces, piece]).split(b"\n")
        if self._is_by_line is None:
            self._is_by_line = json_values.is_value(lines[0])
            if not self._is_by_line:
                self._keep(piece)
                return []
        self._pieces, self._size = [], 0
        self._keep(rest)
        return _in_lines(lines)

    def end(self) -> list[bytes]:
        text = b"".join(self._pieces)
        if self._is_by_line:
            return _in_lines([text])
        values, rest = json_values.split(text)
        if not values:
            return [text]  # the decoder says what is wrong with it
        events = Splitter()  # some servers put `data: [DONE]` behind it
        return [*values, *events.feed(rest), *events.end()]

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_EVENT_BYTES:
            raise UpstreamGarbled()


class Page:
    """HTML, which is no answer. Its text is not read."""

    def feed(self, piece: bytes) -> list[bytes]:
        return [PAGE]

    def end(self) -> list[bytes]:
        return []


def _framing_of(opening: bytes) -> Framing:
    if opening.startswith((b"{", b"[")):
        return JSONText()
    return Page() if opening.startswith(b"<") else Splitter()


def _in_lines(lines: list[bytes]) -> list[bytes]:
    """One value per line; a server that nearly sends an event stream may have fields and comments as well."""
    values = (line.strip().removeprefix(b"data:").strip() for line in lines)
    return [value for value in values if value and not value.startswith(b":")]
