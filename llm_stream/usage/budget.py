"""Budgets of owners, and reservations: a stream's maximum cost is reserved before the upstream is called."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Literal

import msgspec

from ..errors import BudgetHeld
from ..errors import ConfigError
from ..errors import OverBudget
from ..errors import Unpriced
from ..events import Usage
from ..settings import Budget
from ..settings import Settings
from ..upstream.source import Asked
from ..upstream.source import Attempt
from ..upstream.source import Place
from ..upstream.source import SourceOfEvents
from . import estimate
from .bill import Bill
from .bill import sum_if_known
from .price import Cost
from .price import cost_of
from .record import amount_of
from .record import fractions
from .record import money
from .record import storable

logger = logging.getLogger("llm_stream")

HELD_RETRY_AFTER_S = 5.0

BudgetOf = Callable[[str], object]
"""Returns an owner's budget: a `Budget`, an equivalent mapping, or None for no limit."""


@dataclass(frozen=True)
class Period:
    """A day or a month (UTC), its name in the table, and its limit."""

    name: str
    kind: Literal["day", "month"]
    limit: int
    ends: datetime


@dataclass(frozen=True)
class Reservation:
    """The maximum cost of a stream, reserved in each of its periods. If `amount` is None, the cost is unknown."""

    owner: str
    currency: str
    amount: int | None
    periods: tuple[Period, ...]
    unpriced: Literal["refuse", "allow"] = "refuse"

    @property
    def held(self) -> int:
        return self.amount or 0

    @property
    def needed(self) -> int:
        """The amount that must be left in each period. If the cost is unknown, any amount above 0 is enough."""
        return 1 if self.amount is None else self.amount


class Budgets:
    """The budgets of one `LLMStream`. `budget_of` replaces the budget of the settings, which applies to every owner."""

    def __init__(self, settings: Settings, budget_of: BudgetOf | None, model: str) -> None:
        """Raises `ConfigError`."""
        self._settings = settings
        self._budget_of = budget_of
        if settings.budgets is not None:
            _check_prices(settings, settings.budgets, model)

    def of(self, owner: str) -> Budget | None:
        """The budget of `owner`; None for no limit. Raises `TypeError` if the app's function returns another type."""
        if self._budget_of is None:
            return self._settings.budgets
        budget = self._budget_of(owner)
        if budget is None or isinstance(budget, Budget):
            return budget
        try:
            return msgspec.convert(budget, Budget, strict=False)
        except msgspec.ValidationError as error:
            raise TypeError(f"{self._budget_of!r} must return a Budget, a mapping or None: {error}") from error

    def reservation(self, owner: str, budget: Budget, source: SourceOfEvents, now: datetime) -> Reservation:
        """The reservation for a new stream. Raises `Unpriced`, and `OverBudget` if it exceeds the limit of a period."""
        amount = self.amount_to_reserve(source, budget.currency, unpriced=budget.unpriced)
        reservation = Reservation(storable(owner), budget.currency, amount, periods_of(budget, now), budget.unpriced)
        for period in reservation.periods:
            if reservation.needed > period.limit:
                raise refusal(reservation, period, spent=0, now=now)
        return reservation

    def price_of(self, usage: Usage, attempt: Attempt, currency: str) -> int | None:
        """The cost in `currency`. If the provider reports another currency, the cost is computed from the tokens."""

        def cost(usage: Usage) -> Cost | None:
            tier = attempt.service_tier
            return cost_of(usage, attempt.models, self._settings.prices, attempt.base_url, service_tier=tier)

        price = cost(usage)
        if price is not None and price.currency != currency and usage.cost is not None:
            price = cost(msgspec.structs.replace(usage, cost=None, currency=None))
        return fractions(price.amount) if price is not None and price.currency == currency else None

    def charge(self, bill: Bill, currency: str) -> int | None:
        """The amount in `currency` to charge for `bill`. None: unknown."""
        try:
            prices = [self.price_of(usage, attempt, currency) for attempt, usage in bill.charged]
        except Exception:  # the stream must settle even if the provider's figures are absurd
            logger.exception("cannot price a stream, so its whole reservation is charged to the budget")
            return None
        return None if bill.usage.source == "unknown" else sum_if_known(prices)

    def highest_price_of(self, usage: Usage, source: SourceOfEvents, currency: str) -> int | None:
        """The cost in `currency` with the most expensive of the possible models. None if one of them has no price."""
        tier = source.attempts[-1].service_tier if source.attempts else None
        base_url = None if source.asked.places else source.base_url
        places = source.asked.places or [Place(model=model, base_url=base_url) for model in source.asked.models]
        return _highest(
            self.price_of(
                usage,
                Attempt(place.model, base_url=place.base_url, alias=place.alias, service_tier=tier),
                currency,
            )
            for place in places
        )

    def highest_price(self, read: int, written: int, source: SourceOfEvents, currency: str) -> int | None:
        """The maximum cost of `read` input and `written` output tokens of any kind (cached, reasoning, …)."""
        return _highest(
            self.highest_price_of(usage, source, currency)
            for cache_write in {0, read}
            for reasoning in {0, written}
            if (usage := Usage(read, written, cache_write_tokens=cache_write, reasoning_tokens=reasoning))
        )

    def amount_to_reserve(self, source: SourceOfEvents, currency: str, *, unpriced: str) -> int | None:
        """The maximum cost of the source. None: unknown. Raises `Unpriced` if unknown costs are refused."""
        asked = source.asked
        if asked.messages is None:  # only the app knows which calls its iterable makes
            return None
        amount = None
        if asked.most_output_tokens is not None and estimate.is_text(asked.messages):
            read = _most_input_tokens(asked) * asked.most_attempts
            amount = self.highest_price(read, asked.most_output_tokens, source, currency)
        if amount is None and unpriced == "refuse":
            logger.warning(
                "a request is refused: its maximum cost in %s is unknown. Either its input is not only text, or"
                " LLM_STREAM_PRICES needs a price for one of these models: %s",
                currency,
                ", ".join(asked.models),
            )
            raise Unpriced()
        return amount

    def price_of_question(self, source: SourceOfEvents, currency: str) -> int | None:
        """The maximum cost of the input of one attempt. None: unknown."""
        if source.asked.messages is None:
            return None
        return self.highest_price(_most_input_tokens(source.asked), 0, source, currency)


def _most_input_tokens(asked: Asked) -> int:
    return estimate.most_input_tokens(asked.messages or (), asked.tools, asked.options)


def periods_of(budget: Budget, now: datetime) -> tuple[Period, ...]:
    """The month comes before the day: all transactions lock periods in this order, so they cannot deadlock."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    periods = []
    if budget.month is not None:
        next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        periods.append(Period(f"{today:%Y-%m}", "month", fractions(budget.month), next_month))
    if budget.day is not None:
        periods.append(Period(f"{today:%Y-%m-%d}", "day", fractions(budget.day), today + timedelta(days=1)))
    return tuple(periods)


def refusal(reservation: Reservation, period: Period, *, spent: int, now: datetime) -> OverBudget:
    """The error for a reservation that does not fit, with the time to retry after."""

    def shown(amount: int) -> str:
        return money(amount_of(amount), reservation.currency)

    span, renewal = _span(period), _renewal(period)
    if reservation.needed > period.limit > 0:
        return OverBudget(
            f"This answer could cost {shown(reservation.needed)}, more than your whole budget of {shown(period.limit)}"
            f" a {period.kind}. Ask for a shorter answer."
        )
    if spent + reservation.needed <= period.limit:
        return BudgetHeld(
            f"Your running answers have reserved the rest of your budget for {span}."
            " Please try again when one of them has ended.",
            retry_after=HELD_RETRY_AFTER_S,
        )
    wait = max(0.0, (period.ends - now).total_seconds())
    left = period.limit - spent
    if left > 0 and reservation.amount:
        return OverBudget(
            f"This answer could cost {shown(reservation.amount)}, but only {shown(left)} of your budget of"
            f" {shown(period.limit)} for {span} are left. {renewal}",
            retry_after=wait,
        )
    return OverBudget(f"Your budget of {shown(period.limit)} for {span} is used up. {renewal}", retry_after=wait)


def reached(reservation: Reservation, period: Period, now: datetime) -> OverBudget:
    """The error for a running stream that its budget no longer covers."""
    limit = money(amount_of(period.limit), reservation.currency)
    return OverBudget(
        f"Your budget of {limit} for {_span(period)} is used up, so the answer was stopped. {_renewal(period)}",
        retry_after=max(0.0, (period.ends - now).total_seconds()),
    )


def _span(period: Period) -> str:
    return "today" if period.kind == "day" else "this month"


def _renewal(period: Period) -> str:
    return f"It is renewed at {period.ends:%Y-%m-%d %H:%M} UTC."


def _check_prices(settings: Settings, budget: Budget, model: str) -> None:
    """Raises `ConfigError` for a model whose only prices are in another currency than the budget."""
    if budget.unpriced == "allow":
        return
    for name in dict.fromkeys((model, *settings.models, *settings.fallback_models)):
        price = settings.prices.get(name)
        currency = price.currency if price else "USD"
        if currency != budget.currency:
            whose = "LLM_STREAM_PRICES has its price" if price else "the public price lists have prices"
            raise ConfigError(
                f"LLM_STREAM_BUDGETS is in {budget.currency}, but for {name!r} {whose} in {currency}:"
                f" give its price in {budget.currency} in LLM_STREAM_PRICES."
            )


def _highest(prices: Iterable[int | None]) -> int | None:
    """None if one of them is unknown."""
    known = list(prices)
    return max((price for price in known if price is not None), default=None) if None not in known else None
