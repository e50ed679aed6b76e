"""The native wire: numbered events in JSON, for EventSource and fetch."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..events import KINDS
from ..events import Event
from ..events import Failure
from . import Wire
from . import sse

_json = msgspec.json.Encoder().encode

HEADS = {kind: b"event: %b\ndata: " % name.encode() for name, kind in KINDS.items()}


def status(stream_id: str, status: int, error: Failure | None = None) -> bytes:
    """A stream's status in a combined response: 204, 404 or 410, as the stream's own route would respond."""
    data = {"id": stream_id, "status": status} | ({"error": error} if error else {})
    return b"event: status\ndata: %b\n\n" % _json(data)


class NativeWire(Wire):
    is_the_same_for_all = True

    def opening(self, retry_ms: int = sse.RETRY_MS) -> bytes:
        return sse.retry(retry_ms)

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        name = stream_id.encode()
        return b"".join(
            b"id: %b-%d\n%b%b\n\n" % (name, number, HEADS[type(event)], _json(event))
            for number, event in enumerate(events, first)
        )
