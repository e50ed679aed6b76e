"""Signals for the app. The sender is the Flask app."""

from __future__ import annotations

import logging
from typing import Any

from blinker import Namespace

logger = logging.getLogger("llm_stream")

_signals = Namespace()

stream_started = _signals.signal("llm-stream-started")
"""Sent once per stream, after admission and before the upstream call, with `id`, `owner`, `model` and `metadata`.
It comes before every hook of the same stream. It is not sent when a reader attaches to an existing stream."""

stream_settled = _signals.signal("llm-stream-settled")
"""Sent once per stream, whatever its status, after `on_usage` and `on_answer`, with `record`: a `UsageRecord`."""


def announce(app: object, *, id: str, **stream: Any) -> None:
    """Send `stream_started`. A receiver's exception is only logged, because the stream's budget is already reserved."""
    try:
        stream_started.send(app, id=id, **stream)
    except Exception:
        logger.exception("a receiver of the signal stream_started failed for stream %s, which continues", id)
