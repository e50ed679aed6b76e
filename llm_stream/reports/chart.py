"""Computes the shapes of a report's charts. The template draws them; the browser scales them to its width."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import date
from datetime import timedelta
from math import floor
from math import log10

from .filters import Filters

WIDTH, HEIGHT = 1000, 100
GAP = 0.15
DAYS_PER_BAR = ((62, 1), (430, 7))
"""(days, size): a report of at most `days` days has bars of `size` days. A longer report has bars of thirty days."""
SERIES = 6
"""The maximum number of series. The rest is merged into one, because readers cannot distinguish more colours."""
OTHERS = "others"

Values = Mapping[str, Mapping[str, float]]
"""Values by series, then by day."""


@dataclass(frozen=True)
class Span:
    """The days of one bar."""

    first: date
    last: date

    def __str__(self) -> str:
        if self.first == self.last:
            return f"{self.first:%-d %b %Y}"
        return f"{self.first:%-d %b} – {self.last:%-d %b %Y}"

    @property
    def days(self) -> Iterator[str]:
        for n in range((self.last - self.first).days + 1):
            yield (self.first + timedelta(days=n)).isoformat()


@dataclass(frozen=True)
class Piece:
    series: int
    y: float
    height: float


@dataclass
class Bar:
    """One position on the time axis: its shapes, and the text of its tooltip."""

    x: float
    width: float
    label: str
    lines: list[str]
    pieces: list[Piece] = field(default_factory=list)


@dataclass
class Chart:
    title: str
    top: str
    """The value at the upper edge."""
    bars: list[Bar]
    legend: list[str]
    lines: list[str] = field(default_factory=list)
    """In a line chart: the points of each line. A gap in a series begins a new line."""
    series_of: list[int] = field(default_factory=list)
    step: float = WIDTH


def spans(filters: Filters) -> list[Span]:
    count = (filters.until - filters.since).days + 1
    size = next((size for most, size in DAYS_PER_BAR if count <= most), 30)
    ends = [(at, min(at + size, count) - 1) for at in range(0, count, size)]
    return [Span(filters.since + timedelta(days=first), filters.since + timedelta(days=last)) for first, last in ends]


def stacked(title: str, values: Values, over: Sequence[Span], show: Callable[[float], str]) -> Chart:
    """Stacked bars, the first series at the bottom."""
    series_values = _limited(values)
    sums = {name: [sum(days.get(day, 0) for day in span.days) for span in over] for name, days in series_values.items()}
    heights = [sum(column) for column in zip(*sums.values(), strict=True)] if sums else [0.0] * len(over)
    top = _round_up(max(heights, default=0))
    step = WIDTH / max(len(over), 1)
    bars = []
    for at, span in enumerate(over):
        lines = [f"{name}: {show(column[at])}" for name, column in sums.items() if column[at]]
        if len(lines) > 1:
            lines.append(f"together: {show(heights[at])}")
        bar = Bar(round(at * step, 2), round(step * (1 - GAP), 2), str(span), lines or ["nothing"])
        below = 0.0
        for series, column in enumerate(sums.values()):
            height = HEIGHT * column[at] / top
            below += height
            if height:
                bar.pieces.append(Piece(series, round(HEIGHT - below, 2), round(height, 2)))
        bars.append(bar)
    return Chart(title, show(top), bars, list(series_values), step=round(step, 2))


def lined(
    title: str, values: Mapping[str, Sequence[float | None]], over: Sequence[Span], show: Callable[[float], str]
) -> Chart:
    """One line per series, with a value or None for each span."""
    top = _round_up(max((value for column in values.values() for value in column if value), default=0))
    step = WIDTH / max(len(over), 1)
    bars = []
    for at, span in enumerate(over):
        lines = [f"{name}: {show(value)}" for name, column in values.items() if (value := column[at]) is not None]
        bars.append(Bar(round(at * step, 2), round(step, 2), str(span), lines or ["nothing"]))
    chart = Chart(title, show(top), bars, list(values), step=round(step, 2))
    for series, column in enumerate(values.values()):
        for run in _runs(column):
            points = [((at + 0.5) * step, HEIGHT * (1 - value / top)) for at, value in run]
            if len(points) == 1:  # a line of one point would be invisible
                (x, y) = points[0]
                points = [(x - step * 0.4, y), (x + step * 0.4, y)]
            chart.lines.append(" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
            chart.series_of.append(series)
    return chart


def _runs(column: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    run: list[tuple[int, float]] = []
    for at, value in enumerate(column):
        if value is not None:
            run.append((at, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _limited(values: Values) -> Values:
    """At most `SERIES` series: the first ones, and the sum of the rest."""
    if len(values) <= SERIES:
        return values
    names = list(values)
    others: dict[str, float] = {}
    for name in names[SERIES - 1 :]:
        for day, value in values[name].items():
            others[day] = others.get(day, 0) + value
    kept = {name: values[name] for name in names[: SERIES - 1]}
    return kept | {f"{len(names) - len(kept)} {OTHERS}": others}


def _round_up(value: float) -> float:
    """Round up to 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 1
    unit: float = 10.0 ** floor(log10(value))
    return next(unit * step for step in (1, 2, 2.5, 5, 10) if unit * step >= value * 0.999999)
