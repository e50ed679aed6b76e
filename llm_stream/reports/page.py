"""Renders the usage page. It works without its script, which only adds tooltips to the charts."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from datetime import date
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import jinja2

from ..ledger.ledger import Ledger
from ..server import gevent
from ..usage.record import SYMBOLS
from ..usage.record import amount_of
from ..usage.record import exact
from . import chart
from .chart import Chart
from .filters import DIMENSIONS
from .filters import Dimension
from .filters import Filters
from .report import Figures
from .report import Report
from .report import percentile
from .report import report

ROWS = 100
"""The maximum number of rows in a table. The CSV and the JSON have all rows."""
RANGES = {"7 days": 7, "30 days": 30, "90 days": 90, "1 year": 365}
NAMES: dict[Dimension, str] = {"day": "Day", "model": "Model", "owner": "Owner", "status": "Ending"}

# a separate environment, independent of the host app's Jinja options
templates = jinja2.Environment(
    loader=jinja2.PackageLoader("llm_stream.reports"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)


@dataclass(frozen=True)
class Links:
    """Links to the page with other filters. `back` is the target of its back link."""

    filters: Filters
    by: Dimension
    files: Mapping[str, str]
    back: str | None = None

    def to(self, file: str = "page", /, **changed: Any) -> str:
        by = changed.pop("by", self.by)
        query = {**replace(self.filters, **changed).as_query(), "by": by}
        if self.back and file == "page":
            query["back"] = self.back
        return f"{self.files[file]}?{urlencode(query, doseq=True)}"

    def only(self, dimension: Dimension, value: str) -> str:
        if dimension == "day":
            return self.to(since=date.fromisoformat(value), until=date.fromisoformat(value))
        return self.to(**{FIELDS[dimension]: (value,), "by": "day" if self.by == dimension else self.by})

    def without(self, dimension: Dimension, value: str) -> str:
        kept = tuple(other for other in getattr(self.filters, FIELDS[dimension]) if other != value)
        return self.to(**{FIELDS[dimension]: kept})


FIELDS: dict[Dimension, str] = {"model": "models", "owner": "owners", "status": "statuses"}


def load() -> None:
    """Compile the template."""
    templates.get_template("usage.html")


def rendered(
    ledger: Ledger,
    filters: Filters,
    by: Dimension,
    files: Mapping[str, str],
    *,
    is_for_all: bool,
    back: str | None = None,
) -> str:
    """The page's HTML. `is_for_all`: whether to show owners. `back`: a path of this site, for the back link."""
    data = report(ledger, filters, by)
    links = Links(filters, by, files, back)
    today = filters.today
    template = templates.get_template("usage.html")
    render = partial(
        template.render,
        report=data,
        filters=filters,
        by=by,
        names=NAMES,
        links=links,
        charts=gevent.off_loop(charts, data, by),
        dimensions=[dimension for dimension in DIMENSIONS if is_for_all or dimension != "owner"],
        ranges={name: links.to(since=today - timedelta(days=days), until=today) for name, days in RANGES.items()},
        range_now=next(
            (n for n, d in RANGES.items() if filters.until == today and (today - filters.since).days == d), ""
        ),
        chips=[
            (NAMES[dimension], value, links.without(dimension, value))
            for dimension, name in FIELDS.items()
            for value in getattr(filters, name)
            if is_for_all or dimension != "owner"
        ],
        rows=_rows(data, by),
        left_out=max(0, len(data.groups[by]) - ROWS),
        money=money,
        exact=exact,
        count=count,
        seconds=seconds,
        percent=percent,
        percentile=percentile,
        width=chart.WIDTH,
        height=chart.HEIGHT,
    )
    return gevent.off_loop(render)


def charts(data: Report, by: Dimension) -> list[Chart]:
    over = chart.spans(data.filters)
    days = data.groups["day"]
    series: Mapping[str, Mapping[str, Figures]] = data.by_day[by] if by != "day" else {"all": days}
    ranked = [name for name in data.groups[by] if name in series] if by != "day" else ["all"]
    result = []
    for currency in data.currencies:
        spend = {n: {day: f.spend.get(currency, 0) for day, f in series[n].items()} for n in ranked}
        spend = {name: values for name, values in spend.items() if any(values.values())}
        title = f"Spend in {currency}" if by == "day" else f"Spend in {currency} by {NAMES[by].lower()}"
        result.append(chart.stacked(title, spend, over, lambda value, c=currency: money(value, c)))  # type: ignore[misc]
    tokens = {
        "in": {day: figures.input_tokens for day, figures in days.items()},
        "out": {day: figures.output_tokens for day, figures in days.items()},
    }
    result.append(chart.stacked("Tokens", tokens, over, count))
    ttft: dict[str, list[float | None]] = {"p50": [], "p95": []}
    for span in over:
        times: dict[float, int] = {}
        for day in span.days:
            for value, number in days[day].ttft.items() if day in days else ():
                times[value] = times.get(value, 0) + number
        ttft["p50"].append(percentile(times, 0.5))
        ttft["p95"].append(percentile(times, 0.95))
    result.append(chart.lined("Time to first token", ttft, over, seconds))
    return result


def _rows(data: Report, by: Dimension) -> Sequence[tuple[str, Figures]]:
    rows = list(data.groups[by].items())
    return rows[::-1][:ROWS] if by == "day" else rows[:ROWS]


def money(fractions: float, currency: str) -> str:
    """The amount with two decimals, or with more decimals to show two significant digits."""
    amount = amount_of(int(fractions))
    places = 2 if amount == 0 or amount >= 1 else min(12, 1 - amount.adjusted())
    figure = f"{amount:,.{places}f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{figure}" if symbol else f"{figure} {currency}"


def count(number: float) -> str:
    """`1,234`; from 10,000: `12.3k`, `4.5M`, `6.7B`."""
    if number < 10_000:
        return f"{number:,.0f}"
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size * 0.9995:
            digits = 0 if number >= 99.95 * size else 1
            return f"{number / size:,.{digits}f}{unit}"
    return f"{number:,.0f}"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
