"""The library's log lines as JSON, one object per line.

The line of a usage record has the record's fields. Every other line has its message and, if given, `error_code` and
`error_id`. No line has prompts or answers.
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
    """The `extra` of a logger call: the fields that a JSON line has in addition to its message."""
    return {"error_code": error_code, "error_id": error_id}


def one_line(text: str) -> str:
    """Escapes a client's text for a log line, because it may contain line ends or terminal commands."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class JSONLines(logging.Formatter):
    """Writes ASCII only. Otherwise an owner's name could contain a character that some programs take as a line end."""

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
    """Times in ISO format, money as a decimal string: a float would not be exact."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
