"""The run: processes, questions, troubles, and the judgement."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic
from time import time
from typing import Any

from llm_stream.testing import Upstream

from .engine import Engine
from .judge import Judge
from .judge import hooks_of
from .judge import rows_of
from .model import Model
from .past import Past
from .question import Plan
from .question import Question
from .question import questions
from .reader import Asking
from .reader import Reader
from .reader import stop
from .server import Server
from .troubles import Troublemaker
from .troubles import schedule
from .witness import Witness

SETTLED_S = 100.0
"""The ledger gives the shared log a minute to settle what a lost worker left."""


@dataclass(frozen=True)
class Size:
    seed: int
    seconds: float
    streams: int
    workers: int
    trouble_every_s: float
    longest_freeze_s: float
    retention_s: float
    ledger: str | None


class Run:
    def __init__(self, size: Size) -> None:
        self.size = size
        self.folder = Path(tempfile.mkdtemp(prefix="llm-stream-chaos-"))
        self.witness = Witness()
        self.questions = questions(size.seed, size.streams, size.seconds, size.retention_s)
        self.ledger = size.ledger or f"sqlite:///{self.folder / 'usage.db'}"
        self.hooks = self.folder / "hooks"
        self.engine = Engine(self.folder)
        self.rows: list[dict[str, Any]] = []
        self.keys = 0
        self._begun = monotonic()

    def log(self, line: str) -> None:
        print(f"{monotonic() - self._begun:7.1f}  {time():.1f}  {line}", file=sys.stderr, flush=True)

    def settings(self, upstream: str) -> dict[str, str]:
        ours = {"LOG_URL": self.engine.url, "LEDGER_URL": self.ledger, "RETENTION_S": self.size.retention_s}
        ours |= {"TOTAL_S": 60, "HEARTBEAT_S": 1, "IDLE_S": 20, "FIRST_TOKEN_S": 30, "RETRIES": 0}
        theirs = {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "none", "CHAOS_HOOKS": str(self.hooks)}
        return theirs | {f"LLM_STREAM_{name}": str(value) for name, value in ours.items()}

    def make(self) -> None:
        """Raises nothing that goes wrong in a stream: that is a fault."""
        with ExitStack() as stack:
            upstream = stack.enter_context(Upstream(Model(self.questions).script))
            self.engine.start()
            stack.callback(self.engine.stop)
            settings = self.settings(upstream.base_url)
            servers = [Server(settings, self.folder / f"server-{n}.log") for n in range(self.size.workers)]
            for server in servers:
                stack.callback(server.stop)
                server.start()
            self.log(f"{len(servers)} servers run, in {self.folder}")
            self.troublemaker = Troublemaker(self.engine, servers)
            asyncio.run(self._ask([server.port for server in servers]))
            self._wait_for_rows(upstream)
            self._judge()

    async def _ask(self, ports: list[int]) -> None:
        size = self.size
        troubles = schedule(size.seed, size.seconds, size.workers, size.trouble_every_s, size.longest_freeze_s)
        begun, asking = monotonic(), [asyncio.create_task(self.troublemaker.run(troubles, self.log))]
        for question in self.questions:
            await asyncio.sleep(begun + question.at_s - monotonic())
            asking.append(asyncio.create_task(self._play(Asking(question, ports, self.witness))))
        self.log("all questions are asked")
        await asyncio.gather(*asking)
        self.log("all readers have ended")

    async def _play(self, asking: Asking) -> None:
        question = asking.question
        chance = Random(f"{question.seed} is played")
        early = [plan for plan in question.plans if not plan.is_late]
        home = chance.randrange(len(asking.ports))
        playing = [asyncio.create_task(self._read(asking, plan, home + n)) for n, plan in enumerate(early)]
        if question.stop_after is not None:
            playing.append(asyncio.create_task(self._stop(asking, question, chance)))
        await asyncio.gather(*(task for task, plan in zip(playing, early, strict=False) if plan.asks))
        asking.has_id.set()  # also if none has an id: an answer that failed at once is a status
        await asyncio.gather(*playing)
        late = [plan for plan in question.plans if plan.is_late]
        await asyncio.gather(*(self._read(asking, plan, home + 1) for plan in late))

    async def _read(self, asking: Asking, plan: Plan, home: int) -> None:
        await asyncio.sleep(plan.comes_after_s)
        if not plan.asks:
            await asking.has_id.wait()
            if not asking.stream_id:
                return
        reader = Reader(asking, plan, home % len(asking.ports))
        await reader.read()
        self.witness.counts[f"told: {reader.told}"] += 1
        if reader.told == "404" and not self._lost_something_since(reader.begun_at):
            self.witness.fault("streams that are unknown", f"{reader.who} {asking.stream_id}")

    def _lost_something_since(self, at: float) -> bool:
        return any(lost_at > at - SETTLED_S for lost_at, _ in self.troublemaker.losses)

    async def _stop(self, asking: Asking, question: Question, chance: Random) -> None:
        assert question.stop_after is not None
        await asking.has_id.wait()
        if not asking.stream_id:
            return
        await asyncio.sleep(question.stop_after * question.pace_s)
        self.witness.counts["stops"] += 1
        await stop(asking, chance)

    def _wait_for_rows(self, upstream: Upstream) -> None:
        """All rows are settled, and then what is kept of the streams has expired."""
        until = monotonic() + SETTLED_S
        while monotonic() < until:
            self.rows = rows_of(self.ledger)
            if not upstream.open and all(row["status"] != "running" for row in self.rows):
                break
            asyncio.run(asyncio.sleep(0.5))
        if upstream.open:
            self.witness.fault("calls that were left open", str(upstream.open))
        self.log("all rows are settled")
        asyncio.run(asyncio.sleep(self.size.retention_s + 2.0))

    def _judge(self) -> None:
        maker = self.troublemaker
        self.judge = Judge(self.witness, self.questions, maker.losses, Past(maker.spells))
        self.judge.judge_contents()
        self.judge.judge_purchases()
        self.judge.judge_rows(self.rows, hooks_of(self.hooks))
        with self.engine.client() as client:
            self.keys = self.judge.judge_keys(client)
        for kind, details in self.judge.exceptions.items():
            self.log(f"{kind}: {', '.join(details)}")
        seen = {id: {n: (e.kind, e.data) for n, e in s.events.items()} for id, s in self.witness.streams.items()}
        (self.folder / "seen.json").write_text(json.dumps(seen))
