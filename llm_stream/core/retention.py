"""The finished streams that a worker keeps, and which ones it has forgotten."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from time import monotonic

from ..settings import Settings
from .remembered import DIGEST_BYTES
from .remembered import Remembered
from .remembered import digest
from .stream import Stream

STREAM_BYTES = 4096
"""Memory that a finished stream takes besides its events; measured."""


class Retention:
    """Not thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._finished: OrderedDict[str, tuple[Stream, int]] = OrderedDict()
        self._bytes = 0
        self._forgotten = Remembered(DIGEST_BYTES)
        """Digests of forgotten ids, with the digest of each owner."""

    def keep(self, stream: Stream) -> None:
        size = stream.size + STREAM_BYTES
        self._finished[stream.id] = (stream, size)
        self._bytes += size
        if stream.is_deleted:
            self.expire(stream.id)

    def expire(self, stream_id: str) -> None:
        """Put a deleted stream at the front of the queue, to forget it next."""
        if stream_id in self._finished:
            self._finished.move_to_end(stream_id, last=False)

    def forget_expired(self) -> Iterator[Stream]:
        """Forget streams whose retention is over, and the oldest ones while all together are too large. Yields each."""
        now = monotonic()
        while self._finished:
            stream, size = next(iter(self._finished.values()))
            has_expired = stream.settled_at is not None and stream.settled_at <= now - stream.settings.retention_s
            if not has_expired and self._bytes <= self._settings.max_retained_bytes:
                break
            del self._finished[stream.id]
            self._bytes -= size
            self._forgotten.keep(digest(stream.id), digest(stream.owner))
            yield stream

    def has_forgotten(self, stream_id: str, owner: str | None) -> bool:
        """Whether `stream_id` is a forgotten stream of `owner`; None means any owner."""
        found = self._forgotten.get(digest(stream_id))
        return found is not None and (owner is None or found == digest(owner))
