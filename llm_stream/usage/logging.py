"""What the library tells its operator, as JSON: one object per line, for programs that read logs.

A usage record's line has its fields, any other its message and whatever it names: `error_code`, `error_id`. There is no
prompt and no answer in either.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import UTC
from datetime import datetime
from typing import Any

from .record import UsageRecord

NAMED = ("error_code", "error_id")


def named(error_code: str, error_id: str) -> dict[str, str]:
    """What a line names beside its message: the `extra` of a call to a logger."""
    return {"error_code": error_code, "error_id": error_id}


class JSONLines(logging.Formatter):
    """ASCII only: no name of an owner's begins a line of its own, in whatever reads it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        if isinstance(record.args, tuple) and len(record.args) == 1 and isinstance(record.args[0], UsageRecord):
            line |= {"event": "stream_settled"} | asdict(record.args[0])
        else:
            line["message"] = record.getMessage()
            line |= {name: getattr(record, name) for name in NAMED if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=_plain)


def _plain(value: Any) -> str:
    """Times in ISO's form, money as it is written: a float could not hold it."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
