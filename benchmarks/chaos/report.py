"""Prints the outcome as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from . import plan
from .run import Run
from .witness import Fault

LOST = "lost events"
DOUBLE = "double purchases"
WRONG = "wrong records"
LEAKS = "leaks"
COLUMNS = (LOST, DOUBLE, WRONG, LEAKS)

OF_EVENTS: tuple[str, ...] = (
    "texts",
    "gaps",
    "numbers",
    "readers that were",
    "readers without",
    "streams that are",
    "streams of",
    "stops",
)
OF_EVENTS += ("answers that were not expected",)


def column_of(fault: Fault) -> str:
    if fault.kind == "keys bought twice":
        return DOUBLE
    if " left" in fault.kind or fault.kind in ("keys without an expiry", "workers that do not answer"):
        return LEAKS
    return LOST if fault.kind.startswith(OF_EVENTS) or fault.kind == "wrong texts" else WRONG


def figures(runs: Sequence[Run]) -> dict[str, Any]:
    """The contents of chaos.json: a row for each kind of fault, and the sums."""
    kinds: dict[str, Counter[str]] = {}
    for run in runs:
        for name in plan.kinds(run.house.areas):
            _add(kinds.setdefault(name, Counter()), run, name)
    total = Counter(column_of(fault) for run in runs for fault in run.witness.faults)
    sums = {"times": sum(row["times"] for row in kinds.values()), "streams": sum(len(run.rows) for run in runs)}
    return {"kinds": kinds, "all": sums | {column: total[column] for column in COLUMNS}}


def _add(row: Counter[str], run: Run, name: str) -> None:
    """A stream and its faults count for each kind of trouble that happened while the stream was written or read."""
    row["times"] += run.troublemaker.made[name]
    met = {number for number, times in run.witness.times.items() if name in run.past.names_within(*times)}
    row["streams"] += len(met)
    for fault in run.witness.faults:
        is_near = run.troublemaker.made[name] if fault.question is None else fault.question in met
        row[column_of(fault)] += bool(is_near)


def table(found: dict[str, Any]) -> str:
    lines = [f"| fault | times | streams | {' | '.join(COLUMNS)} |", "|---|" + "--:|" * (2 + len(COLUMNS))]
    for name, row in [*found["kinds"].items(), ("**all**", found["all"])]:
        if not row["times"]:
            continue
        cells = [f"{row.get(column, 0):,}" for column in ("times", "streams", *COLUMNS)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def details(run: Run) -> str:
    """The totals of a house."""
    counts = run.witness.counts
    rows: list[tuple[str, object]] = [("questions", len(run.questions)), ("streams", len(run.rows))]
    rows += [("ends", _counted(Counter(row["status"] for row in run.rows)))]
    rows += [("token counts", _counted(Counter(row["source"] for row in run.rows)))]
    rows += [(name, number) for name, number in sorted(counts.items())]
    hits = {name: sum(link.hit for link in links) for name, links in run.house.links.items()}
    rows += [("connections cut", _counted(Counter(hits)))]
    rows += [("keys in the engine at the end", run.keys)]
    rows += [("KiB that workers have grown", [left["grown"] for left in run.left])]
    rows += [(f"excused: {name}", len(found)) for name, found in run.judge.exceptions.items()]
    faults = Counter(fault.kind for fault in run.witness.faults)
    rows += [(f"**fault**: {name}", number) for name, number in faults.items()]
    rows += [("faults", len(run.witness.faults))]
    return "\n".join([f"| {run.name} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())
