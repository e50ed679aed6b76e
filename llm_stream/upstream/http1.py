"""Parses and writes HTTP/1.1 heads, and decodes the framing of bodies. Does no I/O.

https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
from functools import lru_cache

import httpx2

MAX_HEAD_BYTES = 65536
LONG_LINE = "a line between chunks is too long"
MAX_LINE_BYTES = 4096
"""The maximum length of a chunk's size line with its extensions, or of one trailer."""

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n]*)?")
HEADER_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")

Headers = list[tuple[bytes, bytes]]


def head_of(request: httpx2.Request) -> bytes:
    """The head of a request without its Content-Length."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if b"\r" in value or b"\n" in value or not HEADER_NAME.fullmatch(name):
            raise httpx2.LocalProtocolError(f"illegal header {name!r}")
        if name.lower() == b"content-length":
            continue
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join(lines) + b"\r\n"


def parse_head(head: bytes) -> tuple[bytes, int, Headers]:
    first, *lines = head.split(b"\r\n")
    status = STATUS_LINE.fullmatch(first)
    if status is None:
        raise httpx2.RemoteProtocolError("this is not an HTTP/1.1 response")
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not HEADER_NAME.fullmatch(name):
            raise httpx2.RemoteProtocolError("a header is malformed")
        headers.append((name, value.strip(b" \t")))
    return status[1], int(status[2]), headers


def body_of(method: str, status: int, headers: Headers) -> Body:
    """https://www.rfc-editor.org/rfc/rfc9112#section-6.3"""
    if method == "HEAD" or status in (204, 304):
        return NoBody()
    codings = _values(headers, b"transfer-encoding")
    if codings:
        if codings != [b"chunked"]:
            raise httpx2.RemoteProtocolError("the transfer coding is not known")
        return ChunkedBody()
    sizes = set(_values(headers, b"content-length"))
    if not sizes:
        return Body()
    size = sizes.pop()
    if sizes or not CONTENT_LENGTH.fullmatch(size):
        raise httpx2.RemoteProtocolError("the content length is not valid")
    return SizedBody(int(size))


def stays_open(version: bytes, headers: Headers) -> bool:
    options = _values(headers, b"connection")
    return b"close" not in options and (version == b"1" or b"keep-alive" in options)


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    """All values of a header, in lower case, from comma-separated and repeated lines."""
    return [
        value.strip().lower()
        for name, line in headers
        if name.lower() == wanted
        for value in line.split(b",")
        if value.strip()
    ]


class Body:
    """A body that the end of the connection delimits. The subclasses detect the end of the body themselves."""

    ends_itself = False
    excess = False
    """Whether there were bytes after the end of the body."""
    error: httpx2.RemoteProtocolError | None = None
    """The framing error after the returned payload."""

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> bytes:
        return data

    def at_end(self) -> None:
        """The connection was closed. Raises `RemoteProtocolError` if the body is incomplete."""
        self.done = True


class NoBody(Body):
    ends_itself = True

    def __init__(self) -> None:
        self.done = True


class SizedBody(Body):
    """Delimited by Content-Length."""

    ends_itself = True

    def __init__(self, size: int) -> None:
        self._left = size
        self.done = size == 0

    def feed(self, data: bytes) -> bytes:
        payload = data[: self._left]
        self.excess = len(data) > self._left
        self._left -= len(payload)
        self.done = self._left == 0
        return payload

    def at_end(self) -> None:
        raise httpx2.RemoteProtocolError("the connection ended in the middle of the body")


@lru_cache(1024)
def _size_of(line: bytes) -> int:
    """The size of a chunk. Cached, because the chunks of an answer have few different sizes."""
    size = line.partition(b";")[0].rstrip(b" \t")
    if not CHUNK_SIZE.fullmatch(size):
        raise httpx2.RemoteProtocolError("a chunk has no valid size")
    return int(size, 16)


class ChunkedBody(Body):
    """A body in chunked transfer coding. `feed` joins the payload of all chunks of one read."""

    ends_itself = True

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # of the chunk's payload
        self._after_payload = False
        self._in_trailers = False
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The payload before an `error`, however the network has split the data: this payload still counts."""
        pieces: list[bytes] = []
        try:
            self._take(data, pieces)
        except httpx2.RemoteProtocolError as error:
            self.error = error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take(self, data: bytes, pieces: list[bytes]) -> None:
        """Raises `RemoteProtocolError`."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        while not self.done:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    return
                if data.startswith(b"\r\n", at):
                    at += 2
                else:
                    self._after_payload = True
            end = data.find(b"\r\n", at)
            if end < 0:
                self._keep_rest(data[at:])
                break
            self._read_line(data[at:end])
            at = end + 2
        self.excess = self.done and at < len(data)

    def at_end(self) -> None:
        raise httpx2.RemoteProtocolError("the connection ended in the middle of a chunked body")

    def _read_line(self, line: bytes) -> None:
        if len(line) > MAX_LINE_BYTES:
            raise httpx2.RemoteProtocolError(LONG_LINE)
        if self._after_payload:
            if line:
                raise httpx2.RemoteProtocolError("a chunk is longer than its size")
            self._after_payload = False
        elif self._in_trailers:
            self.done = not line
        else:
            self._left = _size_of(line)
            self._in_trailers = self._left == 0

    def _keep_rest(self, rest: bytes) -> None:
        if len(rest) > MAX_LINE_BYTES + 1:  # `rest` may end with half a line end
            raise httpx2.RemoteProtocolError(LONG_LINE)
        self._rest = rest
