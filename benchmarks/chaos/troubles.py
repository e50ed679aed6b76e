"""Carries out a plan in one house."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from math import inf
from time import time

from .client import left
from .engine import Engine
from .house import House
from .network import Weather
from .plan import RECYCLED
from .plan import Trouble
from .server import GRACE_S
from .server import Server

WATCH_S = 0.2
BOOT_S = 60.0
CALM_S = 3.0
"""A new worker has no trouble for this long."""
OLDER_S = 3.0
"""How many seconds of data an engine loses when it falls back."""
LONGEST_DELAY_S = 0.15
FASTEST = 20_000
SLOWEST = 400
"""Bytes per second of a throttled link."""

GENTLE = ("reload", "term")
"""Signals that give workers `GRACE_S` to finish."""


@dataclass
class Spell:
    """The period of a trouble, and the workers that it hit."""

    trouble: Trouble
    since: float
    silent_at: float
    """The time after which the trouble's workers wrote nothing more."""
    until: float = inf
    pids: list[int] = field(default_factory=list)

    @property
    def area(self) -> str:
        return self.trouble.area

    @property
    def kind(self) -> str:
        return self.trouble.kind


class Troublemaker:
    """Each process and each link has one trouble at a time. A trouble that would overlap is skipped."""

    def __init__(self, house: House, log: Callable[[str], None]) -> None:
        self.made: Counter[str] = Counter()
        self.spells: list[Spell] = []
        self.losses: list[tuple[float, float]] = []
        """The times at which the log lost data, each with the time up to which it kept data."""
        self._house = house
        self._log = log
        self._locks: dict[str, asyncio.Lock] = {}

    async def run(self, troubles: Sequence[Trouble]) -> None:
        begun, making = asyncio.get_running_loop().time(), []
        for trouble in troubles:
            await asyncio.sleep(begun + trouble.at_s - asyncio.get_running_loop().time())
            making.append(asyncio.create_task(self._make(trouble)))
        await asyncio.gather(*making)

    async def watch(self) -> None:
        """Watch for troubles that occur by themselves, until cancelled."""
        while True:
            for number, server in enumerate(self._house.servers):
                pids = server.children()
                if server.has_recycled():
                    trouble = Trouble(-1, 0.0, "worker", RECYCLED, number, GRACE_S, "")
                    self.made[trouble.name] += 1
                    now = time()
                    self.spells.append(Spell(trouble, now - WATCH_S, now + GRACE_S + 1.0, now + GRACE_S + 1.0, pids))
            await asyncio.sleep(WATCH_S)

    async def _make(self, trouble: Trouble) -> None:
        target = f"{trouble.area} {trouble.server if trouble.area in ('worker', 'clock') else ''}"
        lock = self._locks.setdefault(target, asyncio.Lock())
        if lock.locked():
            return self._log(f"{trouble}: left out, another one is not over")
        async with lock:
            self._log(str(trouble))
            self.made[trouble.name] += 1
            now = time()
            spell = Spell(trouble, now, now + GRACE_S + 1.0 if trouble.kind in GENTLE else now)
            self.spells.append(spell)
            await self._befall(trouble, spell)
            spell.until = time()

    async def _befall(self, trouble: Trouble, spell: Spell) -> None:
        house = self._house
        if trouble.area == "worker":
            spell.pids = house.servers[trouble.server].children()
            await self._with_worker(trouble, spell)
        elif trouble.area == "clock":
            house.clocks[trouble.server].set(trouble.jump_s)
            await asyncio.sleep(trouble.lasts_s)
            house.clocks[trouble.server].set(0)
        elif trouble.area == "ledger":
            await asyncio.to_thread(getattr(house.ledger, trouble.kind), trouble.lasts_s)
        elif trouble.area == "engine":
            assert house.engine is not None
            await self._with_engine(house.engine, trouble)
        else:
            await self._with_links(trouble)

    async def _with_links(self, trouble: Trouble) -> None:
        slow = SLOWEST + int((FASTEST - SLOWEST) * trouble.size**3)
        weather = Weather(trouble.kind, trouble.seed, LONGEST_DELAY_S * trouble.size, slow)
        links = self._house.links[trouble.area]
        for link in links:
            link.begin(weather)
        await asyncio.sleep(trouble.lasts_s)
        for link in links:
            link.end()

    async def _with_worker(self, trouble: Trouble, spell: Spell) -> None:
        server = self._house.servers[trouble.server]
        if trouble.kind == "freeze":
            server.signal_workers(signal.SIGSTOP, spell.pids)
            await asyncio.sleep(trouble.lasts_s)
            server.signal_workers(signal.SIGCONT, spell.pids)
            return
        if trouble.kind in ("kill", "term", "int"):
            signs = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
            server.signal_workers(signs[trouble.kind], spell.pids)
        elif trouble.kind == "reload":
            server.send(signal.SIGHUP)
        else:
            await asyncio.to_thread(server.crash if trouble.kind == "crash" else server.stop)
            spell.silent_at = time()
            await asyncio.sleep(trouble.lasts_s / 4)
            await asyncio.to_thread(server.start)
        await self._replaced(server, spell)

    async def _replaced(self, server: Server, spell: Spell) -> None:
        """Wait until the workers have ended and a new one responds, so that no trouble hits a starting worker."""
        is_alone = self._house.engine is None  # then the log was in the worker's memory
        self.losses += [(time(), 0.0)] * is_alone
        while any(_exists(pid) for pid in spell.pids) and time() < spell.since + 2 * GRACE_S:
            await asyncio.sleep(0.1)
            self.losses += [
                (time(), 0.0)
            ] * is_alone  # the new worker already serves requests, but does not have the old worker's streams
        spell.silent_at = min(spell.silent_at, time())
        self.losses += [(time(), 0.0)] * is_alone
        until = time() + BOOT_S
        while await left(server.port) is None and time() < until:
            await asyncio.sleep(0.2)
        await asyncio.sleep(CALM_S)

    async def _with_engine(self, engine: Engine, trouble: Trouble) -> None:
        if trouble.kind == "flush":
            await self._losing(asyncio.to_thread(engine.flush))
        elif trouble.kind == "freeze":
            engine.send(signal.SIGSTOP)
            await asyncio.sleep(trouble.lasts_s)
            engine.send(signal.SIGCONT)
        elif trouble.kind == "full":
            await asyncio.to_thread(engine.fill)
            await asyncio.sleep(trouble.lasts_s)
            await asyncio.to_thread(engine.empty)
        elif trouble.kind == "restart, kept":
            await self._restart(engine, trouble.lasts_s, lambda: None)
        elif trouble.kind == "restart, empty":
            await self._losing(self._restart(engine, trouble.lasts_s, engine.forget))
        else:
            kept_until = time()
            engine.keep_copy()
            await asyncio.sleep(OLDER_S)
            await self._losing(self._restart(engine, trouble.lasts_s, engine.fall_back), kept_until)

    async def _losing(self, work: Awaitable[None], kept_until: float = 0.0) -> None:
        await work
        self.losses.append((time(), kept_until))

    async def _restart(self, engine: Engine, away_s: float, meanwhile: Callable[[], None]) -> None:
        await asyncio.to_thread(engine.kill)
        meanwhile()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(engine.start)


def _exists(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
