"""Splits a response body into payloads, which are its JSON values, with any framing.

The body's first significant byte determines the framing. The Content-Type does not: servers label single JSON objects
as `text/event-stream` or `text/plain`, and event streams as `application/json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from ..errors import UpstreamGarbled
from .text import is_json
from .text import split_json

MAX_EVENT_BYTES = 4_194_304

OPENING = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n]+|:[^\r\n]*[\r\n])*")
"""Bytes that do not determine the framing: a byte order mark, blank lines, event stream comments."""

PAGE = b'{"error":{"type":"html_page"}}'
"""Replaces an HTML page, which a gateway or a captive portal sends on error."""


class Framing(Protocol):
    def feed(self, piece: bytes) -> list[bytes]: ...

    def end(self) -> list[bytes]: ...


class Payloads:
    """Takes the bytes of each read and returns the payloads that are complete now.

    Once the framing is known, `feed` and `end` are the framing's own methods, so the detection costs nothing per token.
    """

    def __init__(self) -> None:
        self.feed: Callable[[bytes], list[bytes]] = self._begin
        self.end: Callable[[], list[bytes]] = list
        self._opening = b""

    def _begin(self, piece: bytes) -> list[bytes]:
        opening = OPENING.sub(b"", self._opening + piece, count=1)
        if opening.startswith(b":"):  # an unfinished comment
            self._opening = b":"
        elif b"\xef\xbb\xbf".startswith(opening):  # empty, or part of a byte order mark
            self._opening = opening
        else:
            framing = _framing_of(opening)
            self.feed, self.end, self._opening = framing.feed, framing.end, b""
            return framing.feed(opening)
        return []


class _Buffered:
    """Buffers the bytes of an incomplete payload. A payload of more than `MAX_EVENT_BYTES` is garbled.

    Earlier payloads of the same read are still returned. Then the next call raises the error.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._is_garbled = False

    def _keep(self, rest: bytes) -> None:
        self._rest += rest
        if len(self._rest) > MAX_EVENT_BYTES + 1:  # it may end with half of a blank line
            self._is_garbled = True
            self._rest.clear()

    def _fitting(self, blocks: list[bytes]) -> list[bytes]:
        """The blocks before the first that is too large."""
        if max(map(len, blocks), default=0) > MAX_EVENT_BYTES:
            self._is_garbled = True
            self._rest.clear()
            return blocks[: next(at for at, block in enumerate(blocks) if len(block) > MAX_EVENT_BYTES)]
        return blocks

    def _checked(self, payloads: list[bytes]) -> list[bytes]:
        """Raises `UpstreamGarbled`."""
        if self._is_garbled and not payloads:
            raise UpstreamGarbled()
        return payloads


class Splitter(_Buffered):
    """Splits an event stream into the data of its events.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    Two deviations for real providers: the last event counts without its blank line, and llama.cpp's old `error:` line
    is data too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        """A carriage return that may be the first half of a CRLF."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises `UpstreamGarbled` for an event of more than `MAX_EVENT_BYTES`."""
        if not (self._rest or self._held or self._is_garbled):
            if _is_one_line(piece):
                return [piece[6:-2]]
            if piece.endswith(b"\n\n") and b"\r" not in piece and (data := _named(piece[:-2])):
                return [data]
        if self._is_garbled:
            raise UpstreamGarbled()
        text = self._with_line_feeds(piece)
        if b"\n\n" not in self._rest[-1:] + text:  # so that old bytes are not searched again
            self._keep(text)
            return self._checked([])
        *blocks, rest = (bytes(self._rest) + text).split(b"\n\n")
        self._rest.clear()
        blocks = self._fitting(blocks)
        if not self._is_garbled:
            self._keep(rest)
        return self._checked([data for block in blocks if (data := _data_of(block))])

    def end(self) -> list[bytes]:
        """The data of an unfinished last event, if it has any. Raises `UpstreamGarbled`."""
        rest = bytes(self._rest)
        self._rest.clear()
        if len(rest.rstrip(b"\n")) > MAX_EVENT_BYTES:
            self._is_garbled = True
        self._checked([])
        data = _data_of(rest.rstrip(b"\n"))
        return [data] if data else []

    def _with_line_feeds(self, piece: bytes) -> bytes:
        text, self._held = self._held + piece, b""
        if b"\r" not in text:
            return text
        if text.endswith(b"\r"):
            text, self._held = text[:-1], b"\r"
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class JSONText(_Buffered):
    """JSON without framing: one value over any number of lines, or one value per line."""

    _is_by_line: bool | None = None

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises `UpstreamGarbled` for a value of more than `MAX_EVENT_BYTES`."""
        if self._is_garbled:
            raise UpstreamGarbled()
        if self._is_by_line is False or b"\n" not in piece:
            self._keep(piece)
            return self._checked([])
        *lines, rest = (bytes(self._rest) + piece).split(b"\n")
        if self._is_by_line is None:
            self._is_by_line = len(lines[0]) <= MAX_EVENT_BYTES and is_json(lines[0])
            if not self._is_by_line:
                self._keep(piece)
                return self._checked([])
        self._rest.clear()
        lines = self._fitting(lines)
        if not self._is_garbled:
            self._keep(rest)
        return self._checked(_values_in(lines))

    def end(self) -> list[bytes]:
        text = bytes(self._rest)
        if len(text) > MAX_EVENT_BYTES:
            self._is_garbled = True
        self._checked([])
        if self._is_by_line:
            return _values_in([text])
        values, rest = split_json(text)
        if not values:
            return [text]  # the decoder raises the error
        events = Splitter()  # some servers append `data: [DONE]`
        return [*values, *events.feed(rest), *events.end()]


class Page:
    """An HTML page, which is never an answer. The text is ignored."""

    def feed(self, piece: bytes) -> list[bytes]:
        return [PAGE]

    def end(self) -> list[bytes]:
        return []


def _framing_of(opening: bytes) -> Framing:
    if opening.startswith((b"{", b"[")):
        return JSONText()
    return Page() if opening.startswith(b"<") else Splitter()


def _is_one_line(piece: bytes) -> bool:
    """Whether the piece is exactly one event with one non-empty line of data. Most reads return such a piece."""
    return (
        piece.startswith(b"data: ")
        and piece.endswith(b"\n\n")
        and piece.count(b"\n") == 2
        and b"\r" not in piece
        and len(piece) > 8
    )


def _named(block: bytes) -> bytes | None:
    """The data of an event that has just a name line and a data line; None for any other event."""
    if block.startswith(b"event: "):
        data = block.partition(b"\n")[2]
        if data.startswith(b"data: ") and b"\n" not in data:
            return data[6:]
    return None


def _data_of(block: bytes) -> bytes:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    if data := _named(block):
        return data
    lines = []
    for line in block.split(b"\n"):
        name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            lines.append(value)
        elif name == b"error":
            lines.append(b'{"error":' + value + b"}")
    return b"\n".join(lines)


def _values_in(lines: list[bytes]) -> list[bytes]:
    """One value per line. Some servers send an incorrect event stream, so `data:` and comments are removed."""
    values = (line.strip().removeprefix(b"data:").strip() for line in lines)
    return [value for value in values if value and not value.startswith(b":")]
