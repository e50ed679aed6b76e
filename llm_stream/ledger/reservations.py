"""Budgets in the ledger's database: reserved when a stream starts, released when it settles.

The caller runs these functions in the transaction that writes the stream's row.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy import Connection
from sqlalchemy import bindparam
from sqlalchemy import case
from sqlalchemy import delete
from sqlalchemy import insert
from sqlalchemy import select
from sqlalchemy import update

from ..errors import OverBudget
from ..settings import LARGEST_BUDGET
from ..usage.budget import Period
from ..usage.budget import Reservation
from ..usage.budget import reached
from ..usage.budget import refusal
from ..usage.record import FRACTIONS
from .schema import INSERTS
from .schema import budgets
from .schema import reservations

# built once: in SQLAlchemy, building a statement takes ten times as long as running it
RELEASE = (
    delete(reservations)
    .where(reservations.c.id == bindparam("stream"))
    .returning(reservations.c.period, reservations.c.owner, reservations.c.currency, reservations.c.amount)
)

MOST = LARGEST_BUDGET * FRACTIONS
"""The limit of both `reserved` and `spent`, whatever a provider reports: their sum fits into a column."""


def reserve(connection: Connection, stream_id: str, reservation: Reservation, now: datetime) -> OverBudget | None:
    """Reserve the stream's maximum cost in each of its periods. Returns an error if one has too little left."""
    with connection.begin_nested() as attempt:
        for period in reservation.periods:
            if not _take(connection, reservation, period, reservation.held, reservation.needed):
                error = _refusal(connection, reservation, period, now)
                attempt.rollback()
                return error
            row = insert(reservations).values(
                id=stream_id,
                period=period.name,
                owner=reservation.owner,
                currency=reservation.currency,
                amount=reservation.held,
            )
            connection.execute(row)
    return None


def claim(
    connection: Connection, stream_id: str, reservation: Reservation, more: int, now: datetime
) -> OverBudget | None:
    """Reserve more for a running stream. Returns an error if the stream has settled, or a period has too little."""
    if more > MOST:
        return reached(reservation, reservation.periods[0], now)
    with connection.begin_nested() as attempt:
        for period in reservation.periods:
            row = (reservations.c.id == stream_id) & (reservations.c.period == period.name)
            increase = update(reservations).where(row).values(amount=reservations.c.amount + more)
            is_settled = not connection.execute(increase).rowcount
            if is_settled or not _take(connection, reservation, period, more, more):
                attempt.rollback()
                return reached(reservation, period, now)
    return None


def release(connection: Connection, stream_id: str, charge: int | None) -> None:
    """Replace the reservation by what the stream has cost. Only the first call has an effect.

    An unknown charge counts as the whole reservation, because the provider may charge that much.
    """
    released = connection.execute(RELEASE, {"stream": stream_id})
    for period, owner, currency, held in sorted(tuple(row) for row in released):
        charged = min(max(0, held if charge is None else charge), MOST)
        values = {
            "reserved": budgets.c.reserved - held,
            "spent": case((budgets.c.spent > MOST - charged, MOST), else_=budgets.c.spent + charged),
        }
        connection.execute(update(budgets).where(_row(owner, period, currency)).values(values))


def _take(connection: Connection, reservation: Reservation, period: Period, amount: int, needed: int) -> bool:
    """Check the limit and reserve in one statement, so that no other transaction can come between.

    The first row of a period needs no check: `Budgets.reservation()` has compared it with the limit.
    """
    key = {"owner": reservation.owner, "period": period.name, "currency": reservation.currency}
    first = INSERTS[connection.dialect.name](budgets).values(**key, reserved=amount, spent=0)
    upsert = first.on_conflict_do_update(
        index_elements=[budgets.c.owner, budgets.c.period, budgets.c.currency],
        set_={"reserved": budgets.c.reserved + amount},
        where=budgets.c.spent + budgets.c.reserved <= period.limit - needed,
    )
    # RETURNING, because the rowcount of an INSERT is unreliable
    return connection.execute(upsert.returning(budgets.c.owner)).first() is not None


def _refusal(connection: Connection, reservation: Reservation, period: Period, now: datetime) -> OverBudget:
    row = _row(reservation.owner, period.name, reservation.currency)
    spent = connection.execute(select(budgets.c.spent).where(row)).scalar_one()
    return refusal(reservation, period, spent=spent, now=now)


def _row(owner: str, period: str, currency: str) -> ColumnElement[bool]:
    return (budgets.c.owner == owner) & (budgets.c.period == period) & (budgets.c.currency == currency)
