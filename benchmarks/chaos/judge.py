"""Compares what the readers saw with what was bought, with the ledger, the hooks, and what the engine keeps."""

from __future__ import annotations

import json
from collections import Counter
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool
from sqlalchemy import create_engine
from sqlalchemy import text

from .past import Past
from .question import Question
from .witness import Seen
from .witness import Witness

CLOSE_S = 2.0
"""The claim of a key reaches the engine before the model is called, and clocks are read a little later."""


def rows_of(url: str) -> list[dict[str, Any]]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM llm_stream_usage")).mappings()]


def hooks_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Judge:
    def __init__(self, witness: Witness, questions: Sequence[Question], losses: list[tuple[float, float]], past: Past):
        self.exceptions: dict[str, list[str]] = defaultdict(list)
        self._past = past
        self._witness = witness
        self._questions = questions
        self._losses = losses

    def judge_contents(self) -> None:
        for id, seen in self._witness.streams.items():
            whole, shown = self._questions[seen.question].text, seen.text
            if not whole.startswith(shown) or ("completed" in seen.ends and shown != whole):
                self._witness.fault("wrong texts", f"{id} {seen.ends}: {shown!r}")

    def judge_purchases(self) -> None:
        for question in self._questions:
            for first, second in zip(question.calls, question.calls[1:], strict=False):
                if self._is_lost_between(first, second):
                    kind = "keys bought again after the engine had lost them"
                    self.exceptions[kind].append(f"question {question.number}: {first:.1f} {second:.1f}")
                else:
                    self._witness.fault("keys bought twice", f"question {question.number}: {question.calls}")

    def _is_lost_between(self, first: float, second: float) -> bool:
        """Whether the engine lost a claim of the time `first` before the time `second`."""
        return any(kept_until - CLOSE_S < first < lost_at < second + CLOSE_S for lost_at, kept_until in self._losses)

    def judge_rows(self, rows: list[dict[str, Any]], hooks: list[dict[str, Any]]) -> None:
        fault = self._witness.fault
        by_id = {row["id"]: row for row in rows}
        calls = Counter({question.owner: len(question.calls) for question in self._questions})
        owned = Counter(row["owner"] for row in rows)
        for owner in calls:
            if calls[owner] > owned[owner]:
                fault("calls without a row", f"{owner}: {calls[owner]} calls, {owned[owner]} rows")
        for row in rows:
            if row["status"] == "running":
                fault("rows that are open", f"{row['id']} of {row['owner']}")
        for id, seen in self._witness.streams.items():
            self._compare(id, seen, by_id.get(id), calls[f"q{seen.question}"])
        self._judge_hooks(by_id, hooks)

    def _compare(self, id: str, seen: Seen, row: dict[str, Any] | None, calls: int) -> None:
        fault = self._witness.fault
        if seen.is_refused:
            if row is not None:
                fault("rows of streams that were refused", f"{id}: {row['status']}")
        elif row is None:
            if seen.text or "worker_lost" not in seen.failures:
                fault("rows missing", f"{id} of question {seen.question}: {seen.ends}, {calls} calls")
            else:
                self.exceptions["workers lost after the key was claimed and before the row was written"].append(id)
        elif seen.ends and {row["status"]} != seen.ends:
            was_lost = "worker_lost" in (*seen.failures, row["error_code"])
            if was_lost and self._past.could_not_tell(row):
                self.exceptions["ends that the worker could not tell the engine before it died"].append(id)
            else:
                last = dict(sorted(seen.events.items())[-8:])
                fault("streams with two ends", f"{id}: {row['status']} {row['ended']} {row['worker']}: {last}")

    def _judge_hooks(self, by_id: dict[str, dict[str, Any]], hooks: list[dict[str, Any]]) -> None:
        called = defaultdict(list)
        for hook in hooks:
            called[hook["id"]].append(hook)
        for id in by_id.keys() - called.keys():
            if self._past.was_silenced(by_id[id]):
                self.exceptions["hooks that a worker could not call before it died"].append(id)
            else:
                self._witness.fault("hooks not called", f"{id}: {by_id[id]['status']} ended {by_id[id]['ended']}")
        for id, calls in called.items():
            if len(calls) > 1:
                self._witness.fault("hooks called twice", f"{id}: {calls}")
            if id not in by_id:
                self._witness.fault("hooks without a row", id)
            elif by_id[id]["status"] != calls[-1]["status"]:
                self._witness.fault("hooks told another end", f"{id}: {by_id[id]['status']}, {calls}")

    def judge_keys(self, client: Any) -> int:
        """Return how many keys there are."""
        names = [name.decode() for name in client.scan_iter(count=1000)]
        for name in names:
            if client.ttl(name) == -1:
                self._witness.fault("keys without an expiry", name)
            if ":running:" in name or ":slots:" in name:
                self._witness.fault("keys left of streams that ended", f"{name} {_value(client, name)}")
        return len(names)


def _value(client: Any, name: str) -> Any:
    return client.hgetall(name) if ":running:" in name else client.zrange(name, 0, -1, withscores=True)
