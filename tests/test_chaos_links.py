"""What a link of the chaos run does to a connection is what it says, and the seed decides where."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from typing import TypeVar

import pytest

from benchmarks.chaos.network import Link
from benchmarks.chaos.network import Weather

Result = TypeVar("Result")

SENT = bytes(range(256)) * 8
WAIT_S = 10.0

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Result]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that sends back what it gets."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
        writer.write_eof()
    except OSError:
        pass
    finally:
        writer.close()


def through(kind: str, seed: str, client: Client[Result], *, late: bool = False) -> Result:
    """What `client` finds at the end of a link to a server that sends back what it gets."""

    async def run() -> Result:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        link = Link(server.sockets[0].getsockname()[1])
        await link.start()
        weather = Weather(kind, seed, delay_s=0.01, bytes_per_s=100_000)
        if not late:
            link.begin(weather)
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        if late:
            writer.write(b"x")
            assert await asyncio.wait_for(reader.readexactly(1), WAIT_S) == b"x"
            link.begin(weather)
        try:
            return await asyncio.wait_for(client(reader, writer), WAIT_S)
        finally:
            writer.close()
            await link.stop()
            server.close()

    return asyncio.run(run())


async def all_of_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Everything that comes back, up to the end of the connection or its reset."""
    received = b""
    writer.write(SENT)
    writer.write_eof()
    try:
        while data := await reader.read(65536):
            received += data
    except ConnectionError:
        return received + b" and a reset"
    return received


@pytest.mark.parametrize("kind", ["delay", "throttle"])
def test_slow_link_passes_everything_in_order(kind: str) -> None:
    assert through(kind, "1", all_of_it) == SENT


def test_slow_link_is_fast_again_when_its_trouble_is_over() -> None:
    async def run() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        link = Link(server.sockets[0].getsockname()[1])
        await link.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"x")
        received = await asyncio.wait_for(reader.readexactly(1), WAIT_S)
        link.begin(Weather("throttle", "1", delay_s=0.01, bytes_per_s=1))
        writer.write(SENT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.3)
        link.end()
        received += await asyncio.wait_for(reader.readexactly(len(SENT)), WAIT_S)
        writer.close()
        await link.stop()
        server.close()
        return received

    assert asyncio.run(run()) == b"x" + SENT


@pytest.mark.parametrize("late", [False, True], ids=["new connection", "old connection"])
@pytest.mark.parametrize("kind", ["close", "half-close"])
def test_link_that_closes_passes_only_the_first_bytes(kind: str, late: bool) -> None:
    found = {through(kind, str(seed), all_of_it, late=late) for seed in range(6)}
    assert all(SENT.startswith(received.removesuffix(b" and a reset")) for received in found)
    assert len(found) > 2  # the seed decides after which byte


def test_link_that_resets_ends_in_a_reset() -> None:
    assert any(through("reset", str(seed), all_of_it).endswith(b" and a reset") for seed in range(6))


def test_link_that_swallows_keeps_the_connection_open() -> None:
    async def first_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bool]:
        writer.write(SENT)
        received = b""
        try:
            while len(received) < len(SENT):
                received += await asyncio.wait_for(reader.read(65536), 0.3)
        except TimeoutError:
            return received, not reader.at_eof()
        return received, True

    found = [through("truncate", str(seed), first_bytes) for seed in range(6)]
    assert all(SENT.startswith(received) and is_open for received, is_open in found)
    assert any(len(received) < len(SENT) for received, _ in found)


def test_same_seed_cuts_after_the_same_byte() -> None:
    assert through("half-close", "3", all_of_it) == through("half-close", "3", all_of_it)
