"""The finished streams that a worker keeps, and the ids of those that it has forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from time import monotonic

from ..settings import Settings
from .claims import trim
from .stream import Stream

STREAM_BYTES = 4096
"""Memory that a finished stream takes besides its events; measured."""


class Retention:
    """Not thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._finished: OrderedDict[str, tuple[Stream, int]] = OrderedDict()
        self._bytes = 0
        self._forgotten: OrderedDict[str, str] = OrderedDict()

    def keep(self, stream: Stream) -> None:
        size = stream.size + STREAM_BYTES
        self._finished[stream.id] = (stream, size)
        self._bytes += size
        if stream.is_deleted:
            self.expire(stream.id)

    def expire(self, stream_id: str) -> None:
        """A stream that was deleted is the next to be forgotten."""
        if stream_id in self._finished:
            self._finished.move_to_end(stream_id, last=False)

    def forget_expired(self) -> Iterator[Stream]:
        """Forget the streams whose time is over, and the oldest ones if all together are too large. Yields them."""
        now = monotonic()
        while self._finished:
            stream, size = next(iter(self._finished.values()))
            has_expired = stream.settled_at is not None and stream.settled_at <= now - stream.settings.retention_s
            if not has_expired and self._bytes <= self._settings.max_retained_bytes:
                break
            del self._finished[stream.id]
            self._bytes -= size
            self._forgotten[stream.id] = stream.owner
            trim(self._forgotten)
            yield stream

    def owner_of_forgotten(self, stream_id: str) -> str | None:
        return self._forgotten.get(stream_id)
