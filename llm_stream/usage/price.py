"""What tokens cost: the provider's own figure, else the operator's table, else the public price lists."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from ..events import Usage
from ..settings import Price

MILLION = 1_000_000


@dataclass(frozen=True)
class Cost:
    """An amount, and by whose prices it was reckoned."""

    amount: Decimal
    currency: str
    price_source: str
    price_date: date | None = None


def cost_of(
    usage: Usage, models: Iterable[str], prices: Mapping[str, Price], base_url: str | None = None
) -> Cost | None:
    """What `usage` costs, under the first of `models` that has a price. None: it is not known, which is not 0."""
    if usage.cost is not None:
        return Cost(usage.cost, usage.currency or "USD", "provider")
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    models = list(models)
    for model in models:
        if model in prices:
            return _by_table(usage, prices[model])
    for model in models:
        if cost := _by_public_lists(usage, model, base_url):
            return cost
    return None


def _by_table(usage: Usage, price: Price) -> Cost:
    assert usage.input_tokens is not None and usage.output_tokens is not None
    cached = min(usage.cached_tokens or 0, usage.input_tokens) if price.cached is not None else 0
    amount = (
        (usage.input_tokens - cached) * price.input + cached * (price.cached or 0) + usage.output_tokens * price.output
    ) / MILLION
    return Cost(amount, price.currency, "LLM_STREAM_PRICES")


def _by_public_lists(usage: Usage, model: str, base_url: str | None) -> Cost | None:
    import genai_prices

    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_tokens
    )
    provider, slash, name = model.partition("/")
    ways: list[dict[str, str]] = [{"model_ref": model}]
    if slash:  # `openai/gpt-4o-mini`, as gateways name their models
        ways.append({"model_ref": name, "provider_id": provider})
    if base_url:
        ways.insert(0, {"model_ref": model, "provider_api_url": base_url})
    calc_price: Callable[..., Any] = genai_prices.calc_price
    for way in ways:
        try:
            priced = calc_price(tokens, **way)
        except LookupError:
            continue
        return Cost(priced.total_price, "USD", f"genai-prices {genai_prices.__version__}")
    return None
