"""The bytes of an event stream become the data of its events.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
with what real providers need on top: the last event counts without its blank line, and llama.cpp's old
`error:` line is data too.
"""

from __future__ import annotations

from ..errors import UpstreamGarbled

MAX_EVENT_BYTES = 4_194_304


class Splitter:
    """Give it the bytes of each read; it returns the data of the events that became complete."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Raises `UpstreamGarbled` for an event of more than `MAX_EVENT_BYTES`."""
        if not self._rest and _is_one_line(chunk):
            return [chunk[6:-2]]
        if b"\n" not in chunk and b"\r" not in chunk and not (self._rest and self._rest[-1].endswith(b"\r")):
            self._keep(chunk)
            return []
        text = b"".join([*self._rest, chunk])
        if b"\r" in text:
            text, held = (text[:-1], b"\r") if text.endswith(b"\r") else (text, b"")  # half a CRLF, perhaps
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            held = b""
        *blocks, rest = text.split(b"\n\n")
        self._rest, self._size = [], 0
        self._keep(rest + held)
        return [data for block in blocks if (data := _data_of(block))]

    def end(self) -> list[bytes]:
        """The event that the stream ended in, if it had any data."""
        rest, self._rest = b"".join(self._rest), []
        data = _data_of(rest.rstrip(b"\r\n"))
        return [data] if data else []

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._size += len(piece)
        if self._size > MAX_EVENT_BYTES:
            raise UpstreamGarbled()


def _is_one_line(chunk: bytes) -> bool:
    """Whether this is what most reads bring: one event, of one line of data, with some in it."""
    return (
        chunk.startswith(b"data: ")
        and chunk.endswith(b"\n\n")
        and chunk.count(b"\n") == 2
        and b"\r" not in chunk
        and len(chunk) > 8
    )


def _data_of(block: bytes) -> bytes:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = []
    for line in block.split(b"\n"):
        name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            lines.append(value)
        elif name == b"error":
            lines.append(b'{"error":' + value + b"}")
    return b"\n".join(lines)
