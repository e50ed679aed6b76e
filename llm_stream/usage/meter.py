"""Whether a running stream still fits what was reserved for it; if not, more is claimed, or the stream ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from ..errors import BudgetReached
from ..errors import OverBudget
from ..events import CONTENT
from ..events import Event
from ..events import Usage
from ..upstream.source import Attempt
from ..upstream.source import SourceOfEvents
from ..upstream.source import Waits
from . import estimate
from .bill import Bill
from .budget import Budgets
from .budget import Reservation

logger = logging.getLogger("llm_stream")

TOLERANCE = 1.25
"""Our count of another model's tokens may be a fifth too high: no answer is cut off for that."""

STEPS = (64, 16, 4, 1)
"""Tokens that are claimed ahead, beyond what was reserved: the first of these that the budget still covers."""

Claim = Callable[[int], None]
"""Reserve so much more. Raises `OverBudget`."""


class Meter:
    """Counts what one stream writes. An upstream that keeps to its limit never brings it to claim anything."""

    def __init__(self, budgets: Budgets, reservation: Reservation, source: SourceOfEvents, claim: Claim) -> None:
        self._budgets = budgets
        self._reservation = reservation
        self._source = source
        self._claim = claim
        self._held = reservation.held
        self._claimed = 0
        self._figures: Usage | None = None
        self._a_token: int | None = None
        if reservation.held:
            self._a_token = budgets.highest_price(0, 1, source, reservation.currency)
        self._room = TOLERANCE * (source.asked.most_output_tokens or 0)
        self._unmeasured: list[Event] = []
        self._bytes = 0
        self._is_off = False
        self._attempts = 0
        self._covered_attempts = source.asked.most_attempts
        self._left_by_parts = 0

    def charge(self, bill: Bill) -> int | None:
        """What a stream that ends with `bill` takes from the budget; None if that is not known."""
        try:
            currency = self._reservation.currency
            prices = [self._budgets.price_of(usage, attempt, currency) for attempt, usage in bill.charged]
        except Exception:  # a stream must come to its end, whatever a provider's figures are
            logger.exception("what a stream has cost cannot be reckoned: it counts as what was reserved for it")
            return None
        known = [price for price in prices if price is not None]
        return sum(known) if len(known) == len(prices) and bill.usage.source != "unknown" else None

    # Calls that the iterable of a stream makes…

    def begin_part(self, source: SourceOfEvents) -> Meter:
        """The meter of one of them, whose worst case is reserved now. Raises `BudgetReached`."""
        budget = self._reservation
        try:
            amount = self._budgets.amount_to_reserve(source, budget.currency, unpriced=budget.unpriced) or 0
            if amount > self._left_by_parts:
                self._claim(amount - self._left_by_parts)
                self._left_by_parts = amount
        except OverBudget as error:
            raise BudgetReached(str(error), retry_after=error.retry_after) from error
        return Meter(self._budgets, replace(budget, amount=amount), source, self._claim)

    def end_part(self, part: Meter, bill: Bill) -> None:
        """What the part did not use is there for the next one."""
        cost = part.charge(bill)
        self._left_by_parts = max(0, self._left_by_parts + part._claimed - (part._held if cost is None else cost))

    # Its batches…

    def watched(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same batches, as long as they are covered. What has come is passed on first: it is paid for.

        Raises `BudgetReached`.
        """
        items = iter(batches)
        try:
            for batch in items:
                amounts = self._lacking(batch)
                if not isinstance(batch, Waits):
                    yield batch
                if amounts:
                    yield Waits()  # for the database
                    self._claim_one_of(amounts)
                if isinstance(batch, Waits):
                    yield batch
        finally:
            if close := getattr(items, "close", None):
                close()

    def _lacking(self, batch: Any) -> tuple[int, ...]:
        """What has to be claimed before more may come, any of these; mostly nothing, for a whole answer never."""
        if self._is_off or self._source.wrapping_up:
            return ()
        attempts = self._source.attempts
        if len(attempts) != self._attempts:
            self._attempts = len(attempts)
            if amount := self._for_another_attempt(attempts):
                return (amount,)
        figures = attempts[-1].figures if attempts else None
        if figures is not self._figures and figures is not None:
            self._figures = figures
            lacking = (self._price(figures) or 0) - self._held
            return (lacking,) if lacking > 0 else ()
        if not self._a_token or not isinstance(batch, list) or self._has_room_for(batch):
            return ()
        written = ceil(-self._room)
        return tuple((written + ahead) * self._a_token for ahead in STEPS)

    def _for_another_attempt(self, attempts: Sequence[Attempt]) -> int:
        """What the question costs once more: it has to be paid for in each attempt that was accepted."""
        needed = 1 + sum(attempt.accepted for attempt in attempts[:-1])
        if needed <= self._covered_attempts or not self._reservation.held:
            return 0
        self._covered_attempts = needed
        return self._budgets.price_of_question(self._source, self._reservation.currency) or 0

    def _has_room_for(self, batch: list[Event]) -> bool:
        """By the number of bytes, as long as that will do: a token has one at least."""
        for event in batch:
            if type(event) in CONTENT:
                self._unmeasured.append(event)
                self._bytes += _bytes_of(event)
        if self._bytes > self._room:
            self._room -= estimate.output_tokens(self._unmeasured)
            self._unmeasured.clear()
            self._bytes = 0
        return self._room > 0

    def _claim_one_of(self, amounts: Sequence[int]) -> None:
        """Raises `BudgetReached`."""
        for amount in amounts:
            try:
                self._claim(amount)
            except OverBudget as error:
                if amount == amounts[-1]:
                    raise BudgetReached(str(error), retry_after=error.retry_after) from error
            except Exception:  # an answer is not cut off because a database is away
                logger.exception("no budget could be claimed for a running stream, which goes on without")
                self._is_off = True
                return
            else:
                self._held += amount
                self._claimed += amount
                self._room += amount / self._a_token if self._a_token else 0
                return

    def _price(self, usage: Usage) -> int | None:
        try:
            return self._budgets.highest_price_of(usage, self._source, self._reservation.currency)
        except Exception:  # the settling will say so
            return None


def _bytes_of(event: Event) -> int:
    text = estimate.text_of(event)
    return len(text) if text.isascii() else 4 * len(text)
