"""Makes the usage record of a stream that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import monotonic
from typing import Protocol

from ..events import Event
from ..settings import Price
from ..upstream.ending import Ending
from ..upstream.source import Attempt
from ..upstream.source import SourceOfEvents
from .bill import Bill
from .bill import bill_of
from .record import UsageRecord
from .record import utc_now

NEVER_ASKED = Attempt()


class Log(Protocol):
    def after(self, number: int) -> list[Event]:
        """The events after number `number`."""


class Accounted(Protocol):
    """A stream, as far as its record depends on it."""

    id: str
    owner: str
    model: str | None
    started: datetime
    started_at: float
    first_content_at: float | None
    last_content_at: float

    @property
    def source(self) -> SourceOfEvents: ...

    @property
    def log(self) -> Log: ...


def account(stream: Accounted, ending: Ending, prices: Mapping[str, Price]) -> tuple[UsageRecord, Bill]:
    """The record and the bill of a stream that ends now."""
    attempts = ending.attempts
    bill = bill_of(stream.id, attempts, stream.log.after(0), prices, stream.started)
    usage, cost, failure = bill.usage, bill.cost, ending.failure
    last = attempts[-1] if attempts else NEVER_ASKED
    record = UsageRecord(
        id=stream.id,
        owner=stream.owner,
        model=stream.model or last.model,
        upstream_model=last.upstream_model or last.model,
        request_id=last.request_id,
        status=ending.status,
        finish_reason=ending.finish_reason,
        error_code=failure.code if failure else None,
        error_id=failure.error_id if failure else None,
        source=usage.source or "unknown",
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=cost.amount if cost else None,
        currency=cost.currency if cost else None,
        price_source=cost.price_source if cost else None,
        price_date=cost.price_date if cost else None,
        ttft_s=stream.first_content_at - stream.started_at if stream.first_content_at else None,
        duration_s=monotonic() - stream.started_at,
        started=stream.started,
        ended=utc_now(),
        cache_write_tokens=usage.cache_write_tokens,
        service_tier=last.service_tier,
    )
    return record, bill
