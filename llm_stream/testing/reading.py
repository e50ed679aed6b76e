"""Parses the events of a response, for tests."""

from __future__ import annotations

import json
from typing import Any


def read_events(body: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """The events of a native stream, as (id, type, data)."""
    events = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and ": " in line)
        if "data" in fields:
            events.append((fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"])))
    return events
