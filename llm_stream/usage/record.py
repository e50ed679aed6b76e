"""The usage record: what one stream cost, however it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from datetime import date
from datetime import datetime
from decimal import ROUND_CEILING
from decimal import Decimal
from hashlib import sha256
from typing import overload

from ..events import Source
from ..events import Status
from ..upstream.figures import EXACT

DECIMALS = 12
FRACTIONS = 10**DECIMALS
"""Amounts are kept as whole numbers of this part of their currency: their sums are exact in every database."""

LONGEST = 500

SYMBOLS = {"INR": "₹", "USD": "$", "EUR": "€", "GBP": "£"}


@dataclass(frozen=True, kw_only=True)
class UsageRecord:
    """One per stream. A figure that is not known is None, never 0.

    `input_tokens` includes `cached_tokens` and `cache_write_tokens`, `output_tokens` includes `reasoning_tokens`.
    `ttft_s` is the time to the first token, from the start of the stream. `cost` is in `currency`; `price_source` says
    by whose prices (`provider`, `LLM_STREAM_PRICES`, or `genai-prices` with its version, and its update where it has
    one), `price_date` which day's (UTC) were applied. `service_tier` is what the provider says it gave.
    `request_id` is its own, of the last call that it answered.
    """

    id: str
    owner: str
    model: str | None
    upstream_model: str | None
    request_id: str | None
    status: Status
    finish_reason: str | None
    error_code: str | None
    error_id: str | None
    source: Source
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost: Decimal | None
    currency: str | None
    price_source: str | None
    price_date: date | None
    ttft_s: float | None
    duration_s: float
    started: datetime
    ended: datetime
    cache_write_tokens: int | None = None
    service_tier: str | None = None

    def __str__(self) -> str:
        """The log line."""
        parts = [
            f"stream={self.id}",
            f"status={self.status}",
            f"owner={self.owner!r}",
            f"model={'unknown' if self.model is None else repr(self.model)}",
            f"in={_known(self.input_tokens)}",
            f"out={_known(self.output_tokens)}",
            f"tokens={self.source}",
            f"cost={money(self.cost, self.currency)}",
            f"ttft={_seconds(self.ttft_s)}",
            f"duration={_seconds(self.duration_s)}",
        ]
        if self.error_code:
            parts.append(f"error={self.error_code} error_id={self.error_id}")
        return " ".join(parts)


def fractions(amount: Decimal) -> int:
    """An amount as it is kept; one that ends within a fraction, as the next higher."""
    return int(amount.scaleb(DECIMALS, EXACT).to_integral_value(ROUND_CEILING, EXACT))


def amount_of(fractions: int) -> Decimal:
    """The same, in whole ones of its currency."""
    return EXACT.divide(Decimal(fractions), Decimal(FRACTIONS))


def exact(fractions: int) -> str:
    """The same, with all digits."""
    return f"{amount_of(fractions):f}"


def money(amount: Decimal | None, currency: str | None) -> str:
    """`₹0.0042`; an amount that is not known is `unknown`."""
    if amount is None:
        return "unknown"
    figure = f"{amount.normalize(EXACT):f}"
    symbol = SYMBOLS.get(currency or "")
    return f"{symbol}{figure}" if symbol else f"{figure} {currency or ''}".rstrip()


@overload
def storable(text: str) -> str: ...
@overload
def storable(text: None) -> None: ...
def storable(text: str | None) -> str | None:
    """Without what PostgreSQL does not keep, or nobody can encode; a text too long for its indexes as its beginning."""
    if text is None:
        return None
    sound = text.encode(errors="replace").decode().replace("\0", "�")
    if len(sound) <= LONGEST:
        return sound
    return f"{sound[: LONGEST - 65]}…{sha256(sound.encode()).hexdigest()}"


def utc_now() -> datetime:
    return datetime.now(UTC)


def _known(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _seconds(duration: float | None) -> str:
    return "none" if duration is None else f"{duration:.3f}s"
