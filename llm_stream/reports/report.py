"""Builds a report: figures by day, model, owner and status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from itertools import accumulate
from itertools import chain
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
    """The sums over a group of streams. Amounts are by currency, and never added across currencies.

    `unread` is the part of `spend` for answers that were not read to the end. `unpriced` counts streams with an unknown
    cost, and `uncounted` counts streams with unknown tokens. The sums do not include them.
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
    """By dimension, then by value. Days are in order; other values are sorted by spend."""
    by_day: dict[Dimension, dict[str, dict[str, Figures]]] = field(default_factory=dict)
    """By dimension, then by value, then by day. Owners have no times."""

    @property
    def currencies(self) -> list[str]:
        return sorted(self.totals.spend)


def report(ledger: Ledger, filters: Filters, by: Dimension = "day") -> Report:
    """Raises SQLAlchemy's errors."""
    return gevent.off_loop(_fold, filters, by, days(ledger, filters))


def _fold(filters: Filters, by: Dimension, days: Iterable[Day]) -> Report:
    result = Report(filters)
    result.groups = {dimension: defaultdict(Figures) for dimension in DIMENSIONS}
    result.by_day = {by: defaultdict(lambda: defaultdict(Figures))}
    for day in days:
        for part in chain[Sum | Times](day.kinds, day.owners, day.times):
            _add(result, day.day, part, by)
    for figures in result.groups["status"].values():
        _count(result.totals.ttft, figures.ttft)
        _count(result.totals.duration, figures.duration)
    for dimension in DIMENSIONS[1:]:
        result.groups[dimension] = dict(sorted(result.groups[dimension].items(), key=lambda item: _weight(item[1])))
    return result


def _add(result: Report, day: str, part: Sum | Times, by: Dimension) -> None:
    values: dict[Dimension, str]
    if isinstance(part, Sum) and part.owner is not None:
        values = {"owner": part.owner}
    else:
        values = {"day": day, "model": str(part.model), "status": str(part.status)}
        if isinstance(part, Sum):
            result.totals.add(part)
    places = [result.groups[dimension][value] for dimension, value in values.items()]
    if by in values and by != "day":
        places.append(result.by_day[by][values[by]][day])
    for place in places:
        if isinstance(part, Sum):
            place.add(part)
        else:
            place.add_times(part)


def _weight(figures: Figures) -> tuple[int, int]:
    return (-max(figures.spend.values(), default=0), -figures.streams)


def percentile(times: Mapping[float, int], share: float) -> float | None:
    """The smallest time that `share` of the streams did not exceed."""
    if not times:
        return None
    values = sorted(times)
    needed = share * sum(times.values())
    for value, count in zip(values, accumulate(times[value] for value in values), strict=True):
        if count >= needed:
            return value
    return values[-1]


def unread_share(figures: Figures, currency: str) -> float | None:
    spent = figures.spend.get(currency, 0)
    return figures.unread[currency] / spent if spent else None


def as_plain(result: Report, by: Dimension) -> dict[str, Any]:
    """The JSON of `/usage.json` and `flask llm usage --json`: amounts as strings, seconds as numbers."""
    return {
        "filters": dict(result.filters.as_query()),
        "by": by,
        "totals": _plain(result.totals),
        "groups": [{by: value} | _plain(figures) for value, figures in result.groups[by].items()],
        **{
            f"{name}s": [{name: v} | _plain(f) for v, f in result.groups[name].items()]
            for name in ("day", "model", "owner")
        },
        "statuses": [{"status": value} | _plain(figures) for value, figures in result.groups["status"].items()],
    }


def _plain(figures: Figures) -> dict[str, Any]:
    plain: dict[str, Any] = {name: getattr(figures, name) for name in COUNTS}
    plain["spend"] = {currency: exact(amount) for currency, amount in sorted(figures.spend.items())}
    plain["unread"] = {currency: exact(amount) for currency, amount in sorted(figures.unread.items())}
    plain["unread_share"] = {currency: unread_share(figures, currency) for currency in sorted(figures.spend)}
    for name, times in (("ttft_s", figures.ttft), ("duration_s", figures.duration)):
        plain[name] = {"p50": percentile(times, 0.5), "p95": percentile(times, 0.95)}
    return plain
