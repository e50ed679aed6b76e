"""Compares the ledger with a provider's usage export: finds missing requests on either side, and different figures."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import date
from datetime import timedelta
from decimal import Decimal
from typing import Any
from typing import Literal

from sqlalchemy import Connection
from sqlalchemy import func
from sqlalchemy import inspect
from sqlalchemy import select

from ..ledger.ledger import Ledger
from ..ledger.schema import RUNNING
from ..ledger.schema import usage
from ..upstream.figures import EXACT
from ..usage.record import amount_of
from .receipts import Receipt

MICRO = Decimal("0.000001")
"""The coarsest rounding in exports."""
MIDNIGHT = timedelta(days=1)
"""Our clock and the provider's may assign a request near midnight to different days."""


@dataclass(frozen=True)
class Difference:
    kind: Literal["differs", "missing here", "missing there"]
    request_id: str
    day: str
    what: str


@dataclass
class Total:
    """The sums of a day on one side."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: dict[str, Decimal] = field(default_factory=dict)

    def add(
        self, requests: int, input_tokens: int | None, output_tokens: int | None, cost: Decimal | None, currency: str
    ) -> None:
        self.requests += requests
        self.input_tokens += input_tokens or 0
        self.output_tokens += output_tokens or 0
        if cost is not None:
            self.cost[currency] = EXACT.add(self.cost.get(currency, Decimal()), cost)


@dataclass
class Comparison:
    said: frozenset[str]
    """The names of the figures in the provider's export. Other figures are not compared."""
    differences: list[Difference] = field(default_factory=list)
    days: dict[str, tuple[Total, Total]] = field(default_factory=dict)
    """(our total, the provider's total)"""
    matched: int = 0
    without_id: int = 0
    """The number of billed streams of these days without a request id. Only the totals include them."""

    def differing_days(self) -> list[str]:
        return [day for day, (here, there) in sorted(self.days.items()) if any(self.differing(here, there))]

    def differing(self, here: Total, there: Total) -> Iterator[str]:
        for name in ("requests", "input_tokens", "output_tokens"):
            if name in self.said and getattr(here, name) != getattr(there, name):
                yield name
        if "cost" in self.said:
            allowed = MICRO * max(here.requests, there.requests, 1)
            for currency in here.cost.keys() | there.cost.keys():
                if abs(here.cost.get(currency, Decimal()) - there.cost.get(currency, Decimal())) > allowed:
                    yield "cost"

    @property
    def is_equal(self) -> bool:
        return not self.differences and not self.differing_days()


def compare(ledger: Ledger, receipts: Sequence[Receipt]) -> Comparison:
    """Raises SQLAlchemy's errors."""
    names = ("input_tokens", "output_tokens", "cost")
    said = {name for name in names if any(getattr(receipt, name) is not None for receipt in receipts)}
    has_ids = any(receipt.request_id for receipt in receipts)
    if has_ids or any(receipt.requests is not None for receipt in receipts):
        said.add("requests")
    comparison = Comparison(frozenset(said))
    days = sorted({receipt.day for receipt in receipts if receipt.day})
    undated = [r.request_id for r in receipts if r.request_id and not r.day]
    rows = ledger.read(lambda connection: _rows(connection, days, undated))
    if has_ids:
        _by_request(comparison, rows, _by_id(receipts), days)
    else:
        for row in rows:
            if days[0] <= row.day <= days[-1]:
                _add_here(comparison, row.day, row)
    for receipt in receipts:
        if not receipt.request_id:
            _add_there(comparison, receipt.day or "", receipt)
    return comparison


def _rows(connection: Connection, days: Sequence[str], ids: Sequence[str]) -> list[Any]:
    """The rows of billed streams on and around these days, and the rows with these ids."""
    if not inspect(connection).has_table(usage.name):
        return []  # no streams yet
    c = usage.c
    bought = select(c.id, c.request_id, c.day, c.model, c.input_tokens, c.output_tokens, c.cost, c.currency).where(
        c.status != RUNNING, func.coalesce(c.source, "unknown") != "none"
    )
    rows: dict[str, Any] = {}
    for at in range(0, len(ids), 500):
        rows |= {row.id: row for row in connection.execute(bought.where(c.request_id.in_(ids[at : at + 500])))}
    if days:
        first, last = date.fromisoformat(days[0]) - MIDNIGHT, date.fromisoformat(days[-1]) + MIDNIGHT
        around = bought.where(c.day >= first.isoformat(), c.day <= last.isoformat())
        rows |= {row.id: row for row in connection.execute(around)}
    return list(rows.values())


def _by_id(receipts: Iterable[Receipt]) -> dict[str, Receipt]:
    """The receipts by request id. Several lines for one request are merged."""
    by_id: dict[str, Receipt] = {}
    for receipt in receipts:
        if receipt.request_id:
            earlier = by_id.get(receipt.request_id)
            by_id[receipt.request_id] = receipt if earlier is None else _merged(earlier, receipt)
    return by_id


def _merged(one: Receipt, other: Receipt) -> Receipt:
    return Receipt(
        one.request_id,
        one.day,
        one.model,
        one.requests,
        _sum(one.input_tokens, other.input_tokens),
        _sum(one.output_tokens, other.output_tokens),
        None if one.cost is None and other.cost is None else EXACT.add(one.cost or 0, other.cost or 0),
        one.currency if one.currency == other.currency else f"{one.currency} and {other.currency}",
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _by_request(
    comparison: Comparison, rows: Iterable[Any], receipts: Mapping[str, Receipt], days: Sequence[str]
) -> None:
    unmatched = dict(receipts)
    for row in rows:
        receipt = unmatched.pop(row.request_id, None) if row.request_id else None
        if receipt is not None:
            comparison.matched += 1
            _add_here(comparison, row.day, row)
            _add_there(comparison, row.day, receipt)  # our day, so that a request near midnight is equal on both sides
            if what := "; ".join(_differing_figures(row, receipt, comparison.said)):
                comparison.differences.append(Difference("differs", row.request_id, row.day, what))
        elif days and days[0] <= row.day <= days[-1]:
            _add_here(comparison, row.day, row)
            if row.request_id:
                comparison.differences.append(
                    Difference("missing there", row.request_id, row.day, f"{row.model}, stream {row.id}")
                )
            else:
                comparison.without_id += 1
    for request_id, receipt in unmatched.items():
        _add_there(comparison, receipt.day or "", receipt)
        comparison.differences.append(Difference("missing here", request_id, receipt.day or "", receipt.model or ""))
    comparison.differences.sort(key=lambda difference: (difference.day, difference.kind, difference.request_id))


def _differing_figures(row: Any, receipt: Receipt, said: frozenset[str]) -> Iterator[str]:
    for name in ("input_tokens", "output_tokens"):
        here, there = getattr(row, name), getattr(receipt, name)
        if there is not None and here != there:
            yield f"{name.replace('_', ' ')}: {'unknown' if here is None else here} here, {there} there"
    if receipt.cost is not None:
        cost = _cost(row)
        if cost is None or row.currency != receipt.currency or abs(cost - receipt.cost) > MICRO:
            ours = "unknown" if cost is None else f"{cost.normalize(EXACT):f} {row.currency}"
            yield f"cost: {ours} here, {receipt.cost.normalize(EXACT):f} {receipt.currency} there"


def _add_here(comparison: Comparison, day: str, row: Any) -> None:
    here, _ = comparison.days.setdefault(day, (Total(), Total()))
    here.add(1, row.input_tokens, row.output_tokens, _cost(row), row.currency or "")


def _add_there(comparison: Comparison, day: str, receipt: Receipt) -> None:
    _, there = comparison.days.setdefault(day, (Total(), Total()))
    there.add(
        1 if receipt.requests is None else receipt.requests,
        receipt.input_tokens,
        receipt.output_tokens,
        receipt.cost,
        receipt.currency,
    )


def _cost(row: Any) -> Decimal | None:
    return None if row.cost is None else amount_of(row.cost)
