"""A provider's usage object, under whatever names: tokens, and the cost where it tells.

Providers agree on neither what the input counts hold nor what the output counts do. Here the input includes what was
read from a cache and written to one, and the output includes the reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context
from decimal import Decimal
from decimal import InvalidOperation
from typing import Any
from typing import cast

from ..events import Source
from ..events import Usage

EXACT = Context(prec=400)
"""More digits than any price times any count has, whatever precision the host app has set."""

MOST_TOKENS = 2**40
MOST_MONEY = 1_000_000
MOST_DECIMALS = 30
DECIMALS_OF_A_TICK = 10
"""xAI's unit: https://docs.x.ai/developers/cost-tracking"""

NOT_FINAL = ("estimated", "partial")
"""What our own `/v1`, as the upstream of another, says of figures that are not the provider's final ones."""


def usage_of(given: Mapping[str, Any]) -> Usage | None:
    """None if there is no figure in it."""
    read, written = _count(given, "prompt_tokens", "input_tokens"), _count(given, "completion_tokens", "output_tokens")
    cost, currency = _cost(given)
    if read is None and written is None and cost is None:
        return None
    prompt_details = _mapping(given.get("prompt_tokens_details") or given.get("input_tokens_details"))
    output_details = _mapping(given.get("completion_tokens_details") or given.get("output_tokens_details"))
    cached = _first(
        _count(prompt_details, "cached_tokens"),
        _count(given, "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens"),
    )
    cache_write = _first(
        _count(prompt_details, "cache_write_tokens", "cache_creation_tokens"),
        _count(given, "cache_creation_input_tokens"),
    )
    if read is not None and _cache_is_beside(given, read, cached or 0, cache_write or 0):
        read += (cached or 0) + (cache_write or 0)
    reasoning = _count(output_details, "reasoning_tokens")
    if written is not None and reasoning and _reasoning_is_beside(given, read or 0, written, reasoning):
        written += reasoning
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        cache_write_tokens=cache_write,
        source=cast(Source, given["source"]) if given.get("source") in NOT_FINAL else "provider",
        cost=cost,
        currency=currency,
    )


def later(known: Usage | None, new: Usage) -> Usage:
    """What is known after another chunk with figures.

    They are totals so far, never parts of a sum. The last ones count, but what they leave out, or have fallen back to
    0, stays as it was told before.
    """
    if known is None:
        return new
    as_before = not new.output_tokens or new.output_tokens == known.output_tokens
    dearer = new if new.cost or not as_before or known.cost is None else known  # a cost belongs to its own count
    return Usage(
        input_tokens=_grown(known.input_tokens, new.input_tokens),
        output_tokens=_grown(known.output_tokens, new.output_tokens),
        cached_tokens=_grown(known.cached_tokens, new.cached_tokens),
        reasoning_tokens=_grown(known.reasoning_tokens, new.reasoning_tokens),
        cache_write_tokens=_grown(known.cache_write_tokens, new.cache_write_tokens),
        source=new.source,
        cost=dearer.cost,
        currency=dearer.currency,
    )


def _cache_is_beside(given: Mapping[str, Any], read: int, cached: int, cache_write: int) -> bool:
    """Anthropic's own names stand for counts beside each other; OpenAI's for parts of a whole."""
    anthropic = "prompt_tokens" not in given and not given.keys().isdisjoint(
        ("cache_read_input_tokens", "cache_creation_input_tokens")
    )
    return anthropic or cached + cache_write > read


def _reasoning_is_beside(given: Mapping[str, Any], read: int, written: int, reasoning: int) -> bool:
    """xAI's reasoning is no part of its completion tokens, which the total tells."""
    return reasoning > written or _count(given, "total_tokens") == read + written + reasoning


def _cost(given: Mapping[str, Any]) -> tuple[Decimal | None, str | None]:
    """What the provider says it charges, and in which currency, if it names one: US dollars else."""
    ticks = _count(given, "cost_in_usd_ticks")
    if ticks is not None:
        return Decimal(ticks).scaleb(-DECIMALS_OF_A_TICK, EXACT), "USD"
    cost = given.get("cost")
    amount = _money(cost.get("total_cost") if isinstance(cost, Mapping) else cost)  # Perplexity itemises
    currency = given.get("currency")
    if amount is None or currency is None:
        return amount, None
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isalpha()):
        return None, None  # credits, or points: no money that could be added up
    return amount, currency.upper()


def _grown(known: int | None, new: int | None) -> int | None:
    return new if new or known is None else known


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _count(given: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = given.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS:
            return int(value)
    return None


def _money(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        money = Decimal(str(value))
    except InvalidOperation:
        return None
    believable = money.is_finite() and 0 <= money < MOST_MONEY and int(money.as_tuple().exponent) >= -MOST_DECIMALS
    return money.copy_abs() if believable else None
