"""Budgets in a database: no limit is passed, and nothing stays held."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy import insert
from sqlalchemy import select

from llm_stream.errors import BudgetHeld
from llm_stream.errors import OverBudget
from llm_stream.ledger import reservations
from llm_stream.ledger import schema
from llm_stream.ledger.database import Database
from llm_stream.settings import Budget
from llm_stream.usage.budget import Reservation
from llm_stream.usage.budget import periods_of
from llm_stream.usage.record import amount_of
from llm_stream.usage.record import fractions

from .databases import PostgreSQL
from .databases import PostgreSQLServer

EVENING = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
MONTHS_END = datetime(2026, 11, 30, 12, tzinfo=UTC)
NEXT_MONTH = datetime(2026, 12, 1, 0, 1, tzinfo=UTC)

AMOUNTS = st.one_of(st.none(), st.integers(0, 60))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), AMOUNTS, st.sampled_from((EVENING, MONTHS_END, NEXT_MONTH))),
        st.tuples(st.just("claim"), st.integers(0, 9), st.integers(1, 30)),
        st.tuples(st.just("release"), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 100))),
    ),
    max_size=40,
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        found = Database(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db")
        yield found
        found.close()
        return
    server = PostgreSQLServer()
    found = Database(PostgreSQL(server).url)
    yield found
    found.close()
    server.close()


class TakeBack(Exception):
    """Ends a transaction so that nothing of it remains."""


def in_vain(database: Database, work: Callable[[Connection], object]) -> None:
    def to_its_end(connection: Connection) -> None:
        work(connection)
        raise TakeBack()

    with pytest.raises(TakeBack):
        database.write(to_its_end)


class Owner:
    """Streams of one owner, by the book."""

    def __init__(self, connection: Connection, budget: Budget) -> None:
        self.connection = connection
        self.budget = budget
        self.running: dict[str, Reservation] = {}
        self.held: dict[str, int] = {}
        self.spent: dict[str, int] = {}
        self.count = 0

    def reserve(self, amount: int | None, now: datetime) -> None:
        self.count += 1
        name = f"stream-{self.count}"
        reservation = Reservation("somebody", "INR", amount, periods_of(self.budget, now))
        fits = all(
            self._used(period.name) + max(reservation.needed, 0) <= period.limit for period in reservation.periods
        )
        if any(reservation.needed > period.limit for period in reservation.periods):
            return  # refused without asking the database
        assert (reservations.reserve(self.connection, name, reservation, now) is None) == fits
        if fits:
            self.running[name], self.held[name] = reservation, reservation.held

    def claim(self, which: int, more: int) -> None:
        if name := self._name(which):
            fits = all(self._used(period.name) + more <= period.limit for period in self.running[name].periods)
            refused = reservations.claim(self.connection, name, self.running[name], more, EVENING)
            assert (refused is None) == fits
            self.held[name] += more if fits else 0

    def release(self, which: int, cost: int | None) -> None:
        """An upstream never charges more than the worst case here."""
        if name := self._name(which):
            held = self.held.pop(name)
            cost = None if cost is None else min(cost, held)
            for _ in range(2):  # the sweeper may have been first
                reservations.release(self.connection, name, cost)
            for period in self.running.pop(name).periods:
                self.spent[period.name] = self.spent.get(period.name, 0) + (held if cost is None else cost)

    def _name(self, which: int) -> str | None:
        return list(self.running)[which % len(self.running)] if self.running else None

    def _used(self, period: str) -> int:
        held = sum(
            self.held[name] for name, running in self.running.items() if period in {p.name for p in running.periods}
        )
        return held + self.spent.get(period, 0)

    def check(self) -> None:
        rows = self.connection.execute(select(schema.budgets)).all()
        limits = {"2026-11": self.budget.month, "2026-12": self.budget.month}
        for row in rows:
            limit = limits.get(row.period, self.budget.day)
            assert limit is not None and 0 <= row.spent + row.reserved <= fractions(limit)
            assert row.spent + row.reserved == self._used(row.period)


@settings(max_examples=50)
@given(steps=STEPS, day=st.integers(0, 100), month=st.integers(0, 200))
def test_no_order_of_events_goes_over_a_limit_or_leaves_anything_held(
    database: Database, steps: list[tuple[str, Any, Any]], day: int, month: int
) -> None:
    def work(connection: Connection) -> None:
        owner = Owner(connection, Budget(day=amount_of(day), month=amount_of(month), currency="INR"))
        for step, *arguments in steps:
            getattr(owner, step)(*arguments)
            owner.check()
        while owner.running:
            owner.release(0, None)
        owner.check()
        assert not connection.execute(select(schema.reservations)).all()
        assert not any(connection.scalars(select(schema.budgets.c.reserved)))

    in_vain(database, work)


def test_refusal_says_what_is_left_and_when_there_is_more(database: Database) -> None:
    budget = Budget(day=Decimal(5), month=Decimal(50), currency="INR")

    def work(connection: Connection) -> None:
        def reserve(name: str, amount: str) -> OverBudget | None:
            reservation = Reservation("somebody", "INR", fractions(Decimal(amount)), periods_of(budget, EVENING))
            return reservations.reserve(connection, name, reservation, EVENING)

        assert reserve("first", "3") is None
        held = reserve("second", "2.5")
        assert isinstance(held, BudgetHeld) and held.retryable and held.retry_after
        reservations.release(connection, "first", fractions(Decimal("2.75")))
        spent = reserve("third", "2.5")
        assert spent is not None and not spent.retryable and spent.retry_after == 60
        assert str(spent) == (
            "This answer could cost ₹2.5, but only ₹2.25 of your budget of ₹5 for today are left."
            " It is renewed at 2026-11-23 00:00 UTC."
        )
        assert reserve("fourth", "2.25") is None
        reservations.release(connection, "fourth", None)
        assert str(reserve("fifth", "1")).startswith("Your budget of ₹5 for today is used up. It is renewed at")

    in_vain(database, work)


def test_running_stream_that_may_not_grow_is_told_when_there_is_more(database: Database) -> None:
    budget = Budget(day=Decimal(5), month=Decimal(50), currency="INR")

    def work(connection: Connection) -> None:
        reservation = Reservation("somebody", "INR", fractions(Decimal(3)), periods_of(budget, EVENING))
        assert reservations.reserve(connection, "first", reservation, EVENING) is None
        after_midnight = EVENING + timedelta(minutes=2)
        for now, wait in ((EVENING, 60), (after_midnight, 0)):
            refused = reservations.claim(connection, "first", reservation, fractions(Decimal("2.5")), now)
            assert refused is not None and refused.retry_after == wait
            assert str(refused).endswith("It is renewed at 2026-11-23 00:00 UTC.")

    in_vain(database, work)


def test_no_figure_of_a_provider_overflows_a_column(database: Database) -> None:
    budget = Budget(day=Decimal(5), currency="INR")

    def work(connection: Connection) -> None:
        free = Reservation("somebody", "INR", 0, periods_of(budget, EVENING))
        for name in ("first", "second", "third"):
            reservations.release(connection, name, 10**40)
            row = {"owner": "somebody", "period": "2026-11-22", "currency": "INR"}
            connection.execute(insert(schema.reservations).values(id=name, amount=0, **row))
            if name == "first":
                connection.execute(insert(schema.budgets).values(**row))
            reservations.release(connection, name, 10**40)
        assert connection.scalar(select(schema.budgets.c.spent)) == reservations.MOST
        assert reservations.reserve(connection, "last", free, EVENING) is not None

    in_vain(database, work)


def test_periods_are_those_of_utc() -> None:
    budget = Budget(day=Decimal(5), month=Decimal(50))
    late_in_india = datetime(2026, 12, 1, 3, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert [(period.name, period.ends) for period in periods_of(budget, late_in_india)] == [
        ("2026-11", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-11-30", datetime(2026, 12, 1, tzinfo=UTC)),
    ]
