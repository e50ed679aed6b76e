"""An asyncio HTTP client with one request per connection, light enough for hundreds of readers next to the servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

HEAD_S = 20.0
"""How long to wait for the status. A POST holds its status until the first content."""

SILENCE_S = 8.0
"""How long a stream may send nothing, not even a heartbeat."""


@dataclass
class Response:
    status: int
    headers: Mapping[str, str]
    _reader: asyncio.StreamReader

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `OSError`, `EOFError` or `TimeoutError` if it breaks off."""
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
    """The resources in use by the worker that responds; None if no worker responds."""
    try:
        async with requested(port, "GET", "/left", {}) as response:
            found: dict[str, Any] = json.loads(await response.body())
            return found
    except (OSError, EOFError, TimeoutError, ValueError):
        return None
