"""What the streams of each day come to, and the memory of it for days that are over.

A report over a million rows takes a database many seconds. The rows of a day that is over do not change any more, so
their sums are written down in `llm_stream_usage_days`, and believed as long as the ledger has as many rows of the day.
One kind of row does change: a worker that was taken for gone corrects what others settled for it. So these rows are
counted, too.
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
"""So many rows are summed as they are; of more, the days that are over are remembered."""
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
"""Below so many seconds, a time is rounded to the so many'th part of one."""
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
SUMMED = ("cost", "unread_cost", *TOKENS)
HALF = 10**6
DAYS_AT_ONCE = 31
"""Days whose sums are made, and written down, together."""


class Sum(msgspec.Struct, frozen=True, array_like=True):
    """Streams of one day, one currency, and either one model and status or one owner; costs in 10^-12."""

    day: str
    model: str | None
    status: str | None
    owner: str | None
    currency: str | None
    streams: int
    running: int
    unpriced: int
    """Streams that bought something of which nobody knows the price."""
    uncounted: int
    cost: int
    unread_cost: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


class Times(msgspec.Struct, frozen=True, array_like=True):
    """How often a time was seen, to the first token or to the end."""

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
    """The days of a report, those without a stream left out; times are kept to within 5 % where rows are many."""
    counts = ledger.read(lambda connection: streams_by_day(connection, filters))
    if not counts:
        return []
    is_few = sum(counts.values()) <= FEW
    if is_few or filters.owners:
        return ledger.read(lambda connection: list(_summed(connection, where(filters), is_exact=is_few)))
    kept = ledger.read(lambda connection: _kept(connection, filters, counts))
    missing = sorted(counts.keys() - kept.keys())
    found = list(gevent.off_loop(_decoded, kept.values()))
    for at in range(0, len(missing), DAYS_AT_ONCE):
        found += _sum_and_keep(ledger, missing[at : at + DAYS_AT_ONCE], filters.today)
    if filters.models or filters.statuses:
        found = [_filtered(day, filters) for day in found]
        owners = ledger.read(lambda connection: list(_sums(connection, where(filters), usage.c.owner)))
        _replace_owners(found, owners)
    return sorted(found, key=lambda day: day.day)


def where(filters: Filters) -> ColumnElement[bool]:
    c = usage.c
    clauses = [_between(filters.since.isoformat(), filters.until.isoformat())]
    for column, values in ((c.model, filters.models), (c.owner, filters.owners), (c.status, filters.statuses)):
        if values:
            clauses.append(column.in_(values))
    return and_(*clauses)


def streams_by_day(connection: Connection, filters: Filters) -> dict[str, int]:
    """Of all owners and models where no owner is asked for: what is remembered is of all."""
    if not inspect(connection).has_table(usage.name):
        return {}  # no stream yet
    asked = where(filters) if filters.owners else _between(filters.since.isoformat(), filters.until.isoformat())
    counted = connection.execute(select(usage.c.day, func.count().label("streams")).where(asked).group_by(usage.c.day))
    return {row.day: row.streams for row in counted}


def _between(since: str, until: str) -> ColumnElement[bool]:
    return and_(usage.c.day >= since, usage.c.day <= until)


def _kept(connection: Connection, filters: Filters, counts: Mapping[str, int]) -> dict[str, str]:
    """Nothing where the tables are another version's still: reading migrates nothing."""
    if schema.version_of(connection) != len(schema.STEPS):
        return {}
    since, until = filters.since.isoformat(), filters.until.isoformat()
    lost = _lost_by_day(connection, _between(since, until))
    stored = connection.execute(select(usage_days).where(usage_days.c.day >= since, usage_days.c.day <= until))
    return {
        row.day: row.sums for row in stored if (counts.get(row.day), lost.get(row.day, 0)) == (row.streams, row.lost)
    }


def _lost_by_day(connection: Connection, asked: ColumnElement[bool]) -> dict[str, int]:
    counted = connection.execute(
        select(usage.c.day, func.count().label("lost")).where(asked, *is_lost()).group_by(usage.c.day)
    )
    return {row.day: row.lost for row in counted}


def _decoded(kept: Iterable[str]) -> list[Day]:
    return [msgspec.json.decode(sums, type=Day) for sums in kept]


def _sum_and_keep(ledger: Ledger, missing: Sequence[str], today: date) -> list[Day]:
    asked = and_(_between(missing[0], missing[-1]), usage.c.day.in_(missing))

    def read(connection: Connection) -> tuple[dict[str, int], list[Day]]:
        return _lost_by_day(connection, asked), list(_summed(connection, asked, is_exact=False))

    lost, summed = ledger.read(read)
    over = [day for day in summed if day.day < today.isoformat() and not any(kind.running for kind in day.kinds)]
    rows: list[dict[str, Any]] = [
        {
            "day": day.day,
            "streams": day.streams,
            "lost": lost.get(day.day, 0),
            "sums": msgspec.json.encode(day).decode(),
        }
        for day in over
    ]

    def keep(connection: Connection) -> None:
        connection.execute(delete(usage_days).where(usage_days.c.day.in_([row["day"] for row in rows])))
        connection.execute(insert(usage_days), rows)

    if rows:
        ledger.write_soon(keep)
    return summed


def _summed(connection: Connection, asked: ColumnElement[bool], *, is_exact: bool) -> Iterator[Day]:
    found: dict[str, Day] = {}
    for kind in _sums(connection, asked, usage.c.model, usage.c.status):
        day = found.setdefault(kind.day, Day(kind.day))
        day.kinds.append(kind)
        day.streams += kind.streams
    for owner in _sums(connection, asked, usage.c.owner):
        found.setdefault(owner.day, Day(owner.day)).owners.append(owner)
    times: dict[tuple[str, str, str], Times] = {}
    for name, column in (("ttft", usage.c.ttft_s), ("duration", usage.c.duration_s)):
        for day_, model, status, value, count in connection.execute(_seen(asked, column, is_exact=is_exact)):
            key = (day_, model, status)
            if key not in times:
                times[key] = Times(model, status, {}, {})
                found.setdefault(day_, Day(day_)).times.append(times[key])
            getattr(times[key], name)[float(value)] = count
    yield from (day for _, day in sorted(found.items()))


def _sums(connection: Connection, asked: ColumnElement[bool], *keys: ColumnElement[Any]) -> Iterator[Sum]:
    columns = [usage.c.day, usage.c.currency, *keys]
    statement = select(*columns, *_figures()).where(asked).group_by(*columns)
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
    """The sum of a column, as two whole numbers: SQLite adds up to 64 bits, which two rows of the largest exceed.

    `//` is SQL's `/` of whole numbers; SQLAlchemy's `/` would make fractions, which nobody may round.
    """
    return [func.sum(column // HALF).label(f"{name}_high"), func.sum(column % HALF).label(f"{name}_low")]


def _seen(asked: ColumnElement[bool], column: ColumnElement[Any], *, is_exact: bool) -> Select[Any]:
    c = usage.c
    value = column if is_exact else _rounded(column)
    seen = select(c.day, c.model, c.status, value.label("value")).where(asked, column.is_not(None)).subquery()
    return select(*seen.c, func.count()).group_by(*seen.c)


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


def _replace_owners(found: list[Day], owners: Iterable[Sum]) -> None:
    by_day = {day.day: day for day in found}
    for day in found:
        day.owners = []
    for owner in owners:
        if owner.day in by_day:  # the others have begun since
            by_day[owner.day].owners.append(owner)
