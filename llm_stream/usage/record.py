"""The usage record: what one stream cost, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from datetime import UTC
from datetime import date
from datetime import datetime
from decimal import ROUND_CEILING
from decimal import Decimal
from hashlib import sha256
from typing import Any
from typing import overload

from ..events import Status
from ..events import UsageSource
from ..upstream.figures import EXACT

DECIMALS = 12
FRACTIONS = 10**DECIMALS
"""Amounts are stored as integer multiples of 10⁻¹² of their currency, so sums are exact in every database."""

LONGEST = 500

SYMBOLS = {"INR": "₹", "USD": "$", "EUR": "€", "GBP": "£"}


@dataclass(frozen=True, kw_only=True)
class UsageRecord:
    """One per stream. An unknown figure is None, never 0.

    `input_tokens` includes `cached_tokens` and `cache_write_tokens`; `output_tokens` includes `reasoning_tokens`.
    `ttft_s` is the time from the start of the stream to the first token. `cost` is in `currency`. `price_source` names
    the price list: `provider`, `LLM_STREAM_PRICES`, or `genai-prices` with its version and the date of its update, if
    any. `price_date` is the day (UTC) of these prices. `service_tier` and `request_id` are the provider's, from the
    last call. `metadata` is what the app passed to `respond()` or `events()`.
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
    source: UsageSource
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
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """The log line."""
        parts = [
            f"stream={self.id}",
            f"status={self.status}",
            f"owner={self.owner!r}",
            f"model={'unknown' if self.model is None else repr(self.model)}",
            f"in={_count(self.input_tokens)}",
            f"out={_count(self.output_tokens)}",
            f"tokens={self.source}",
            f"cost={money(self.cost, self.currency)}",
            f"ttft={_seconds(self.ttft_s)}",
            f"duration={_seconds(self.duration_s)}",
        ]
        if self.error_code:
            parts.append(f"error={self.error_code}")
        if self.error_id:
            parts.append(f"error_id={self.error_id}")
        return " ".join(parts)


def fractions(amount: Decimal) -> int:
    """Converts `amount` for storage, rounded up."""
    return int(amount.scaleb(DECIMALS, EXACT).to_integral_value(ROUND_CEILING, EXACT))


def amount_of(fractions: int) -> Decimal:
    """A stored amount in units of its currency."""
    return EXACT.divide(Decimal(fractions), Decimal(FRACTIONS))


def exact(fractions: int) -> str:
    """A stored amount in units of its currency, with all digits."""
    return f"{amount_of(fractions):f}"


def money(amount: Decimal | None, currency: str | None) -> str:
    """`₹0.0042`, or `unknown`."""
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
    """`text` without NUL and lone surrogates, which PostgreSQL rejects. A text too long for an index is shortened, and
    a digest keeps it unique."""
    if text is None:
        return None
    clean = text.encode(errors="replace").decode().replace("\0", "�")
    if len(clean) <= LONGEST:
        return clean
    return f"{clean[: LONGEST - 65]}…{sha256(clean.encode()).hexdigest()}"


def utc_now() -> datetime:
    return datetime.now(UTC)


def _count(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _seconds(duration: float | None) -> str:
    return "none" if duration is None else f"{duration:.3f}s"
