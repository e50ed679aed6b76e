"""Parses a provider's usage object, with any provider's field names: token counts, and the cost if there is one.

Providers differ in what their counts include. Our counts are totals: input includes tokens read from and written to a
cache, output includes reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context
from decimal import Decimal
from decimal import InvalidOperation
from typing import Any
from typing import cast

from ..events import Usage
from ..events import UsageSource

EXACT = Context(prec=400)
"""Enough digits for any price times any count, independent of the precision that the host app has set."""

MOST_TOKENS = 2**40
MOST_MONEY = 1_000_000
MOST_DECIMALS = 30
DECIMALS_OF_A_TICK = 10
"""xAI's unit: https://docs.x.ai/developers/cost-tracking"""

NOT_FINAL = ("estimated", "partial")
"""Values of `source` in figures that are not final. Another server with this library sends them as an upstream."""


def usage_of(figures: Mapping[str, Any]) -> Usage | None:
    """None if the object has no figures."""
    read = _count(figures, "prompt_tokens", "input_tokens")
    written = _count(figures, "completion_tokens", "output_tokens")
    cost, currency = _cost(figures)
    if read is None and written is None and cost is None:
        return None
    prompt_details = _mapping(figures.get("prompt_tokens_details") or figures.get("input_tokens_details"))
    output_details = _mapping(figures.get("completion_tokens_details") or figures.get("output_tokens_details"))
    cached = _first(
        _count(prompt_details, "cached_tokens"),
        _count(figures, "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens"),
    )
    cache_write = _first(
        _count(prompt_details, "cache_write_tokens", "cache_creation_tokens"),
        _count(figures, "cache_creation_input_tokens"),
    )
    if read is not None and _is_cache_extra(figures, read, cached or 0, cache_write or 0):
        read += (cached or 0) + (cache_write or 0)
    reasoning = _count(output_details, "reasoning_tokens")
    if written is not None and reasoning and _is_reasoning_extra(figures, read or 0, written, reasoning):
        written += reasoning
    elif written is not None and cached is None and not output_details:
        reasoning = _uncounted(figures, written)
        written += reasoning or 0
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        cache_write_tokens=cache_write,
        source=cast(UsageSource, figures["source"]) if figures.get("source") in NOT_FINAL else "provider",
        cost=cost,
        currency=currency,
    )


def later(known: Usage | None, new: Usage) -> Usage:
    """Merge the figures of another chunk into the known ones.

    Figures are running totals, never increments. The newest figures win. If a new figure is missing or has dropped to
    0, the known one is kept.
    """
    if known is None:
        return new
    is_same_count = not new.output_tokens or new.output_tokens == known.output_tokens
    priced = new if new.cost or not is_same_count or known.cost is None else known  # a cost belongs to its count
    return Usage(
        input_tokens=_newest(known.input_tokens, new.input_tokens),
        output_tokens=_newest(known.output_tokens, new.output_tokens),
        cached_tokens=_newest(known.cached_tokens, new.cached_tokens),
        reasoning_tokens=_newest(known.reasoning_tokens, new.reasoning_tokens),
        cache_write_tokens=_newest(known.cache_write_tokens, new.cache_write_tokens),
        source=new.source,
        cost=priced.cost,
        currency=priced.currency,
    )


def _is_cache_extra(figures: Mapping[str, Any], read: int, cached: int, cache_write: int) -> bool:
    """With Anthropic's field names, cached tokens are not part of the input count; with OpenAI's they are."""
    anthropic = "prompt_tokens" not in figures and not figures.keys().isdisjoint(
        ("cache_read_input_tokens", "cache_creation_input_tokens")
    )
    return anthropic or cached + cache_write > read


def _is_reasoning_extra(figures: Mapping[str, Any], read: int, written: int, reasoning: int) -> bool:
    """Whether the output count excludes reasoning, as at xAI. The total shows this."""
    total = _count(figures, "total_tokens")
    if total == read + written:  # some of OpenRouter's providers report one reasoning token too many
        return False
    return reasoning > written or total == read + written + reasoning


def _uncounted(figures: Mapping[str, Any], written: int) -> int | None:
    """The tokens of Gemini's thoughts, which are charged as output but included only in the total."""
    read, total = _count(figures, "prompt_tokens"), _count(figures, "total_tokens")
    return total - read - written if read is not None and total is not None and total > read + written else None


def _cost(figures: Mapping[str, Any]) -> tuple[Decimal | None, str | None]:
    """The provider's price and its currency; no currency means US dollars."""
    ticks = _count(figures, "cost_in_usd_ticks")
    if ticks is not None:
        return Decimal(ticks).scaleb(-DECIMALS_OF_A_TICK, EXACT), "USD"
    cost = figures.get("cost")
    amount = _money(cost.get("total_cost") if isinstance(cost, Mapping) else cost)  # Perplexity itemizes
    currency = figures.get("currency")
    if amount is None or currency is None:
        return amount, None
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isalpha()):
        return None, None  # credits or points, which cannot be summed as money
    return amount, currency.upper()


def _newest(known: int | None, new: int | None) -> int | None:
    return new if new or known is None else known


def was_bought(usage: Usage | None) -> bool:
    """Whether the figures show a charge."""
    return usage is not None and bool(usage.input_tokens or usage.output_tokens or usage.cost)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _count(figures: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = figures.get(name)
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
    is_plausible = money.is_finite() and 0 <= money < MOST_MONEY and int(money.as_tuple().exponent) >= -MOST_DECIMALS
    return money.copy_abs() if is_plausible else None
