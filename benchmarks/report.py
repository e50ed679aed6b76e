"""Writes the results of `run.py`: the tables in README.md, between their markers, and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"

COLOURS = ["#0b6b53", "#c4622d", "#5560a8", "#8a8a80", "#b04a8a"]
WIDTH, HEIGHT, LEFT, BOTTOM = 720, 380, 70, 50
LIMIT_MS = 50.0


def write(results: dict[str, Any]) -> None:
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n{END}{after}")
    (HERE / "capacity.svg").write_text(plot(results["capacity"]))


def tables(results: dict[str, Any]) -> str:
    figures = results["figures"]
    names = list(figures)
    rows = list(dict.fromkeys(row for values in figures.values() for row in values))
    lines = ["| median of the rounds | " + " | ".join(names) + " | FastAPI ÷ ours |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        values = [figures[name].get(row) for name in names]
        lines.append(f"| {row} | " + " | ".join(map(shown, values)) + f" | {ratio(row, values)} |")
    most = [shown(carried(results["capacity"].get(name, []))) for name in names]
    lines.append("| streams of 50 tokens/s per core, lag p99 < 50 ms | " + " | ".join(most) + " | |")
    lines += [
        "",
        "The instruments alone: " + ", ".join(f"{k} {shown(v)}" for k, v in results["instruments"].items()) + ".",
    ]
    return "\n".join([*lines, *profile(results["layers"])]) + "\n"


def profile(layers: dict[str, dict[str, float]]) -> list[str]:
    """The microseconds per token for each layer, without the kernel and gevent."""
    ways = [way for way in layers if way != "decoding one chunk"]
    lines = ["", "| µs/token, without sockets | " + " | ".join(ways) + " |", "|---" * (len(ways) + 1) + "|"]
    for layer in layers[ways[0]]:
        lines.append(f"| {layer} | " + " | ".join(f"{layers[way][layer]:.2f}" for way in ways) + " |")
    decoders = ", ".join(f"{name} {time:.2f}" for name, time in layers["decoding one chunk"].items())
    return [*lines, "", f"Decoding the JSON of one chunk, µs: {decoders}."]


def carried(sweep: list[dict[str, float]]) -> float | None:
    """The largest tried number of streams that all arrived complete and in time."""
    good = [step["streams"] for step in sweep if step["p99"] < LIMIT_MS and not step["broken answers"]]
    return max(good) if good else None


def ratio(row: str, values: list[float | None]) -> str:
    ours, *peers = values
    if not peers or not peers[0] or not ours or "broken" in row:
        return ""
    return f"{peers[0] / ours:.1f}"


def shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def plot(capacity: dict[str, list[dict[str, float]]]) -> str:
    """A plot of the lag over the number of streams, both on logarithmic scales."""
    from math import log10

    def x(streams: float) -> float:
        return LEFT + (log10(streams) - 0.9) / (3.1 - 0.9) * (WIDTH - LEFT - 20)

    def y(ms: float) -> float:
        return HEIGHT - BOTTOM - (log10(max(ms, 0.5)) + 0.3) / (4 + 0.3) * (HEIGHT - BOTTOM - 20)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for ms in (1, 10, 50, 100, 1000, 10000):
        dash = ' stroke-dasharray="4 3"' if ms == LIMIT_MS else ""
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(ms):.0f}" y2="{y(ms):.0f}" stroke="#ddd"{dash}/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(ms) + 4:.0f}" text-anchor="end">{ms} ms</text>')
    for streams in (10, 25, 50, 100, 200, 400, 1000):
        parts.append(f'<text x="{x(streams):.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{streams}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">streams of 50 tokens/s, one core</text>')
    parts.append(f'<text x="{LEFT}" y="14">lag of a token, p99</text>')
    for (name, sweep), colour in zip(capacity.items(), COLOURS, strict=False):
        points = [(x(step["streams"]), y(step["p99"])) for step in sweep]
        line = " ".join(f"{a:.0f},{b:.0f}" for a, b in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.0f}" cy="{b:.0f}" r="3" fill="{colour}"/>' for a, b in points]
        a, b = points[-1]
        parts.append(f'<text x="{min(a, WIDTH - 150):.0f}" y="{b - 8:.0f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
