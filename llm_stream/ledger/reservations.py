"""Budgets in the ledger's database: reserved in one statement that checks as it writes, released when a stream settles.

All of this is called within a transaction, so that it happens together with the stream's row or not at all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import bindparam
from sqlalchemy import case
from sqlalchemy import delete
from sqlalchemy import insert
from sqlalchemy import select
from sqlalchemy import update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from ..errors import OverBudget
from ..settings import LARGEST_BUDGET
from ..usage.budget import Period
from ..usage.budget import Reservation
from ..usage.budget import reached
from ..usage.budget import refusal
from ..usage.record import FRACTIONS
from .schema import budgets
from .schema import reservations

# made once: SQLAlchemy takes ten times as long to make a statement as to run it
LET_GO = (
    delete(reservations)
    .where(reservations.c.id == bindparam("stream"))
    .returning(reservations.c.period, reservations.c.owner, reservations.c.currency, reservations.c.amount)
)

MOST = LARGEST_BUDGET * FRACTIONS
"""Nobody can reserve more, and no more is counted as spent, whatever a provider says: the sum of both fits a column."""


def reserve(connection: Connection, stream_id: str, reservation: Reservation, now: datetime) -> OverBudget | None:
    """Hold what the stream may cost in each of its periods, or say why that cannot be; then nothing is held."""
    with connection.begin_nested() as attempt:
        for period in reservation.periods:
            if not _take(connection, reservation, period, reservation.held, reservation.needed):
                refused = _refusal(connection, reservation, period, now)
                attempt.rollback()
                return refused
            hold = insert(reservations).values(
                id=stream_id,
                period=period.name,
                owner=reservation.owner,
                currency=reservation.currency,
                amount=reservation.held,
            )
            connection.execute(hold)
    return None


def claim(
    connection: Connection, stream_id: str, reservation: Reservation, more: int, now: datetime
) -> OverBudget | None:
    """Hold more for a stream that outgrows what it has, or say why that cannot be."""
    if more > MOST:
        return reached(reservation, reservation.periods[0], now)
    with connection.begin_nested() as attempt:
        for period in reservation.periods:
            mine = (reservations.c.id == stream_id) & (reservations.c.period == period.name)
            grown = update(reservations).where(mine).values(amount=reservations.c.amount + more)
            is_settled = not connection.execute(grown).rowcount
            if is_settled or not _take(connection, reservation, period, more, more):
                attempt.rollback()
                return reached(reservation, period, now)
    return None


def release(connection: Connection, stream_id: str, charge: int | None) -> None:
    """Put what a stream has cost in the place of what it held; once, however often it is called.

    What it cost, nobody may know: it counts as what was held for it, because the provider may want as much.
    """
    let_go = connection.execute(LET_GO, {"stream": stream_id})
    for period, owner, currency, held in sorted(tuple(row) for row in let_go):
        charged = min(max(0, held if charge is None else charge), MOST)
        values = {
            "reserved": budgets.c.reserved - held,
            "spent": case((budgets.c.spent > MOST - charged, MOST), else_=budgets.c.spent + charged),
        }
        connection.execute(update(budgets).where(_row(owner, period, currency)).values(values))


def _take(connection: Connection, reservation: Reservation, period: Period, amount: int, needed: int) -> bool:
    """One statement, so that nobody comes between the look and the taking. A budget's first row is within it anyway."""
    first: dict[str, Any] = {"owner": reservation.owner, "period": period.name, "currency": reservation.currency}
    first |= {"reserved": amount, "spent": 0}
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    taking = dialect.insert(budgets).values(first)
    taking = taking.on_conflict_do_update(
        index_elements=[budgets.c.owner, budgets.c.period, budgets.c.currency],
        set_={"reserved": budgets.c.reserved + amount},
        where=budgets.c.spent + budgets.c.reserved <= period.limit - needed,
    )
    return connection.execute(taking.returning(budgets.c.owner)).first() is not None  # an insert has no sure rowcount


def _refusal(connection: Connection, reservation: Reservation, period: Period, now: datetime) -> OverBudget:
    row = _row(reservation.owner, period.name, reservation.currency)
    spent = connection.execute(select(budgets.c.spent).where(row)).scalar_one()
    return refusal(reservation, period, spent=spent, now=now)


def _row(owner: str, period: str, currency: str) -> ColumnElement[bool]:
    return (budgets.c.owner == owner) & (budgets.c.period == period) & (budgets.c.currency == currency)
