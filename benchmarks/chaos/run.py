"""The run of one house: its questions and troubles, and then the judgement."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from time import time
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import DBAPIError

from llm_stream.testing import Upstream

from . import client
from . import leaks
from . import plan
from .engine import Engine
from .house import HOUSES
from .house import House
from .house import Setting
from .judge import Judge
from .judge import hooks_of
from .ledger import contents
from .model import Model
from .past import Past
from .plan import Cutting
from .plan import Pace
from .question import Plan
from .question import Question
from .question import questions
from .reader import Asking
from .reader import Reader
from .reader import stop
from .troubles import Troublemaker
from .witness import Witness

SETTLED_S = 100.0
"""The ledger gives the shared log a minute to settle the streams of a lost worker."""

REAPED_S = 25.0
"""How long a dead worker's keys may stay in the engine: its lease must expire while other workers are connected."""

CALM_S = 25.0
"""How long a worker may take to release resources: it notices a connection that swallows everything late."""

WEIGHTS = {"worker": 12, "engine": 10, "ledger": 6, "clock": 3}
"""The likelihood of each area; each link has 6."""


@dataclass(frozen=True)
class Size:
    seed: int
    pace: Pace
    streams: int
    """The number of questions in each house."""
    workers: int
    retention_s: float


class Run:
    def __init__(self, name: str, size: Size, cutting: Cutting, folder: Path, shim: Path | None) -> None:
        self.name = name
        self.size = size
        self.witness = Witness()
        self.seed = f"{size.seed} {name}"
        self.questions = questions(self.seed, size.streams, size.pace.seconds, size.retention_s)
        self.plan: list[plan.Trouble] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.keys = 0
        self.left: list[dict[str, Any]] = []
        self.house: House
        self._folder = folder
        self._shim = shim
        self._cutting = cutting
        self._begun = monotonic()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.tables.get("llm_stream_usage", [])

    def log(self, line: str) -> None:
        print(f"{monotonic() - self._begun:7.1f}  {time():.1f}  {self.name:7} {line}", file=sys.stderr, flush=True)

    async def make(self) -> None:
        """Records errors in a stream as faults and does not raise them."""
        size = self.size
        async with AsyncExitStack() as stack:
            upstream = stack.enter_context(Upstream(Model(self.questions).script))
            port = urlsplit(upstream.base_url).port or 0
            self.house = HOUSES[self.name](Setting(self._folder, port, size.retention_s, size.workers), self._shim)
            await self.house.open(stack)
            self.log(f"{len(self.house.servers)} servers run, in {self.house.folder}")
            self.plan = plan.troubles(self.seed, size.pace, len(self.house.servers), self.house.areas, WEIGHTS)
            self.troublemaker = Troublemaker(self.house, self.log)
            watching = asyncio.create_task(self.troublemaker.watch())
            stack.callback(watching.cancel)
            await self._ask()
            await self._wait_for_rows(upstream)
            await self._judge()

    async def _ask(self) -> None:
        kept = [trouble for trouble in self.plan if self._cutting.keeps(trouble)]
        begun, asking = monotonic(), [asyncio.create_task(self.troublemaker.run(kept))]
        for question in self.questions:
            await asyncio.sleep(begun + question.at_s - monotonic())
            self.witness.asked(question.number)
            asking.append(asyncio.create_task(self._play(Asking(question, self.house.door, self.witness))))
        self.log("all questions are asked")
        await asyncio.gather(*asking)
        self.log("all readers have ended")

    async def _play(self, asking: Asking) -> None:
        question = asking.question
        early = [reading for reading in question.plans if not reading.is_late]
        playing = [asyncio.create_task(self._read(asking, reading)) for reading in early]
        if question.stop_after is not None:
            playing.append(asyncio.create_task(self._stop(asking, question)))
        await asyncio.gather(*(task for task, reading in zip(playing, early, strict=False) if reading.asks))
        asking.has_id.set()  # also without an id, because an answer that failed at once is only a status
        await asyncio.gather(*playing)
        late = [reading for reading in question.plans if reading.is_late]
        await asyncio.gather(*(self._read(asking, reading) for reading in late))

    async def _read(self, asking: Asking, reading: Plan) -> None:
        await asyncio.sleep(reading.comes_after_s)
        if not reading.asks:
            await asking.has_id.wait()
            if not asking.stream_id:
                return
        reader = Reader(asking, reading)
        await reader.read()
        self.witness.counts[f"told: {reader.told}"] += 1
        if reader.told == "404" and not self._lost_something_since(reader.begun_at):
            self.witness.fault("streams that are unknown", f"{reader.who} {asking.stream_id}", asking.question.number)

    def _lost_something_since(self, at: float) -> bool:
        maker = self.troublemaker
        ending = self.house.engine is None and any(s.area == "worker" and s.until == float("inf") for s in maker.spells)
        return ending or any(lost_at > at - SETTLED_S for lost_at, _ in maker.losses)

    async def _stop(self, asking: Asking, question: Question) -> None:
        assert question.stop_after is not None
        await asking.has_id.wait()
        if not asking.stream_id:
            return
        await asyncio.sleep(question.stop_after * question.pace_s)
        self.witness.counts["stops"] += 1
        await stop(asking)

    async def _wait_for_rows(self, upstream: Upstream) -> None:
        """Wait until all rows are settled, and then until all stored streams have expired."""
        until = monotonic() + SETTLED_S
        while monotonic() < until:
            with suppress(DBAPIError):
                self.tables = await asyncio.to_thread(contents, self.house.ledger_url)
            if not upstream.open and all(row["status"] != "running" for row in self.rows):
                break
            await asyncio.sleep(0.5)
        if upstream.open:
            self.witness.fault("calls that were left open", str(upstream.open))
        self.log("all rows are settled")
        await asyncio.sleep(self.size.retention_s + 2.0)

    async def _judge(self) -> None:
        maker, house = self.troublemaker, self.house
        self.tables = await asyncio.to_thread(contents, house.ledger_url)
        self.past = Past(maker.spells, [server.said() for server in house.servers])
        self.judge = Judge(self.witness, self.questions, maker.losses, self.past)
        self.judge.judge_contents()
        self.judge.judge_purchases()
        self.judge.judge_rows(self.rows, hooks_of(house.hooks))
        leaks.judge_ledger(self.tables, self.witness)
        if house.engine:
            await self._judge_keys(house.engine)
        for number in range(len(house.servers)):
            await self._judge_worker(number)
        for kind, details in self.judge.exceptions.items():
            self.log(f"{kind}: {', '.join(details)}")
        seen = {id: {n: (e.kind, e.data) for n, e in s.events.items()} for id, s in self.witness.streams.items()}
        (house.folder / "seen.json").write_text(json.dumps(seen))

    async def _judge_keys(self, engine: Engine) -> None:
        """Check repeatedly while keys are left: workers detect a dead worker only a while after the engine is back."""
        until = monotonic() + REAPED_S
        while True:
            seen = Witness()
            with engine.client() as client:
                self.keys = leaks.judge_keys(client, seen)
            if not seen.faults or monotonic() > until:
                break
            await asyncio.sleep(0.5)
        self.witness.faults += seen.faults

    async def _judge_worker(self, number: int) -> None:
        """Check repeatedly while resources are left, because workers do not notice a broken connection at once."""
        until = monotonic() + CALM_S
        while True:
            left = await client.left(self.house.servers[number].port)
            seen = Witness()
            if left is not None:
                leaks.judge_worker(self.house, number, left, seen)
            if (left is not None and not seen.faults) or monotonic() > until:
                break
            await asyncio.sleep(0.5)
        if left is None:
            self.witness.fault("workers that do not answer", f"server {number} of {self.name}")
        else:
            self.left.append(left)
            self.witness.faults += seen.faults
