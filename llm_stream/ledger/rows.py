"""Usage records as rows of the ledger."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement

from ..errors import Interrupted
from ..usage.record import UsageRecord
from ..usage.record import fractions
from ..usage.record import storable
from .schema import usage

LARGEST = 2**63 - 1

UNKNOWN_MODEL = "unknown"
"""The model of a stream whose iterable has not named one."""


def lost(row: Any) -> UsageRecord:
    """The record of a stream whose worker has died. It ends with the last heartbeat of the worker."""
    ended = max(row.started, row.beat or row.started)
    return UsageRecord(
        id=row.id,
        owner=row.owner,
        model=None if row.model == UNKNOWN_MODEL else row.model,
        upstream_model=None,
        request_id=None,
        status="interrupted",
        finish_reason=None,
        error_code=Interrupted.code,
        error_id=None,
        source="unknown",
        input_tokens=None,
        cached_tokens=None,
        output_tokens=None,
        reasoning_tokens=None,
        cost=None,
        currency=None,
        price_source=None,
        price_date=None,
        ttft_s=None,
        duration_s=(ended - row.started).total_seconds(),
        started=row.started,
        ended=ended,
        metadata=json.loads(row.metadata) if row.metadata else {},
    )


def is_lost() -> tuple[ColumnElement[bool], ...]:
    """The condition for rows that `lost()` made. An interrupted row that its own worker settled has an error id."""
    c = usage.c
    return (c.status == "interrupted", c.source == "unknown", c.error_id.is_(None))


def values_of(record: UsageRecord) -> dict[str, Any]:
    """The columns that are written when a stream settles."""
    cost = None if record.cost is None else _count(fractions(record.cost))
    return {
        "model": storable(record.model or UNKNOWN_MODEL),
        "upstream_model": storable(record.upstream_model),
        "request_id": storable(record.request_id),
        "status": record.status,
        "source": record.source,
        "finish_reason": storable(record.finish_reason),
        "error_code": record.error_code,
        "error_id": record.error_id,
        "input_tokens": _count(record.input_tokens),
        "cached_tokens": _count(record.cached_tokens),
        "cache_write_tokens": _count(record.cache_write_tokens),
        "output_tokens": _count(record.output_tokens),
        "reasoning_tokens": _count(record.reasoning_tokens),
        "cost": cost,
        "currency": None if cost is None else storable(record.currency),
        "price_source": record.price_source,
        "price_date": record.price_date and record.price_date.isoformat(),
        "service_tier": storable(record.service_tier),
        "ttft_s": record.ttft_s,
        "duration_s": record.duration_s,
        "ended": record.ended,
    }


def _count(number: int | None) -> int | None:
    """None if the number is too large for a database."""
    return number if number is None or abs(number) <= LARGEST else None
