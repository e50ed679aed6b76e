"""What the host app can listen to. The sender is the Flask app."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

stream_started = _signals.signal("llm-stream-started")
"""Sent once for each stream, when it has been admitted and before the upstream is called, with `id`, `owner` and
`model`. Not sent when a reader attaches to a stream that exists already."""

stream_settled = _signals.signal("llm-stream-settled")
"""Sent once for each stream, however it ended, after `on_usage`, with `record`: a `UsageRecord`."""
