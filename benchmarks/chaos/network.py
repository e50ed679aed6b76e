"""A link between two processes of the run: a TCP proxy that slows, cuts and swallows what it passes on.

It never reorders bytes. How it hits a connection is drawn from the seed of the trouble and the connection's number.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from random import Random

SLOW = ("delay", "throttle")
CUTS = ("reset", "half-close", "truncate", "close")
KINDS = (*SLOW, *CUTS)

PIECE = 65536
SHARE = 0.7
"""How many of the connections a trouble cuts."""
FURTHEST = 600
"""The last byte after which a connection is cut: the heads, the first events and the middle of a body are before it."""


@dataclass(frozen=True)
class Weather:
    """What befalls the connections of a link while a trouble lasts."""

    kind: str
    seed: str
    delay_s: float
    """For `delay`: how much later each piece arrives."""
    bytes_per_s: int
    """For `throttle`."""


@dataclass
class Cut:
    kind: str
    is_answer: bool
    """Whether the answers are cut, or the requests."""
    left: int
    """How many more bytes are passed on."""


class Pair:
    """One connection: its two halves, and how it is going to be cut."""

    def __init__(self, number: int, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.number = number
        self.cut: Cut | None = None
        self._ends = (near, far)

    def close(self) -> None:
        for end in self._ends:
            end.close()

    def reset(self) -> None:
        for end in self._ends:
            connection = end.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()


class Link:
    """Passes bytes from its own port to another; `begin` and `end` a trouble."""

    def __init__(self, target: int) -> None:
        self.hit = 0
        """How many connections were cut."""
        self._target = target
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self._weather: Weather | None = None
        self._pairs: set[Pair] = set()
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    async def stop(self) -> None:
        self._server.close()
        for pair in list(self._pairs):
            pair.reset()
        await asyncio.gather(*self._tasks)

    def begin(self, weather: Weather) -> None:
        self._weather, self._number = weather, 0
        for pair in sorted(self._pairs, key=lambda pair: pair.number):
            self._draw(pair)

    def end(self) -> None:
        self._weather = None

    def _draw(self, pair: Pair) -> None:
        weather, self._number = self._weather, self._number + 1
        if weather is None or weather.kind in SLOW or pair.cut is not None:
            return
        chance = Random(f"{weather.seed}:{self._number}")
        if chance.random() < SHARE:
            pair.cut = Cut(weather.kind, chance.random() < 0.5, chance.randint(0, FURTHEST))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        for end in (writer, far_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(self._number, writer, far_writer)
        self._draw(pair)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pass(pair, reader, far_writer, is_answer=False),
                self._pass(pair, far_reader, writer, is_answer=True),
            )
        except OSError:
            pair.reset()  # as the end that is still there would learn it
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _pass(
        self, pair: Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while data := await source.read(self._piece()):
            await self._wait(len(data))
            cut = pair.cut
            if cut is not None and cut.is_answer == is_answer:
                if len(data) >= cut.left:
                    self.hit += 1
                    sink.write(data[: cut.left])
                    return await self._make(cut, pair, source, sink)
                cut.left -= len(data)
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    def _piece(self) -> int:
        weather = self._weather
        return PIECE if weather is None or weather.kind != "throttle" else max(1, weather.bytes_per_s // 10)

    async def _wait(self, size: int) -> None:
        weather = self._weather
        if weather is not None and weather.kind in SLOW:
            await asyncio.sleep(weather.delay_s if weather.kind == "delay" else size / weather.bytes_per_s)

    async def _make(self, cut: Cut, pair: Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        await sink.drain()
        if cut.kind == "reset":
            return pair.reset()
        if cut.kind == "close":
            return pair.close()
        if cut.kind == "half-close":
            sink.write_eof()
        while await source.read(PIECE):  # what comes later arrives nowhere
            pass
        if cut.kind == "truncate":
            pair.close()  # the end that waits would learn of it from its own timeouts only; this one has given up
