"""What goes wrong, by a seeded schedule."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from math import inf
from random import Random
from time import time

from .engine import Engine
from .server import GRACE_S
from .server import Server

OF_WORKERS = {"kill": 30, "freeze": 30, "reload": 16, "restart": 12, "crash": 12}
OF_ENGINE = {"freeze": 30, "restart, kept": 25, "restart, older": 15, "restart, empty": 15, "flush": 15}
LONGEST_FREEZE_S = 12.0
OLDER_S = 3.0
"""How much an engine loses that falls back."""


@dataclass(frozen=True)
class Trouble:
    at_s: float
    kind: str
    server: int | None
    """None: the engine."""
    lasts_s: float

    @property
    def name(self) -> str:
        return f"{'engine' if self.server is None else 'worker'}: {self.kind}"


def schedule(seed: int, seconds: float, servers: int, every_s: float, longest_s: float) -> list[Trouble]:
    chance, troubles, at_s = Random(f"troubles of {seed}"), [], every_s / 2
    while at_s < seconds:
        is_engine = chance.random() < 0.3
        kinds = OF_ENGINE if is_engine else OF_WORKERS
        (kind,) = chance.choices(list(kinds), list(kinds.values()))
        lasts_s = chance.uniform(2.0, longest_s) if kind == "freeze" else chance.uniform(0.2, 4.0)
        troubles.append(Trouble(at_s, kind, None if is_engine else chance.randrange(servers), lasts_s))
        at_s += chance.uniform(0.3, 1.7) * every_s
    return troubles


@dataclass
class Spell:
    """When a trouble was, and which workers it hit."""

    kind: str
    server: int | None
    since: float
    silent_at: float
    """When its workers wrote their last."""
    until: float = inf
    pids: list[int] = field(default_factory=list)


class Troublemaker:
    """Each process has one trouble at a time; one that comes meanwhile waits for it to be over."""

    def __init__(self, engine: Engine, servers: list[Server]) -> None:
        self.made: Counter[str] = Counter()
        self.spells: list[Spell] = []
        self.losses: list[tuple[float, float]] = []
        """When the engine lost what it had been told, and up to which time it still has that."""
        self._engine = engine
        self._servers = servers
        self._locks = {target: asyncio.Lock() for target in (None, *range(len(servers)))}

    async def run(self, troubles: list[Trouble], log: Callable[[str], None]) -> None:
        begun, making = asyncio.get_running_loop().time(), []
        for trouble in troubles:
            await asyncio.sleep(begun + trouble.at_s - asyncio.get_running_loop().time())
            making.append(asyncio.create_task(self._make(trouble, log)))
        await asyncio.gather(*making)

    async def _make(self, trouble: Trouble, log: Callable[[str], None]) -> None:
        async with self._locks[trouble.server]:
            log(f"{trouble.name} {'' if trouble.server is None else trouble.server} for {trouble.lasts_s:.1f} s")
            self.made[trouble.name] += 1
            now = time()
            spell = Spell(trouble.kind, trouble.server, now, now + GRACE_S + 1.0 if trouble.kind == "reload" else now)
            self.spells.append(spell)
            if trouble.server is None:
                await self._with_engine(trouble)
            else:
                spell.pids = self._servers[trouble.server].children()
                await self._with_server(trouble, spell)
            spell.until = time()
            log(f"{trouble.name} is over")

    async def _with_server(self, trouble: Trouble, spell: Spell) -> None:
        assert trouble.server is not None
        server = self._servers[trouble.server]
        if trouble.kind == "kill":
            server.kill_worker()
        elif trouble.kind == "freeze":
            frozen = server.signal_workers(signal.SIGSTOP)
            await asyncio.sleep(trouble.lasts_s)
            server.signal_workers(signal.SIGCONT, frozen)
        elif trouble.kind == "reload":
            server.send(signal.SIGHUP)
        else:
            await asyncio.to_thread(server.crash if trouble.kind == "crash" else server.stop)
            spell.silent_at = time()
            await asyncio.sleep(trouble.lasts_s / 4)
            await asyncio.to_thread(server.start)

    async def _with_engine(self, trouble: Trouble) -> None:
        engine = self._engine
        if trouble.kind == "flush":
            await self._losing(asyncio.to_thread(engine.flush))
        elif trouble.kind == "freeze":
            engine.send(signal.SIGSTOP)
            await asyncio.sleep(trouble.lasts_s)
            engine.send(signal.SIGCONT)
        elif trouble.kind == "restart, kept":
            await self._restart(trouble.lasts_s, lambda: None)
        elif trouble.kind == "restart, empty":
            await self._losing(self._restart(trouble.lasts_s, engine.forget))
        else:
            kept_until = time()
            engine.keep_copy()
            await asyncio.sleep(OLDER_S)
            await self._losing(self._restart(trouble.lasts_s, engine.fall_back), kept_until)

    async def _losing(self, work: Awaitable[None], kept_until: float = 0.0) -> None:
        await work
        self.losses.append((time(), kept_until))

    async def _restart(self, away_s: float, meanwhile: Callable[[], None]) -> None:
        await asyncio.to_thread(self._engine.kill)
        meanwhile()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self._engine.start)
