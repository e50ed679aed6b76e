"""Writes the results of `shared_log.py`: shared_log.json, and the tables of README.md between their markers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import run
import scale
from report import shown
from sharing import Figures
from sharing import Way

BEGIN, END = "<!-- shared log -->", "<!-- end of shared log -->"
RESULTS = run.HERE / "shared_log.json"
PACES = {50: "500 × 50/s", 20: "250 × 20/s"}
"""The rows from which `scale.py` calculates the resources for streams of this pace."""

GOALS = {
    "100 × 50/s: server CPU, times that without": "1.3",
    "500 × 50/s: server CPU, times that without": "1.3",
    "request: first token p50, later than without, ms": "2",
    "request: first token p99, later than without, ms": "2",
    "100 × 50/s: commands/event": "0.2",
    "followed 100 × 50/s: delay p50, ms": "30",
    "followed 100 × 50/s: delay p99, ms": "60",
    "resume of 1000: of which after the lease, s": "3",
}
"""At most."""

LEFT_OUT = "measurements left out, as others used the machine"

Everything = dict[str, dict[str, list[float | None]]]
"""The value of each round, by way and row; None for a measurement that does not count."""


def medians(everything: Everything, ways: list[Way]) -> dict[str, Figures]:
    """The medians of the rounds, and the comparison with the log in memory in the same round."""
    found = {}
    for way in ways:
        rows = everything[way.name]
        found[way.name] = {row: statistics.median(there) for row, values in rows.items() if (there := counted(values))}
        for row in rows.keys() & {"broken answers", LEFT_OUT}:
            found[way.name][row] = sum(counted(rows[row]))
        if way.base:
            found[way.name] |= compared(rows, everything[way.base])
    return found


def counted(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def compared(rows: dict[str, list[float | None]], base: dict[str, list[float | None]]) -> Figures:
    found = {}
    for row, values in rows.items():
        both = zip(values, base.get(row, []), strict=False)
        pairs = [(a, b) for a, b in both if a is not None and b is not None]
        if pairs and row.endswith("server CPU µs/token"):
            name = row.replace(" µs/token", ", times that without")
            found[name] = statistics.median(a / b for a, b in pairs)
        elif pairs and row.startswith("request: first token"):
            name = row.replace(", ms", ", later than without, ms")
            found[name] = statistics.median(a - b for a, b in pairs)
    return found


def table(figures: dict[str, Figures], ways: list[Way]) -> str:
    names = [way.name for way in ways]
    heads = [name.replace("|", "/") for name in names]
    lines = ["| median of the rounds | " + " | ".join(heads) + " | at most |", "|---" * (len(names) + 2) + "|"]
    for row in rows_of(figures):
        values = " | ".join(shown(figures[name].get(row)) for name in names)
        lines.append(f"| {row} | {values} | {GOALS.get(row, '')} |")
    return "\n".join(lines)


def rows_of(figures: dict[str, Figures]) -> list[str]:
    """Each row once. Rows that belong together are adjacent, in the order of measurement."""
    rows = dict.fromkeys(row for values in figures.values() for row in values)
    groups = list(dict.fromkeys(row.partition(":")[0] for row in rows))
    return sorted(rows, key=lambda row: groups.index(row.partition(":")[0]))


def scaled(figures: dict[str, Figures], ways: list[Way]) -> dict[str, dict[str, float]]:
    """The resources for a hundred thousand streams at once, for each measured pace."""
    measured = json.loads((run.HERE / "results.json").read_text())["figures"]["flask-llm-stream"]
    kib = measured["memory: KiB per open stream"]
    way = next(way for way in ways if way.base and not way.is_peer)
    loads = {f"{per_s} tokens/s each": (scale.Load(per_s=per_s), rows) for per_s, rows in PACES.items()}
    return {
        name: scale.needs(load, scale.costs_of(figures[way.name], rows, kib), scale.Assumptions())
        for name, (load, rows) in loads.items()
    }


def scale_table(needs: dict[str, dict[str, float]]) -> str:
    lines = ["| 100,000 streams at once | " + " | ".join(needs) + " |", "|---" * (len(needs) + 1) + "|"]
    for row in next(iter(needs.values())):
        lines.append(f"| {row} | " + " | ".join(grouped(values[row]) for values in needs.values()) + " |")
    return "\n".join(lines)


def grouped(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else shown(value)


def write(figures: dict[str, Figures], everything: Everything, ways: list[Way]) -> None:
    needs = scaled(figures, ways)
    results: dict[str, Any] = {"figures": figures, "all": everything, "scale": needs}
    results["assumptions"] = asdict(scale.Assumptions()) | asdict(scale.Load())
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    readme = run.HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{table(figures, ways)}\n\n{scale_table(needs)}\n\n{END}{after}")
