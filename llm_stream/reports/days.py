"""Sums the ledger by day, and caches the sums of past days.

A database needs many seconds to sum a million rows. The rows of a past day do not change, so their sums are cached in
`llm_stream_usage_days`. A cached day is valid as long as the number of the day's rows is the same. One kind of row does
change: a worker whose lease expired may recover and correct the rows that other workers settled for it. So the number
of these rows is compared, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import date
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Select
from sqlalchemy import and_
from sqlalchemy import case
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import inspect
from sqlalchemy import or_
from sqlalchemy import select

from ..ledger import schema
from ..ledger.ledger import Ledger
from ..ledger.rows import is_lost
from ..ledger.schema import usage
from ..ledger.schema import usage_days
from ..server import gevent
from .filters import Filters

FEW = 50_000
"""Up to this number, rows are summed directly. With more rows, past days are cached."""
STEPS = (
    (0.01, 2000),
    (0.02, 1000),
    (0.05, 500),
    (0.1, 200),
    (0.2, 100),
    (0.5, 50),
    (1, 20),
    (2, 10),
    (5, 5),
    (10, 2),
    (20, 1),
    (50, 0.5),
)
"""(limit, parts): a time below `limit` seconds is rounded to 1/`parts` of a second."""
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
SUMMED = ("cost", "unread_cost", *TOKENS)
HALF = 10**6
DAYS_AT_ONCE = 31
"""How many days are summed and cached together."""


class Sum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sums over the streams of one day and currency, and either one model and status or one owner. Costs: 10^-12."""

    day: str
    model: str | None
    status: str | None
    owner: str | None
    currency: str | None
    streams: int
    running: int
    unpriced: int
    """The number of streams with accepted calls but an unknown cost."""
    uncounted: int
    cost: int
    unread_cost: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


class Times(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Histograms of the time to the first token and the time to the end."""

    model: str
    status: str
    ttft: dict[float, int]
    duration: dict[float, int]


class Day(msgspec.Struct, array_like=True):
    day: str
    streams: int = 0
    kinds: list[Sum] = []
    """By model and status."""
    owners: list[Sum] = []
    times: list[Times] = []


def days(ledger: Ledger, filters: Filters) -> list[Day]:
    """The days of a report, without empty days. With many rows, times are rounded to within 5 %."""
    counts = ledger.read(lambda connection: streams_by_day(connection, filters))
    if not counts:
        return []
    is_exact = sum(counts.values()) <= FEW
    if is_exact or filters.owners:
        return ledger.read(lambda connection: list(_summed(connection, where(filters), is_exact=is_exact)))
    cached = ledger.read(lambda connection: _cached(connection, filters, counts))
    missing = sorted(counts.keys() - cached.keys())
    result = gevent.off_loop(_decode, cached.values())
    for at in range(0, len(missing), DAYS_AT_ONCE):
        result += _sum_and_cache(ledger, missing[at : at + DAYS_AT_ONCE], filters.today)
    if filters.models or filters.statuses:
        result = [_filtered(day, filters) for day in result]
        owners = ledger.read(lambda connection: list(_sums(connection, where(filters), usage.c.owner)))
        _replace_owners(result, owners)
    return sorted(result, key=lambda day: day.day)


def where(filters: Filters) -> ColumnElement[bool]:
    c = usage.c
    clauses = [_between(filters.since, filters.until)]
    for column, values in ((c.model, filters.models), (c.owner, filters.owners), (c.status, filters.statuses)):
        if values:
            clauses.append(column.in_(values))
    return and_(*clauses)


def streams_by_day(connection: Connection, filters: Filters) -> dict[str, int]:
    """The number of streams by day, for all models because cached days include all of them.

    If the filters name owners, only their streams are counted.
    """
    if not inspect(connection).has_table(usage.name):
        return {}  # no streams yet
    return _count_by_day(connection, where(filters) if filters.owners else _between(filters.since, filters.until))


def _between(since: date | str, until: date | str) -> ColumnElement[bool]:
    return and_(usage.c.day >= str(since), usage.c.day <= str(until))


def _count_by_day(connection: Connection, *clauses: ColumnElement[bool]) -> dict[str, int]:
    counts = select(usage.c.day, func.count().label("number")).where(*clauses).group_by(usage.c.day)
    return {row.day: row.number for row in connection.execute(counts)}


def _cached(connection: Connection, filters: Filters, counts: Mapping[str, int]) -> dict[str, str]:
    """The valid cached days. Empty if the tables have another version, because reading does not migrate tables."""
    if schema.version_of(connection) != len(schema.STEPS):
        return {}
    since, until = filters.since.isoformat(), filters.until.isoformat()
    lost = _count_by_day(connection, _between(since, until), *is_lost())
    stored = connection.execute(select(usage_days).where(usage_days.c.day >= since, usage_days.c.day <= until))
    return {
        row.day: row.sums for row in stored if (counts.get(row.day), lost.get(row.day, 0)) == (row.streams, row.lost)
    }


def _decode(cached: Iterable[str]) -> list[Day]:
    return [msgspec.json.decode(sums, type=Day) for sums in cached]


def _sum_and_cache(ledger: Ledger, missing: Sequence[str], today: date) -> list[Day]:
    clause = and_(_between(missing[0], missing[-1]), usage.c.day.in_(missing))

    def read(connection: Connection) -> tuple[dict[str, int], list[Day]]:
        return _count_by_day(connection, clause, *is_lost()), list(_summed(connection, clause, is_exact=False))

    lost, summed = ledger.read(read)
    past = [day for day in summed if day.day < today.isoformat() and not any(kind.running for kind in day.kinds)]

    def store(connection: Connection) -> None:
        rows: list[dict[str, Any]] = [
            {"day": d.day, "streams": d.streams, "lost": lost.get(d.day, 0), "sums": msgspec.json.encode(d).decode()}
            for d in past
        ]
        connection.execute(delete(usage_days).where(usage_days.c.day.in_([row["day"] for row in rows])))
        connection.execute(insert(usage_days), rows)

    if past:
        ledger.write_soon(store)
    return summed


def _summed(connection: Connection, clause: ColumnElement[bool], *, is_exact: bool) -> Iterator[Day]:
    by_day: dict[str, Day] = {}
    for kind in _sums(connection, clause, usage.c.model, usage.c.status):
        day = by_day.setdefault(kind.day, Day(kind.day))
        day.kinds.append(kind)
        day.streams += kind.streams
    for owner in _sums(connection, clause, usage.c.owner):
        by_day.setdefault(owner.day, Day(owner.day)).owners.append(owner)
    times: dict[tuple[str, str, str], Times] = {}
    for name, column in (("ttft", usage.c.ttft_s), ("duration", usage.c.duration_s)):
        for day_, model, status, value, count in connection.execute(_histogram(clause, column, is_exact=is_exact)):
            key = (day_, model, status)
            if key not in times:
                times[key] = Times(model, status, {}, {})
                by_day.setdefault(day_, Day(day_)).times.append(times[key])
            getattr(times[key], name)[float(value)] = count
    yield from (day for _, day in sorted(by_day.items()))


def _sums(connection: Connection, clause: ColumnElement[bool], *keys: ColumnElement[Any]) -> Iterator[Sum]:
    columns = [usage.c.day, usage.c.currency, *keys]
    statement = select(*columns, *_figures()).where(clause).group_by(*columns)
    for row in connection.execute(statement).mappings():
        whole = {name: HALF * int(row[f"{name}_high"] or 0) + int(row[f"{name}_low"] or 0) for name in SUMMED}
        figures = whole | {name: int(row[name]) for name in Sum.__struct_fields__[5:] if name not in SUMMED}
        yield Sum(row["day"], row.get("model"), row.get("status"), row.get("owner"), row["currency"], **figures)


def _figures() -> list[ColumnElement[Any]]:
    c = usage.c
    is_running = c.status == "running"
    bought = and_(c.status != "running", func.coalesce(c.source, "unknown") != "none")
    unread = or_(c.was_read.is_(False), c.status.in_(("abandoned", "cancelled")))

    def number_of(condition: ColumnElement[bool]) -> ColumnElement[Any]:
        return func.sum(case((condition, 1), else_=0))

    return [
        func.count().label("streams"),
        number_of(is_running).label("running"),
        number_of(and_(bought, c.cost.is_(None))).label("unpriced"),
        number_of(and_(bought, or_(c.input_tokens.is_(None), c.output_tokens.is_(None)))).label("uncounted"),
        *_in_halves("cost", c.cost),
        *_in_halves("unread_cost", case((unread, c.cost), else_=0)),
        *chain.from_iterable(_in_halves(name, c[name]) for name in TOKENS),
    ]


def _in_halves(name: str, column: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """The sum of a column as two integers, because two of the largest rows exceed the 64 bits of SQLite's sums.

    `//` is SQL's integer division; SQLAlchemy's `/` would make fractions, and lose digits.
    """
    return [func.sum(column // HALF).label(f"{name}_high"), func.sum(column % HALF).label(f"{name}_low")]


def _histogram(clause: ColumnElement[bool], column: ColumnElement[Any], *, is_exact: bool) -> Select[Any]:
    c = usage.c
    value = column if is_exact else _rounded(column)
    times = select(c.day, c.model, c.status, value.label("value")).where(clause, column.is_not(None)).subquery()
    return select(*times.c, func.count()).group_by(*times.c)


def _rounded(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """To within 5 %: 0.20, 0.22 … 0.50, 0.55 … 1.0, 1.1 … 2.0, 2.2 …"""
    steps = [(below, func.round(seconds * parts) / parts) for below, parts in STEPS]
    return case(*((seconds < below, value) for below, value in steps), else_=func.round(seconds / 5) * 5)


def _filtered(day: Day, filters: Filters) -> Day:
    def passes(kind: Sum | Times) -> bool:
        return (not filters.models or kind.model in filters.models) and (
            not filters.statuses or kind.status in filters.statuses
        )

    kinds = list(filter(passes, day.kinds))
    streams = sum(kind.streams for kind in kinds)
    return Day(day.day, streams, kinds, day.owners, list(filter(passes, day.times)))


def _replace_owners(days: list[Day], owners: Iterable[Sum]) -> None:
    by_day = {day.day: day for day in days}
    for day in days:
        day.owners = []
    for owner in owners:
        if owner.day in by_day:  # other days began after the count
            by_day[owner.day].owners.append(owner)
