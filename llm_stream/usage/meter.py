"""The meter: if a stream outgrows its reservation, it claims more budget or ends the stream."""

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
from ..events import OUTPUT
from ..events import Event
from ..events import Usage
from ..upstream.iterator import discard
from ..upstream.source import Attempt
from ..upstream.source import SourceOfEvents
from ..upstream.source import Waits
from . import estimate
from .bill import Bill
from .budget import Budgets
from .budget import Reservation

logger = logging.getLogger("llm_stream")

TOLERANCE = 1.25
"""We may count up to 20 % more tokens than another model's tokenizer. This must not cut an answer off."""

STEPS = (64, 16, 4, 1)
"""How many tokens to claim ahead: the first number that the budget covers."""

Claim = Callable[[int], None]
"""Adds an amount to the reservation. Raises `OverBudget`."""


class Meter:
    """Counts the tokens of one stream. It claims nothing while the upstream respects its token limit."""

    def __init__(self, budgets: Budgets, reservation: Reservation, source: SourceOfEvents, claim: Claim) -> None:
        self._budgets = budgets
        self._reservation = reservation
        self._source = source
        self._claim = claim
        self._held = reservation.held
        """The reserved amount, including all claims."""
        self._figures: Usage | None = None
        self._token_price: int | None = None
        if reservation.held:
            self._token_price = budgets.highest_price(0, 1, source, reservation.currency)
        self._room = TOLERANCE * (source.asked.most_output_tokens or 0)
        """How many tokens may still be written."""
        self._uncounted: list[Event] = []
        self._uncounted_bytes = 0
        self._is_off = False
        self._attempts = 0
        self._steps = [source.asked]
        """The request of each step: an answer with tools has several steps."""
        self._spent = 0
        """The cost of earlier steps; if that is unknown, the whole reserved amount."""
        self._covered_attempts = source.asked.most_attempts
        self._spare = 0
        """The amount that earlier parts have reserved but not used."""
        self._is_in_part = False

    def charge(self, bill: Bill) -> int | None:
        """The amount to charge for `bill`. None: unknown."""
        return self._budgets.charge(bill, self.currency)

    @property
    def currency(self) -> str:
        """The currency that the budget is reserved in."""
        return self._reservation.currency

    # Parts: model calls that the stream's iterable makes

    def begin_part(self, source: SourceOfEvents) -> Meter:
        """Reserve the maximum cost of a part, and return the part's meter. Raises `BudgetReached`."""
        whole = self._reservation
        try:
            amount = self._budgets.amount_to_reserve(source, whole.currency, unpriced=whole.unpriced) or 0
            if amount > self._spare:
                self._claim(amount - self._spare)
                self._spare = amount
        except OverBudget as error:
            raise BudgetReached(str(error), retry_after=error.retry_after) from error
        self._is_in_part = True
        return Meter(self._budgets, replace(whole, amount=amount), source, self._claim)

    def end_part(self, part: Meter, bill: Bill) -> None:
        """Keep the unused reservation of a part for the next part."""
        cost = part.charge(bill)
        unused = 0 if cost is None else part._held - cost
        self._spare = max(0, self._spare - part._reservation.held + unused)
        self._is_in_part = False
        self._figures = self._last_figures()  # the part's meter has covered them

    # Batches of events

    def watched(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same batches, until the budget does not cover them any more. Each batch is passed on before the check,
        because it must be paid for in any case.

        Raises `BudgetReached`.
        """
        items = iter(batches)
        try:
            for batch in items:
                is_passed = self._counts_long(batch)
                if is_passed:
                    yield batch
                    yield Waits()  # for the tokenizer
                amounts = self._missing(batch)
                if not (is_passed or isinstance(batch, Waits)):
                    yield batch
                if amounts:
                    yield Waits()  # for the database
                    self._claim_one_of(amounts)
                if isinstance(batch, Waits):
                    yield batch
        finally:
            discard(items)

    def _missing(self, batch: Any) -> Sequence[int]:
        """Alternative amounts, in order of preference. One of them must be claimed before the stream continues."""
        if self._is_off or self._is_in_part or self._source.wrapping_up:
            return ()
        attempts = self._source.attempts
        if len(attempts) != self._attempts:
            self._attempts = len(attempts)
            if self._source.asked is not self._steps[-1]:
                amount = self._missing_for_step()
            else:
                amount = self._missing_for_attempts(attempts)
            if amount:
                return (amount,)
        figures = self._last_figures()
        if figures is not self._figures and figures is not None:
            self._figures = figures
            amount = self._spent + (self._price(figures) or 0) - self._held
            return (amount,) if amount > 0 else ()
        if not self._token_price or not isinstance(batch, list) or self._has_room_for(batch):
            return ()
        overrun = ceil(-self._room)
        return tuple((overrun + ahead) * self._token_price for ahead in STEPS)

    def _counts_long(self, batch: Any) -> bool:
        """Whether counting the tokens takes so long that it would block the event loop."""
        if not (self._token_price and isinstance(batch, list)):
            return False
        size = self._uncounted_bytes + sum(_bytes_of(event) for event in batch if type(event) in OUTPUT)
        return size > max(self._room, estimate.DIRECTLY)

    def _last_figures(self) -> Usage | None:
        attempts = self._source.attempts
        return attempts[-1].figures if attempts else None

    def _missing_for_attempts(self, attempts: Sequence[Attempt]) -> int:
        """The price of the input for one more attempt: each accepted attempt is charged for its input again."""
        needed = 1 + sum(attempt.accepted for attempt in attempts[:-1] if attempt.asked is self._steps[-1])
        if needed <= self._covered_attempts or not self._reservation.held:
            return 0
        self._covered_attempts = needed
        return self._budgets.price_of_question(self._source, self._reservation.currency) or 0

    def _missing_for_step(self) -> int:
        """The maximum cost of the new step, minus the amount that earlier steps have reserved but not used."""
        prices = [
            self._price(attempt.figures) if attempt.figures else None
            for attempt in self._source.attempts
            if attempt.accepted and any(attempt.asked is asked for asked in self._steps)
        ]
        self._spent = min(self._held, sum(price or 0 for price in prices)) if None not in prices else self._held
        asked = self._source.asked
        self._steps.append(asked)
        self._covered_attempts = asked.most_attempts
        self._uncounted.clear()
        self._uncounted_bytes = 0
        self._room = TOLERANCE * (asked.most_output_tokens or 0)
        if not self._reservation.held:
            return 0
        currency, unpriced = self._reservation.currency, self._reservation.unpriced
        worst = self._budgets.amount_to_reserve(self._source, currency, unpriced=unpriced) or 0
        amount = max(0, worst - (self._held - self._spent))
        if self._token_price:
            self._room -= amount / self._token_price  # a claim adds room, but this step has its room already
        return amount

    def _has_room_for(self, batch: list[Event]) -> bool:
        """Count bytes up to the limit, and tokens only beyond it: a token has at least one byte."""
        for event in batch:
            if type(event) in OUTPUT:
                self._uncounted.append(event)
                self._uncounted_bytes += _bytes_of(event)
        if self._uncounted_bytes > self._room:
            self._room -= estimate.output_tokens(self._uncounted)
            self._uncounted.clear()
            self._uncounted_bytes = 0
        return self._room > 0

    def _claim_one_of(self, amounts: Sequence[int]) -> None:
        """Claim the first amount that the budget covers. Raises `BudgetReached`."""
        for amount in amounts:
            try:
                self._claim(amount)
            except OverBudget as error:
                if amount == amounts[-1]:
                    raise BudgetReached(str(error), retry_after=error.retry_after) from error
            except Exception:  # an unreachable database must not cut an answer off
                logger.exception("cannot claim budget for a running stream, which continues unchecked")
                self._is_off = True
                return
            else:
                self._held += amount
                self._room += amount / self._token_price if self._token_price else 0
                return

    def _price(self, usage: Usage) -> int | None:
        try:
            return self._budgets.highest_price_of(usage, self._source, self._reservation.currency)
        except Exception:  # logged by `charge()`
            return None


def _bytes_of(event: Event) -> int:
    text = estimate.text_of(event)
    return len(text) if text.isascii() else 4 * len(text)
