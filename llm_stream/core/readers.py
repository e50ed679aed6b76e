"""Following several logs into one HTTP response."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any

from ..settings import Settings
from ..wire import Wire
from .log.memory import Bell
from .reader import Client
from .reader import Reader
from .stream import Stream


class Readers:
    """The events of several streams: those of each in their order, all as they come. Use it up, or `close()` it.

    A stream counts its reader here as it counts any other, so that who leaves this response leaves all of them.
    """

    def __init__(self, places: Sequence[tuple[Stream, int]], settings: Settings, *, connection: Any = None) -> None:
        self._heartbeat_s = settings.heartbeat_s or inf
        self._client = Client(connection, settings.send_timeout_s)
        self._bell = Bell()
        self._readers = [Reader(stream, after=after, shared=(self._client, self._bell)) for stream, after in places]

    def written(self, wire: Wire, first: bytes = b"") -> Iterator[bytes]:
        """As bytes of `wire`, after the bytes `first`. Ends when all have ended, or when the client has gone."""
        data, client = wire.opening() + first, self._client
        try:
            while not client.gone:
                data += self._rest(wire)
                now = monotonic()
                if data:
                    client.writing_since = last_write = now
                    yield data
                    client.writing_since, data = None, b""
                elif not self._readers:
                    return
                elif now - last_write >= self._heartbeat_s:
                    data = wire.heartbeat
                else:
                    self._bell.wait(None)
        finally:
            self.close()

    def _rest(self, wire: Wire) -> bytes:
        """What there is now, of all; who has had the last event of its stream is done."""
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
