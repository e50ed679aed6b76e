"""Compares the readers' events with the model's calls, the ledger, the hooks, and the engine's data."""

from __future__ import annotations

import json
from collections import Counter
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_stream.usage import tokenizer

from .past import Past
from .question import Question
from .witness import Seen
from .witness import Witness

CLOSE_S = 2.0
"""Tolerance: a key's claim reaches the engine before the call of the model, but our clocks are read slightly later."""

FRACTIONS = 10**6
"""The ledger counts in 10⁻¹² of a currency, and prices are per million tokens."""
PRICE = (14, 58)
BY_CHANCE = 4
"""A truncated text may have this many more tokens than the whole text up to there."""

Row = dict[str, Any]


def hooks_of(folder: Path) -> list[dict[str, Any]]:
    """The hooks' records in the order of their calls: by the files' times, because the hooks' own clocks may jump."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    return [json.loads(file.read_text()) | {"at": file.stat().st_mtime} for file in files]


class Judge:
    def __init__(
        self, witness: Witness, questions: Sequence[Question], losses: Sequence[tuple[float, float]], past: Past
    ) -> None:
        self.exceptions: dict[str, list[str]] = defaultdict(list)
        self._past = past
        self._witness = witness
        self._questions = questions
        self._losses = losses
        self._hooked_at: dict[str, float] = {}
        """The time of the first call of each stream's hook."""

    def judge_contents(self) -> None:
        for id, seen in self._witness.streams.items():
            whole, shown = self._questions[seen.question].text, seen.text
            if not whole.startswith(shown) or ("completed" in seen.ends and shown != whole):
                self._witness.fault("wrong texts", f"{id} {seen.ends}: {shown!r}", seen.question)

    def judge_purchases(self) -> None:
        for question in self._questions:
            for first, second in zip(question.calls, question.calls[1:], strict=False):
                if self._is_lost_between(first, second):
                    kind = "keys bought again after the log had lost them"
                    self.exceptions[kind].append(f"question {question.number}: {first:.1f} {second:.1f}")
                else:
                    self._witness.fault(
                        "keys bought twice", f"question {question.number}: {question.calls}", question.number
                    )

    def _is_lost_between(self, first: float, second: float) -> bool:
        """Whether the log lost, before the time `second`, a claim that was made at the time `first`."""
        return any(kept_until - CLOSE_S < first < lost_at < second + CLOSE_S for lost_at, kept_until in self._losses)

    # Records

    def judge_rows(self, rows: list[Row], hooks: list[dict[str, Any]]) -> None:
        by_id = {row["id"]: row for row in rows}
        self._hooked_at = {hook["id"]: hook["at"] for hook in reversed(hooks)}
        calls = Counter({question.owner: len(question.calls) for question in self._questions})
        owned = Counter(row["owner"] for row in rows)
        for question in self._questions:
            called, own = calls[question.owner], owned[question.owner]
            if called > own:
                self._fault("calls without a row", f"{question.owner}: {called} calls, {own} rows", question.number)
        for row in rows:
            if row["status"] == "running":
                self._fault("rows that are open", f"{row['id']} of {row['owner']}", _number(row))
            else:
                self._judge_bill(row)
        for id, seen in self._witness.streams.items():
            self._compare(id, seen, by_id.get(id), calls[f"q{seen.question}"])
        self._judge_hooks(by_id, hooks)

    def _judge_bill(self, row: Row) -> None:
        """The row's figures must be the upstream's, or an estimate of the text that the upstream wrote."""
        question = self._questions[_number(row)]
        told = (row["input_tokens"], row["output_tokens"])
        if row["source"] in ("provider", "partial") and told != tuple(question.bill.values()):
            self._fault(
                "figures that the upstream did not report", f"{row['id']}: {told}, {question.bill}", _number(row)
            )
        if row["source"] == "estimated":
            most = tokenizer.count("".join(question.piece(n) for n in range(question.written))) + BY_CHANCE
            if row["output_tokens"] > most:
                self._fault("estimates above what was written", f"{row['id']}: {told}, {most}", _number(row))
        if row["cost"] is not None and row["cost"] != sum(p * n for p, n in zip(PRICE, told, strict=True)) * FRACTIONS:
            self._fault("costs that are not those of the figures", f"{row['id']}: {row['cost']}", _number(row))
        if row["status"] == "completed" and row["source"] != "provider":
            self._fault("whole answers without their figures", f"{row['id']}: {row['source']}", _number(row))

    def _compare(self, id: str, seen: Seen, row: Row | None, calls: int) -> None:
        if seen.is_refused:
            if row is not None:
                self._fault("rows of streams that were refused", f"{id}: {row['status']}", seen.question)
        elif row is None:
            if seen.text or (seen.ends and "worker_lost" not in seen.failures):
                self._fault("rows missing", f"{id}: {seen.ends}, {calls} calls", seen.question)
            else:
                self.exceptions["workers lost after the key was claimed and before the row was written"].append(id)
        elif seen.ends and ({row["status"]} != seen.ends or _differs(seen, row)):
            self._judge_end(id, seen, row)

    def _judge_end(self, id: str, seen: Seen, row: Row) -> None:
        was_lost = "worker_lost" in (*seen.failures, row["error_code"])
        if was_lost and self._past.could_not_tell(row):
            self.exceptions["ends that the worker could not tell the engine before it died"].append(id)
        elif len(seen.ends) == 1 and self._past.could_not_record(row, self._hooked_at.get(id, 0.0)):
            self.exceptions["ends that the worker could not tell the ledger before it died"].append(id)
        else:
            last = dict(sorted(seen.events.items())[-8:])
            kind = "streams with two ends" if {row["status"]} != seen.ends else "figures that differ from the row's"
            figures = (row["source"], row["input_tokens"], row["output_tokens"])
            self._fault(kind, f"{id}: {row['status']} {figures} {row['ended']} {row['worker']}: {last}", seen.question)

    def _judge_hooks(self, by_id: dict[str, Row], hooks: list[dict[str, Any]]) -> None:
        called = defaultdict(list)
        for hook in hooks:
            called[hook["id"]].append(hook)
        for id in by_id.keys() - called.keys():
            row = by_id[id]
            if row["status"] != "running" and self._past.was_silenced(row):
                self.exceptions["hooks that a worker could not call before it died"].append(id)
            else:
                self._fault("hooks not called", f"{id}: {row['status']} ended {row['ended']}", _number(row))
        for id, calls in called.items():
            if id not in by_id:
                self._fault("hooks without a row", id)
                continue
            row = by_id[id]
            if len(calls) == 2 and self._past.could_not_record(row, calls[0]["at"]):
                self.exceptions["hooks called again for a worker that could not tell the ledger before it died"].append(
                    id
                )
            elif len(calls) > 1:
                self._fault("hooks called twice", f"{id}: {calls} {row}", _number(row))
            elif row["status"] != calls[-1]["status"]:
                self._fault("hooks told another end", f"{id}: {row['status']}, {calls}", _number(row))

    def _fault(self, kind: str, detail: str, question: int | None = None) -> None:
        self._witness.fault(kind, detail, question)


def _number(row: Row) -> int:
    return int(row["owner"][1:])


def _differs(seen: Seen, row: Row) -> bool:
    return any(figures != (row["input_tokens"], row["output_tokens"]) for figures in seen.figures)
