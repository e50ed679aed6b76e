"""Makes the usage record of an ended stream."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from time import monotonic
from typing import Any
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
    @property
    def events(self) -> list[Event]: ...


class Accounted(Protocol):
    """The attributes of a stream that its record depends on."""

    id: str
    owner: str
    model: str | None
    metadata: Mapping[str, Any]
    started: datetime
    started_at: float
    first_content_at: float | None
    last_content_at: float

    @property
    def source(self) -> SourceOfEvents: ...

    @property
    def log(self) -> Log: ...


@dataclass(frozen=True)
class LostStream:
    """A stream whose worker died, as reconstructed from its log."""

    id: str
    owner: str
    model: str | None
    started: datetime
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ttft_s: float | None = None
    events: Sequence[Event] = ()


class Named(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def owner(self) -> str: ...

    @property
    def model(self) -> str | None: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    @property
    def started(self) -> datetime: ...


def account(stream: Accounted, ending: Ending, prices: Mapping[str, Price]) -> tuple[UsageRecord, Bill]:
    """The record and the bill of a stream that ends now."""
    bill = bill_of(stream.id, ending.attempts, stream.log.events, prices, stream.started)
    ttft_s = stream.first_content_at - stream.started_at if stream.first_content_at else None
    return _record(stream, ending, bill, ttft_s, monotonic() - stream.started_at), bill


def account_of_lost(stream: LostStream, ending: Ending, prices: Mapping[str, Price]) -> tuple[UsageRecord, Bill]:
    """The record and the bill of a stream that another worker wrote."""
    bill = bill_of(stream.id, ending.attempts, stream.events, prices, stream.started)
    duration_s = max(0.0, (utc_now() - stream.started).total_seconds())
    return _record(stream, ending, bill, stream.ttft_s, duration_s), bill


def _record(stream: Named, ending: Ending, bill: Bill, ttft_s: float | None, duration_s: float) -> UsageRecord:
    usage, cost, failure = bill.usage, bill.cost, ending.failure
    last = ending.attempts[-1] if ending.attempts else NEVER_ASKED
    return UsageRecord(
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
        ttft_s=ttft_s,
        duration_s=duration_s,
        started=stream.started,
        ended=utc_now(),
        cache_write_tokens=usage.cache_write_tokens,
        service_tier=last.service_tier,
        metadata=stream.metadata,
    )
