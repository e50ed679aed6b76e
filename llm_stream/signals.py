"""What the host app can listen to. The sender is the Flask app."""

from __future__ import annotations

import logging
from typing import Any

from blinker import Namespace

logger = logging.getLogger("llm_stream")

_signals = Namespace()

stream_started = _signals.signal("llm-stream-started")
"""Sent once for each stream, when it has been admitted and before the upstream is called, with `id`, `owner` and
`model`. Not sent when a reader attaches to a stream that exists already."""

stream_settled = _signals.signal("llm-stream-settled")
"""Sent once for each stream, however it ended, after `on_usage`, with `record`: a `UsageRecord`."""


def announce(app: object, *, id: str, **stream: Any) -> None:
    """Send `stream_started`. A receiver that fails keeps nothing from starting: it is paid for already."""
    try:
        stream_started.send(app, id=id, **stream)
    except Exception:
        logger.exception("a receiver of stream_started failed for stream %s", id)
