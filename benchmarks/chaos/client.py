"""HTTP of one request per connection, by asyncio: light enough for hundreds of readers beside the servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

HEAD_S = 20.0
"""How long to wait for the status: a POST holds it until there is content."""

SILENCE_S = 8.0
"""How long a stream may be silent, heartbeats included."""


@dataclass
class Response:
    status: int
    headers: Mapping[str, str]
    _reader: asyncio.StreamReader

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `OSError`, `EOFError` and `TimeoutError` where it breaks off."""
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self._exactly(int(self.headers.get("content-length", "0")))
            return
        while size := int(await self._line(), 16):
            yield (await self._exactly(size + 2))[:-2]

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def blocks(self) -> AsyncIterator[dict[str, str]]:
        """The fields of each server-sent event."""
        rest = b""
        async for piece in self.pieces():
            *blocks, rest = (rest + piece).split(b"\n\n")
            for block in blocks:
                lines = [line.partition(": ") for line in block.decode().split("\n") if not line.startswith(":")]
                fields = {name: value for name, _, value in lines if value}
                if "data" in fields:
                    yield fields

    async def _line(self) -> bytes:
        line = await asyncio.wait_for(self._reader.readline(), SILENCE_S)
        if not line:
            raise EOFError
        return line

    async def _exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self._reader.readexactly(size), SILENCE_S)


@asynccontextmanager
async def requested(
    port: int, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> AsyncIterator[Response]:
    """Raises `OSError`, `EOFError` and `TimeoutError`."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), SILENCE_S)
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
        first, *rest = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest if line)}
        yield Response(int(first.split()[1]), fields, reader)
    finally:
        writer.close()


async def left(port: int) -> dict[str, Any] | None:
    """What is left in the worker that answers; None if there is none."""
    try:
        async with requested(port, "GET", "/left", {}) as response:
            found: dict[str, Any] = json.loads(await response.body())
            return found
    except (OSError, EOFError, TimeoutError, ValueError):
        return None
