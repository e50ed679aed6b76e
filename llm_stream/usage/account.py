"""A stream at its end becomes a usage record: whose figures, bounded how, at what price."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from ..events import Delta
from ..events import Reset
from ..events import Source
from ..events import Usage
from ..settings import Price
from . import estimate
from .price import cost_of
from .record import UsageRecord
from .record import utc_now

logger = logging.getLogger("llm_stream")

if TYPE_CHECKING:
    from ..stream import Stream
    from ..stream import Verdict

WHOLE = ("completed", "incomplete")

FAR_OFF = 1.5
"""Figures that came with the first words are not those of the answer that broke off: so much more was written since."""


def account(stream: Stream, verdict: Verdict, prices: Mapping[str, Price]) -> tuple[UsageRecord, Usage]:
    """The record of a stream that ends now with `verdict`, and the `usage` event that tells its readers."""
    source = stream.source
    models = filter(None, (source.asked_model, source.upstream_model))
    usage, cost = Usage(source="unknown"), None
    try:
        usage = _tokens(stream, verdict)
        tier = source.service_tier
        cost = cost_of(usage, models, prices, source.base_url, service_tier=tier, at=stream.started)
    except Exception:  # a stream must come to its end, whatever a tokenizer or a price list thinks of it
        logger.exception("stream %s cannot be accounted for in full", stream.id)
    now = monotonic()
    record = UsageRecord(
        id=stream.id,
        owner=stream.owner,
        model=stream.model,
        upstream_model=source.upstream_model or source.asked_model,
        request_id=source.request_id,
        status=verdict.status,
        finish_reason=verdict.finish_reason,
        error_code=verdict.failure.code if verdict.failure else None,
        error_id=verdict.failure.error_id if verdict.failure else None,
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
        duration_s=now - stream.started_at,
        started=stream.started,
        ended=utc_now(),
        cache_write_tokens=usage.cache_write_tokens,
        service_tier=source.service_tier,
    )
    told = msgspec.structs.replace(usage, cost=record.cost, currency=record.currency, cache_write_tokens=None)
    return record, told


def _tokens(stream: Stream, verdict: Verdict) -> Usage:
    source = stream.source
    figures = verdict.usage or source.usage
    events = stream.log.after(0)
    if figures is None:
        return _estimated(stream) if source.bought else Usage(source="none")
    if figures.input_tokens is None and figures.output_tokens is None:  # a provider that tells its price only
        return msgspec.structs.replace(_estimated(stream), cost=figures.cost, currency=figures.currency)
    voided = [at for at, event in enumerate(events) if isinstance(event, Reset)]
    if voided:  # the figures are the last attempt's, the bill is for all
        return _with_voided(figures, len(voided), estimate.output_tokens(events[: voided[-1]]))
    whose: Source = figures.source or "provider"
    if whose == "provider" and verdict.status not in WHOLE:
        written = _bounded(estimate.output_tokens(events), source.max_output_tokens)
        if written > FAR_OFF * (figures.output_tokens or 0):
            return msgspec.structs.replace(figures, output_tokens=written, cost=None, currency=None, source="estimated")
        whose = "partial"
    return msgspec.structs.replace(figures, source=whose)


def _estimated(stream: Stream) -> Usage:
    events = stream.log.after(0)
    messages, limit = stream.source.messages, stream.source.max_output_tokens
    if messages is None and not any(isinstance(event, Delta) for event in events):
        return Usage(source="unknown")
    written = estimate.output_tokens(events)
    attempts = 1 + sum(isinstance(event, Reset) for event in events)
    return Usage(
        input_tokens=None if messages is None else attempts * estimate.input_tokens(messages),
        output_tokens=_bounded(written, limit),
        source="estimated",
    )


def _bounded(written: int, limit: int | None) -> int:
    return written if limit is None else min(written, limit)


def _with_voided(figures: Usage, attempts: int, written: int) -> Usage:
    def times(count: int | None) -> int | None:
        return None if count is None else count * (1 + attempts)

    return Usage(
        input_tokens=times(figures.input_tokens),
        output_tokens=None if figures.output_tokens is None else figures.output_tokens + written,
        source="estimated",
    )
