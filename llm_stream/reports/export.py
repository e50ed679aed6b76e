"""Exports the ledger's rows as CSV, in pieces."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from time import sleep
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import Select
from sqlalchemy import select
from sqlalchemy import tuple_

from ..ledger.ledger import Ledger
from ..ledger.schema import usage
from ..usage.record import exact
from .days import streams_by_day
from .days import where
from .filters import Filters

ROWS_AT_ONCE = 500
LINES_AT_ONCE = 50
"""How many rows are written before other greenlets run."""
FOR_OPERATORS = frozenset((usage.c.worker, usage.c.metadata))
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet evaluates cells that begin with one of these. Some programs accept the wide characters, too.

https://owasp.org/www-community/attacks/CSV_Injection
"""


def csv_of(ledger: Ledger, filters: Filters, *, is_for_all: bool = True) -> Iterator[bytes]:
    """A header line and all rows that match, oldest day first. Each piece is read after the previous one was sent.

    Raises `LedgerUnavailable` before the first piece. `is_for_all`: whether to include the operators' columns.
    """
    columns = [column for column in usage.c if is_for_all or column not in FOR_OPERATORS]
    days = sorted(ledger.read(lambda connection: streams_by_day(connection, filters)))
    return _pieces(ledger, filters, columns, days)


def _pieces(
    ledger: Ledger, filters: Filters, columns: Sequence[ColumnElement[Any]], days: Sequence[str]
) -> Iterator[bytes]:
    yield _lines([[column.key or "" for column in columns]])
    for day in days:
        statement = select(*columns).where(where(filters), usage.c.day == day)
        after: tuple[datetime, str] | None = None
        while True:
            rows = ledger.read(partial(_rows, statement=statement, after=after))
            for at in range(0, len(rows), LINES_AT_ONCE):
                yield _lines([_cells(row) for row in rows[at : at + LINES_AT_ONCE]])
                sleep(0)
            if len(rows) < ROWS_AT_ONCE:
                break
            after = rows[-1].started, rows[-1].id


def _rows(connection: Connection, statement: Select[Any], after: tuple[datetime, str] | None) -> list[Any]:
    if after is not None:
        statement = statement.where(tuple_(usage.c.started, usage.c.id) > after)
    return list(connection.execute(statement.order_by(usage.c.started, usage.c.id).limit(ROWS_AT_ONCE)))


def _cells(row: Any) -> list[str]:
    values = dict(row._mapping)
    if values["cost"] is not None:
        values["cost"] = exact(values["cost"])
    return [_cell(value) for value in values.values()]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return str(value)


def _lines(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
