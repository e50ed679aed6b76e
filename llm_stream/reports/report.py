"""What a report says: plain figures, by day, model, owner and status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from itertools import accumulate
from typing import Any

from ..ledger.ledger import Ledger
from ..server import gevent
from ..usage.record import exact
from .days import Day
from .days import Sum
from .days import Times
from .days import days
from .filters import DIMENSIONS
from .filters import Dimension
from .filters import Filters

COUNTS = (
    "streams",
    "running",
    "unpriced",
    "uncounted",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)


@dataclass
class Figures:
    """What some streams come to. Amounts are by currency, and never added across.

    `unread` is the part of `spend` that bought answers which nobody read to their end. `unpriced` counts the streams
    whose cost nobody knows, `uncounted` those whose tokens nobody knows: the sums are without them.
    """

    streams: int = 0
    running: int = 0
    unpriced: int = 0
    uncounted: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    spend: dict[str, int] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    ttft: dict[float, int] = field(default_factory=dict)
    duration: dict[float, int] = field(default_factory=dict)

    def add(self, part: Sum) -> None:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        if part.currency is not None:
            self.spend[part.currency] = self.spend.get(part.currency, 0) + part.cost
            self.unread[part.currency] = self.unread.get(part.currency, 0) + part.unread_cost

    def add_times(self, times: Times) -> None:
        _count(self.ttft, times.ttft)
        _count(self.duration, times.duration)


def _count(whole: dict[float, int], part: Mapping[float, int]) -> None:
    for value, count in part.items():
        whole[value] = whole.get(value, 0) + count


@dataclass
class Report:
    filters: Filters
    totals: Figures = field(default_factory=Figures)
    groups: dict[Dimension, dict[str, Figures]] = field(default_factory=dict)
    """By dimension, then by its values: days in their order, the others by what was spent."""
    by_day: dict[Dimension, dict[str, dict[str, Figures]]] = field(default_factory=dict)
    """By dimension, then by its values, then by day. Times are not known of owners."""

    @property
    def currencies(self) -> list[str]:
        return sorted(self.totals.spend)


def report(ledger: Ledger, filters: Filters, by: Dimension = "day") -> Report:
    """Raises SQLAlchemy's errors."""
    return gevent.off_loop(_folded, filters, by, days(ledger, filters))


def _folded(filters: Filters, by: Dimension, found: Iterable[Day]) -> Report:
    made = Report(filters)
    made.groups = {dimension: defaultdict(Figures) for dimension in DIMENSIONS}
    made.by_day = {by: defaultdict(lambda: defaultdict(Figures))}
    for day in found:
        for part in _parts(day):
            _add(made, day.day, part, by)
    for figures in made.groups["status"].values():
        _count(made.totals.ttft, figures.ttft)
        _count(made.totals.duration, figures.duration)
    for dimension in DIMENSIONS[1:]:
        made.groups[dimension] = dict(sorted(made.groups[dimension].items(), key=lambda item: _weight(item[1])))
    return made


def _parts(day: Day) -> Iterator[Sum | Times]:
    yield from day.kinds
    yield from day.owners
    yield from day.times


def _add(made: Report, day: str, part: Sum | Times, by: Dimension) -> None:
    values: dict[Dimension, str]
    if isinstance(part, Sum) and part.owner is not None:
        values = {"owner": part.owner}
    else:
        values = {"day": day, "model": str(part.model), "status": str(part.status)}
        if isinstance(part, Sum):
            made.totals.add(part)
    places = [made.groups[dimension][value] for dimension, value in values.items()]
    if by in values and by != "day":
        places.append(made.by_day[by][values[by]][day])
    for place in places:
        if isinstance(part, Sum):
            place.add(part)
        else:
            place.add_times(part)


def _weight(figures: Figures) -> tuple[int, int]:
    return (-max(figures.spend.values(), default=0), -figures.streams)


def percentile(seen: Mapping[float, int], share: float) -> float | None:
    """The smallest time that `share` of the streams did not exceed."""
    if not seen:
        return None
    values = sorted(seen)
    needed = share * sum(seen.values())
    for value, count in zip(values, accumulate(seen[value] for value in values), strict=True):
        if count >= needed:
            return value
    return values[-1]


def unread_share(figures: Figures, currency: str) -> float | None:
    spent = figures.spend.get(currency, 0)
    return figures.unread[currency] / spent if spent else None


def as_plain(made: Report, by: Dimension) -> dict[str, Any]:
    """What `/usage.json` and `flask llm usage --json` say: amounts as strings, seconds as numbers."""
    return {
        "filters": dict(made.filters.as_query()),
        "by": by,
        "totals": _plain(made.totals),
        "groups": [{by: value} | _plain(figures) for value, figures in made.groups[by].items()],
        **{
            f"{name}s": [{name: v} | _plain(f) for v, f in made.groups[name].items()]
            for name in ("day", "model", "owner")
        },
        "statuses": [{"status": value} | _plain(figures) for value, figures in made.groups["status"].items()],
    }


def _plain(figures: Figures) -> dict[str, Any]:
    plain: dict[str, Any] = {name: getattr(figures, name) for name in COUNTS}
    plain["spend"] = {currency: exact(amount) for currency, amount in sorted(figures.spend.items())}
    plain["unread"] = {currency: exact(amount) for currency, amount in sorted(figures.unread.items())}
    plain["unread_share"] = {currency: unread_share(figures, currency) for currency in sorted(figures.spend)}
    for name, seen in (("ttft_s", figures.ttft), ("duration_s", figures.duration)):
        plain[name] = {"p50": percentile(seen, 0.5), "p95": percentile(seen, 0.95)}
    return plain
