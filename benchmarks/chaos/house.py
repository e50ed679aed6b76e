"""The two set-ups of a run: a single worker, and several workers behind nginx that share a log and a ledger.

There is a link between any two processes.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from . import plan
from .clock import Clock
from .engine import Engine
from .ledger import PostgreSQLLedger
from .ledger import SQLiteLedger
from .network import Link
from .nginx import Nginx
from .postgresql import PostgreSQL
from .process import Process
from .server import Server

PRICES = {"chaos": {"input": "14", "output": "58", "currency": "INR"}}
BUDGETS = {"day": "100000", "month": "1000000", "currency": "INR"}
MAX_REQUESTS = 150
"""The `max_requests` of the first of several servers. A single worker should not be recycled: README.md says why."""


@dataclass(frozen=True)
class Setting:
    """The settings of both houses."""

    folder: Path
    upstream: int
    """Its port."""
    retention_s: float
    workers: int
    """The number of servers in the second house."""


class House:
    name: str

    def __init__(self, setting: Setting, shim: Path | None) -> None:
        self.setting = setting
        self.folder = setting.folder / self.name
        self.folder.mkdir()
        self.hooks = self.folder / "hooks"
        self.hooks.mkdir()
        self.links: dict[str, list[Link]] = {}
        self.servers: list[Server] = []
        self.clocks: list[Clock] = []
        self.engine: Engine | None = None
        self.ledger: SQLiteLedger | PostgreSQLLedger
        self.ledger_url = ""
        """The engine's own port, for the run itself, which uses no link."""
        self.door = 0
        """The port that clients use."""
        self._shim = shim

    @property
    def areas(self) -> dict[str, Mapping[str, int]]:
        """The possible troubles of this house."""
        areas: dict[str, Mapping[str, int]] = {"worker": plan.WORKER | {plan.RECYCLED: 0}}
        areas["ledger"] = {kind: weight for kind, weight in plan.LEDGER.items() if kind in self.ledger.kinds}
        if self.engine:
            areas["engine"] = plan.ENGINE
        if self._shim:
            areas["clock"] = plan.CLOCK
        return areas | dict.fromkeys(self.links, plan.LINK)

    async def open(self, stack: AsyncExitStack) -> None:
        raise NotImplementedError

    def workers(self) -> list[int]:
        return [pid for server in self.servers for pid in server.children()]

    async def _link(self, stack: AsyncExitStack, name: str, target: int) -> int:
        link = Link(target)
        await link.start()
        stack.push_async_callback(link.stop)
        self.links.setdefault(name, []).append(link)
        return link.port

    async def _serve(
        self, stack: AsyncExitStack, more: Mapping[str, str], *, upstream: int, max_requests: int
    ) -> Server:
        number = len(self.servers)
        ours = {"LEDGER_URL": self.ledger.url, "RETENTION_S": self.setting.retention_s}
        ours |= {"TOTAL_S": 60, "HEARTBEAT_S": 1, "IDLE_S": 10, "FIRST_TOKEN_S": 20, "RETRIES": 0, "SEND_TIMEOUT_S": 10}
        ours |= {"PRICES": json.dumps(PRICES), "BUDGETS": json.dumps(BUDGETS), "MAX_OUTPUT_TOKENS": 400}
        settings = {"OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1", "OPENAI_API_KEY": "none"}
        settings |= {"CHAOS_HOOKS": str(self.hooks)} | {f"LLM_STREAM_{name}": str(ours[name]) for name in ours}
        settings |= more
        if self._shim:
            self.clocks.append(Clock(self._shim, self.folder / f"clock-{number}"))
            settings |= self.clocks[-1].settings
        server = Server(settings, self.folder / f"server-{number}.log", max_requests)
        self.servers.append(server)
        await _run(stack, server)
        return server


async def _run(stack: AsyncExitStack, process: Process, *, end: signal.Signals = signal.SIGTERM) -> None:
    stack.push_async_callback(asyncio.to_thread, process.stop, end)
    await asyncio.to_thread(process.start)


class Alone(House):
    """A worker with its log in memory and its ledger in a file."""

    name = "alone"

    async def open(self, stack: AsyncExitStack) -> None:
        self.ledger = SQLiteLedger(self.folder, self.workers)
        self.ledger_url = self.ledger.url
        upstream = await self._link(stack, "worker–upstream", self.setting.upstream)
        server = await self._serve(stack, {}, upstream=upstream, max_requests=0)
        self.door = await self._link(stack, "client–worker", server.port)


class Shared(House):
    """Workers behind nginx, with their log in Redis and their ledger in PostgreSQL."""

    name = "shared"

    async def open(self, stack: AsyncExitStack) -> None:
        self.engine, database = Engine(self.folder), PostgreSQL(self.folder)
        await _run(stack, self.engine)
        await _run(stack, database, end=signal.SIGQUIT)
        self.ledger_url = database.url
        ledger = await self._link(stack, "worker–PostgreSQL", database.port)
        self.ledger = PostgreSQLLedger(database, database.url_at(ledger))
        engine = self.engine.url_at(await self._link(stack, "worker–Redis", self.engine.port))
        upstream = await self._link(stack, "worker–upstream", self.setting.upstream)
        ports = []
        for number in range(self.setting.workers):
            settings = {"LLM_STREAM_LOG_URL": engine}
            most = 0 if number else MAX_REQUESTS
            server = await self._serve(stack, settings, upstream=upstream, max_requests=most)
            ports.append(await self._link(stack, "nginx–worker", server.port))
        nginx = Nginx(self.folder, ports)
        await _run(stack, nginx)
        self.door = await self._link(stack, "client–nginx", nginx.port)


HOUSES: dict[str, Callable[[Setting, Path | None], House]] = {"alone": Alone, "shared": Shared}
