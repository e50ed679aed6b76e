"""A link between two processes of the run: a TCP proxy that delays, cuts or swallows the bytes that it forwards.

It never reorders bytes. The seed of the trouble and the connection's number determine the effect on a connection.
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
"""The share of connections that a trouble cuts."""
LOOK_S = 0.1
"""How often a delayed piece checks whether the trouble is over."""
FURTHEST = 600
"""Connections are cut after at most this many bytes, which include heads, first events and the middle of a body."""


@dataclass(frozen=True)
class Weather:
    """The effect on a link's connections while a trouble lasts."""

    kind: str
    seed: str
    delay_s: float
    """For `delay`: the delay of each piece."""
    bytes_per_s: int
    """For `throttle`."""


@dataclass
class Cut:
    kind: str
    is_answer: bool
    """Whether the responses are cut, instead of the requests."""
    left: int
    """The number of bytes to forward before the cut."""


class Pair:
    """One connection: its two halves, and its planned cut."""

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
    """Forwards bytes from its own port to another; `begin()` and `end()` a trouble."""

    def __init__(self, target: int) -> None:
        self.hit = 0
        """The number of cut connections."""
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
            pair.reset()  # the remaining end learns of the loss by a reset
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
        """Delay a piece, at most until the trouble ends: a piece from before it may be too large for its pace."""
        weather = self._weather
        if weather is None or weather.kind not in SLOW:
            return
        left_s = weather.delay_s if weather.kind == "delay" else size / weather.bytes_per_s
        while left_s > 0 and self._weather is weather:
            step_s = min(left_s, LOOK_S)
            await asyncio.sleep(step_s)
            left_s -= step_s

    async def _make(self, cut: Cut, pair: Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        await sink.drain()
        if cut.kind == "reset":
            return pair.reset()
        if cut.kind == "close":
            return pair.close()
        if cut.kind == "half-close":
            sink.write_eof()
        while await source.read(PIECE):  # swallow all later bytes
            pass
        if cut.kind == "truncate":
            pair.close()  # this end has given up; the other end learns of it only by its own timeouts
