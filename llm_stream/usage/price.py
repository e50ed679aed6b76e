"""Costs: the provider's own figure, else the price in the operator's table, else the price in the public lists.

All arithmetic is in exact decimals, whatever decimal context the host app has set.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from datetime import datetime
from decimal import Decimal
from decimal import localcontext
from functools import cache
from typing import Any

from ..events import Usage
from ..settings import Price
from ..upstream.figures import EXACT
from .record import utc_now

MILLION = 1_000_000

SERVICE_TIERS = {"flex": Decimal("0.5"), "batch": Decimal("0.5"), "priority": Decimal(2)}
"""Factors for the standard price, for service tiers without their own price."""


@dataclass(frozen=True)
class Cost:
    """An amount, with the name of the price list and the day of its prices."""

    amount: Decimal
    currency: str
    price_source: str
    price_date: date


def load() -> None:
    """Load the public price lists now. That takes about 50 ms and, under gevent, blocks every greenlet."""
    cost_of(Usage(0, 0), ["gpt-5"], {})


def cost_of(
    usage: Usage,
    models: Iterable[str],
    prices: Mapping[str, Price],
    base_url: str | None = None,
    *,
    service_tier: str | None = None,
    at: datetime | None = None,
) -> Cost | None:
    """The cost of `usage`, at the price of the first of `models` that has one. None: unknown, which is not 0.

    `at` is the time of the request, because some prices depend on the day or the hour.
    """
    at = at or utc_now()
    if usage.cost is not None and usage.cost.is_finite() and usage.cost >= 0:
        return Cost(usage.cost, usage.currency or "USD", "provider", at.date())
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    models = list(models)
    with localcontext(EXACT):
        for model in models:
            if price := prices.get(model):
                amount = _by_table(usage, price) * _factor(service_tier, price.service_tiers)
                return Cost(amount / MILLION, price.currency, "LLM_STREAM_PRICES", at.date())
        for model in models:
            for query in _queries(model, base_url):
                if cost := _by_public_lists(usage, query, service_tier, at):
                    return cost
    return None


@cache
def provider_of(base_url: str) -> str | None:
    """The name of the provider at this address in the public price lists."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider(None, None, base_url).id
    except LookupError:
        return None


def _counts(usage: Usage) -> tuple[int, int, int, int, int]:
    """Input, cached, cache-write, output and reasoning tokens. No part exceeds the total that includes it."""
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    cached = min(usage.cached_tokens or 0, read)
    cache_write = min(usage.cache_write_tokens or 0, read - cached)
    return read, cached, cache_write, written, min(usage.reasoning_tokens or 0, written)


def _by_table(usage: Usage, price: Price) -> Decimal:
    """The cost, times a million."""
    read, cached, cache_write, written, reasoning = _counts(usage)
    rate = _rates(price, read)
    return (
        (read - cached - cache_write) * rate["input"]
        + cached * rate.get("cached", rate["input"])
        + cache_write * rate.get("cache_write", rate["input"])
        + (written - reasoning) * rate["output"]
        + reasoning * rate.get("reasoning", rate["output"])
    )


def _rates(price: Price, read: int) -> dict[str, Decimal]:
    """Prices per million tokens, by kind of token, for a request with `read` input tokens."""
    tiers = sorted((tier for tier in price.tiers if read > tier.above), key=lambda tier: tier.above)
    return {
        kind: rate
        for level in (price, *tiers)
        for kind in ("input", "output", "cached", "cache_write", "reasoning")
        if (rate := getattr(level, kind)) is not None
    }


def _factor(service_tier: str | None, own: Mapping[str, Decimal]) -> Decimal:
    tier = (service_tier or "").lower()
    return own.get(tier, SERVICE_TIERS.get(tier, Decimal(1)))


def _queries(model: str, base_url: str | None) -> Iterator[dict[str, str]]:
    """Queries for a price, in order: they find the provider by address, by the model's prefix, or by the model."""
    if base_url:
        yield {"model_ref": model, "provider_api_url": base_url}
    provider, slash, name = model.partition("/")
    if slash:  # gateways name their models like `openai/gpt-4o-mini`
        yield {"model_ref": name, "provider_id": provider}
    yield {"model_ref": model}


def _by_public_lists(usage: Usage, query: Mapping[str, str], service_tier: str | None, at: datetime) -> Cost | None:
    import genai_prices

    read, cached, cache_write, written, reasoning = _counts(usage)
    tokens = genai_prices.Usage(
        input_tokens=read,
        cache_read_tokens=cached,
        cache_write_tokens=cache_write,
        output_tokens=written,
        output_reasoning_tokens=reasoning,
    )
    calc_price: Callable[..., Any] = genai_prices.calc_price
    tier = (service_tier or "").lower()
    variant = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    try:
        priced = standard = calc_price(tokens, genai_request_timestamp=at, **query)
        if tier:
            priced = calc_price(tokens, genai_request_timestamp=at, price_context=variant, **query)
    except (LookupError, ValueError):  # not listed, or not priced by tokens
        return None
    amount = priced.total_price
    if priced.model_price == standard.model_price:  # no price for this service tier in the lists
        amount *= _factor(tier, {})
    updated = priced.auto_update_timestamp
    source = f"genai-prices {genai_prices.__version__}" + (f" updated {updated:%Y-%m-%d}" if updated else "")
    return Cost(amount, "USD", source, at.date())
