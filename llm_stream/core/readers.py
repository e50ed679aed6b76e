"""Several event logs in one HTTP response."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from time import monotonic

from ..wire import Wire
from .followed import Followed
from .reader import Client
from .reader import Reader


class Readers:
    """The readers of several streams in one response. Exhaust it or `close()` it.

    Each stream counts its reader here like any other, so a client that disconnects leaves all of these streams.
    """

    def __init__(self, places: Sequence[tuple[Followed, int]], client: Client) -> None:
        self._client = client
        self._readers = [Reader(stream, client, after=after) for stream, after in places]

    def written(self, wire: Wire, first: bytes = b"") -> Iterator[bytes]:
        """`first`, then all events encoded for `wire`. Ends after the last stream, or when the client disconnects."""
        data, client = wire.opening(self._client.retry_ms) + first, self._client
        try:
            while not client.disconnected:
                data += self._rest(wire)
                if not data and not self._readers:
                    return
                if not data and client.needs_heartbeat(monotonic()):
                    data = wire.heartbeat
                if data:
                    client.writing_since = client.last_write = monotonic()
                    yield data
                    client.writing_since, data = None, b""
                else:
                    client.bell.wait(None)
        finally:
            self.close()

    def _rest(self, wire: Wire) -> bytes:
        """New events of all streams. Closes the readers whose stream has ended."""
        rests = [(reader, *reader.rest(wire)) for reader in self._readers]
        for reader, _, is_last in rests:
            if is_last:
                reader.close()
                self._readers.remove(reader)
        return b"".join(data for _, data, _ in rests)

    def close(self) -> None:
        """May be called twice."""
        for reader in self._readers:
            reader.close()
