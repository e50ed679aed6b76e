"""The outcome, as a table."""

from __future__ import annotations

from collections import Counter

from .run import Run


def table(run: Run) -> str:
    counts, made = run.witness.counts, run.troublemaker.made
    rows: list[tuple[str, object]] = [("questions", len(run.questions)), ("streams", len(run.rows))]
    rows += [("ends", _counted(Counter(row["status"] for row in run.rows)))]
    rows += [("token counts", _counted(Counter(row["source"] for row in run.rows)))]
    rows += [(name, counts[name]) for name in ("readers", "reconnects", "refusals", "stops", "events")]
    rows += [(name, number) for name, number in sorted(made.items())]
    rows += [("keys in the engine at the end", run.keys)]
    rows += [(f"exception: {name}", len(details)) for name, details in run.judge.exceptions.items()]
    rows += [(f"**fault**: {name}", len(details)) for name, details in run.witness.faults.items()]
    rows += [("faults", sum(map(len, run.witness.faults.values())))]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counter.most_common())
