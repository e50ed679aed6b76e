"""Rows of a ledger, as streams of the past would have left them.

Their days are written down, and what asks for them names the same days: so no report depends on when a test runs.
"""

from __future__ import annotations

from datetime import UTC
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy import insert

from llm_stream.ledger import ledgers
from llm_stream.ledger import schema
from llm_stream.ledger.database import Database
from llm_stream.reports.filters import Filters
from llm_stream.reports.report import as_plain
from llm_stream.reports.report import report

MICRO = 10**6
"""Of a millionth of a currency's unit there are so many of the fractions that costs are kept in."""
TODAY = date(2024, 3, 1)
"""The day before is the 29th of February."""
_numbers = count(1)


def row(*, days_ago: int = 1, **changes: Any) -> dict[str, Any]:
    """A stream that cost 0.001 dollars and was read to its end."""
    number = next(_numbers)
    started = datetime.combine(TODAY - timedelta(days=days_ago), time(12, microsecond=number), UTC)
    made: dict[str, Any] = {
        "id": f"stream{number}",
        "llm": "llm",
        "worker": "gone",
        "owner": "asha",
        "model": "openai/gpt-4o-mini",
        "upstream_model": None,
        "request_id": f"gen-{number}",
        "status": "completed",
        "source": "provider",
        "finish_reason": "stop",
        "error_code": None,
        "error_id": None,
        "input_tokens": 100,
        "cached_tokens": 10,
        "output_tokens": 20,
        "reasoning_tokens": 5,
        "cost": 1000 * MICRO,
        "currency": "USD",
        "price_source": "provider",
        "price_date": None,
        "ttft_s": 0.5,
        "duration_s": 2.0,
        "started": started,
        "ended": started + timedelta(seconds=2),
        "day": f"{started:%Y-%m-%d}",
        "was_read": True,
    }
    return made | changes


def day(days_ago: int) -> str:
    return (TODAY - timedelta(days=days_ago)).isoformat()


def period(days: int) -> str:
    """The last so many days and `TODAY`, in the query of a report."""
    return f"since={day(days)}&until={day(0)}"


def filters_of(query: str) -> Filters:
    """As they are read on `TODAY`."""
    asked = parse_qs(query)
    return Filters.read(lambda name: asked.get(name, ()), TODAY)


def report_of(url: str, query: str) -> dict[str, Any]:
    """What `/usage.json` says on `TODAY`; what it keeps of the days is written down by then."""
    ledger = ledgers.of(url)
    said = as_plain(report(ledger, filters_of(query)), "day")
    assert ledger.close(10)
    return said


def write(url: str, *rows: dict[str, Any]) -> None:
    database = Database(url)
    database.write(lambda connection: connection.execute(insert(schema.usage), list(rows)))
    database.close()


def keep_alive(url: str, worker: str) -> None:
    """Its running streams are not settled by others."""
    beat = datetime.now(UTC) + timedelta(days=1)
    database = Database(url)
    database.write(lambda connection: connection.execute(insert(schema.workers), {"worker": worker, "beat": beat}))
    database.close()
