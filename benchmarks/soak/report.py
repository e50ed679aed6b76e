"""Writes the results of a soak run: `soak.json`, the table of the page on reliability, and the panels of soak.svg."""

from __future__ import annotations

import json
from dataclasses import asdict

from report import COLOURS
from report import HERE
from report import shown

from .course import Course
from .course import Sample
from .judge import growth_mib

DOCS = HERE.parent / "docs"
BEGIN, END = "<!-- soak table -->", "<!-- end of soak table -->"

ROWS = {
    "memory of the worker, PSS, MiB": "pss_mib",
    "memory of the worker, RSS, MiB": "rss_mib",
    "Python objects": "objects",
    "open files": "files",
    "greenlets": "greenlets",
    "native threads": "native_threads",
    "open streams": "streams",
    "slots taken": "slots",
    "kept logs": "logs",
    "lag p50, ms": "lag_p50",
    "lag p99, ms": "lag_p99",
}
ANSWERS = {
    "read to the end": "whole",
    "left, and read to the end after a return": "returned",
    "stopped": "stopped",
    "left for good": "left",
    "read slowly to the end": "slow_whole",
    "not read, and given up": "given_up",
    "refused with 503, and asked again": "refused",
    "wrong": "wrong",
}
PANELS = {
    "memory, PSS, MiB": ("pss_mib",),
    "open files": ("files",),
    "greenlets": ("greenlets",),
    "native threads": ("native_threads",),
    "open streams": ("streams",),
    "kept logs": ("logs",),
    "lag p50 and p99, ms": ("lag_p50", "lag_p99"),
    "CPU, % of a core: worker, and all others": ("cpu", "others"),
}
WIDTH, HEIGHT, PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP = 760, 620, 380, 150, 56, 30


def write(course: Course) -> None:
    results = {"size": asdict(course.size), "growth_mib": round(growth_mib(course), 2)}
    samples = [{name: round(value, 3) for name, value in sample.items()} for sample in course.samples]
    lines = ",\n".join(f"  {json.dumps(sample)}" for sample in samples)
    (HERE / "soak.json").write_text(f'{json.dumps(results)[:-1]}, "samples": [\n{lines}\n]}}\n')
    page = DOCS / "reliability.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{table(course)}\n\n{END}{after}")
    (DOCS / "pictures" / "soak.svg").write_text(plot(course.samples))


def table(course: Course) -> str:
    begin, end = course.begin, course.end
    lines = ["| | begin | most | end |", "|---|---|---|---|"]
    for title, name in ROWS.items():
        most = max(sample[name] for sample in course.samples if name in sample)
        lines.append(f"| {title} | {shown(begin.get(name))} | {shown(most)} | {shown(end.get(name))} |")
    last = course.under_load[-1]
    lines += ["", "| answers | |", "|---|---|"]
    lines += [f"| {title} | {last[name]:,.0f} |" for title, name in ANSWERS.items()]
    return "\n".join([*lines, f"| tokens | {last['tokens']:,.0f} |"])


def plot(samples: list[Sample]) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for number, (title, names) in enumerate(PANELS.items()):
        x, y = number % 2 * PANEL_WIDTH, number // 2 * PANEL_HEIGHT
        parts += [f'<g transform="translate({x},{y})">', *_panel(title, names, samples), "</g>"]
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">minutes</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, names: tuple[str, ...], samples: list[Sample]) -> list[str]:
    right, bottom = PANEL_WIDTH - 14, PANEL_HEIGHT - 20
    factor = 100 if title.endswith("%") else 1
    lines = [[(s["at"], factor * s[name]) for s in samples if name in s] for name in names]
    lasts, highest = samples[-1]["at"], _round_up(max(value for line in lines for _, value in line))
    parts = [f'<text x="{LEFT}" y="{TOP - 10}">{title}</text>']
    for part in (0, 0.5, 1):
        y = bottom - part * (bottom - TOP)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{part * highest:g}</text>')
    for part in (0, 0.5, 1):
        x = LEFT + part * (right - LEFT)
        parts.append(f'<text x="{x:.0f}" y="{bottom + 15}" text-anchor="middle">{part * lasts / 60:.0f}</text>')
    for line, colour in zip(lines, COLOURS, strict=False):
        points = " ".join(
            f"{LEFT + at / lasts * (right - LEFT):.1f},{bottom - value / highest * (bottom - TOP):.1f}"
            for at, value in line
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return parts


def _round_up(value: float) -> float:
    """Round up to a readable number."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next(size * step for step in (1, 2, 4, 6, 8, 10) if size * step >= value)
