"""Following a log into one HTTP response, and noticing when nobody takes it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any

from ..events import Done
from ..events import Event
from ..server import sockets
from ..server.gunicorn import Writer
from ..server.gunicorn import caller
from ..server.gunicorn import writer_past
from ..wire import Wire
from .log.memory import Bell
from .stream import Stream

LOOK_EVERY_S = 0.5

EXPECTED_S = 1.0
"""How long a reader may take to begin: a server iterates a response at once, if it is given it at all."""


class Reader:
    """One reader of a stream. Use it up, or `close()` it: the stream counts its readers.

    One that never begins, because its response was replaced or dropped, counts for `EXPECTED_S` only.

    `connection` is the client's socket, where the server shows it; without it a client's going is noticed at the
    second write. Readers that share a response share its client, and the bell that wakes it.
    """

    def __init__(
        self, stream: Stream, *, after: int = 0, connection: Any = None, shared: tuple[Client, Bell] | None = None
    ) -> None:
        self.stream = stream
        self._after = after
        self._heartbeat_s = stream.settings.heartbeat_s or None
        self._client, self._bell = shared or (Client(connection, stream.settings.send_timeout_s), Bell())
        self._last_write = monotonic()
        self._wire: Wire | None = None
        self._writer: Writer | None = None
        self._may_write_past = stream.settings.fast_path
        self._is_parked = False
        self._made_at = self._last_write
        self._expected_until: float | None = self._made_at + EXPECTED_S
        """None once it has begun."""
        stream.log.subscribe(self._appended)
        stream.join(self)

    def batches(self) -> Iterator[tuple[int, Sequence[Event]]]:
        """The number of the first event, and the events that came together; no events: it is time for a heartbeat.

        Ends after `Done`. Raises `ConnectionResetError` when the client has gone.
        """
        log, client = self.stream.log, self._client
        self._begin()
        try:
            while True:
                ended = log.ended
                batch = log.after(self._after)
                if client.gone:
                    raise ConnectionResetError(errno.ECONNRESET, "the client has gone")
                if self._wire is not None and self._wire.is_over:
                    return
                if batch or self._is_due(monotonic()):
                    first, self._after = self._after + 1, self._after + len(batch)
                    client.writing_since = self._last_write = monotonic()
                    yield first, batch
                    client.writing_since = None
                elif ended:
                    return
                else:
                    self._is_parked = self._writer is not None
                    self._bell.wait(None)  # the clock rings for heartbeats: a timeout would be a timer per event
                    self._is_parked = False
                    self._write_rest()
        finally:
            self.close()

    def written(self, wire: Wire) -> Iterator[bytes]:
        """The same, as bytes of `wire`. Where the client has gone it only ends.

        Middleware between us and the server, Sentry's for example, would report an exception as an error of the app.
        """
        self._begin()
        self._wire = wire
        if self._after:
            wire.resume(self.stream.log.after(self._after - 1)[0])
        opening = wire.opening()
        if len(self.stream.log) <= self._after:
            yield opening
            opening = b""
        last_data = monotonic()
        try:
            for first, batch in self.batches():
                data = opening + self._encoded(wire, first, batch)
                if not data and self._last_write - last_data >= (self._heartbeat_s or inf):
                    data = wire.heartbeat  # also where events come that are nothing on this wire
                if data:
                    last_data, opening = self._last_write, b""
                    yield data
                    if self._may_write_past:
                        self._may_write_past = False  # looked at once
                        self._writer = writer_past(caller())
        except ConnectionError:
            pass

    def rest(self, wire: Wire) -> tuple[bytes, bool]:
        """What there is now, as bytes of `wire`, and whether that was the last; for a response that others share."""
        self._begin()
        events = self.stream.log.after(self._after)
        self._last_write = monotonic()
        if not events:
            return b"", False
        first, self._after = self._after + 1, self._after + len(events)
        return self._encoded(wire, first, events), isinstance(events[-1], Done)

    def _encoded(self, wire: Wire, first: int, events: Sequence[Event]) -> bytes:
        """The bytes of the events, encoded once for all readers that are at the same place."""
        if not wire.is_the_same_for_all or len(self.stream.readers) == 1:
            return wire.encode(self.stream.id, first, events)
        place = (type(wire), first, len(events))
        last = self.stream.last_written
        if last is None or last[:3] != place:
            last = self.stream.last_written = (*place, wire.encode(self.stream.id, first, events))
        return last[3]

    def _begin(self) -> None:
        if self._expected_until is None:
            return
        self._expected_until = None
        if self not in self.stream.readers:  # it was given up too early
            self.stream.log.subscribe(self._appended)
            self.stream.join(self)

    def _give_up(self) -> None:
        """Nobody iterates the response, so it has had no reader since it was made."""
        self.stream.log.unsubscribe(self._appended)
        self.stream.leave(self, since=self._made_at)

    def _is_due(self, now: float) -> bool:
        return self._heartbeat_s is not None and now - self._last_write >= self._heartbeat_s

    def _appended(self, first: int, events: Sequence[Event]) -> None:
        """Wake the reader's thread; or, where it has nothing to do but to pass them on, do that here."""
        if not (self._is_parked and self._after == first - 1 and self._write_past(first, events)):
            self._bell.ring()

    def _write_past(self, first: int, events: Sequence[Event]) -> bool:
        """Write to the client from the producer's greenlet; whether the reader's own can go on sleeping."""
        assert self._wire is not None and self._writer is not None
        try:
            data = self._encoded(self._wire, first, events)
            is_taken = not data or self._writer.write(data)
        except OSError:
            self._client.gone = True
            return False
        except Exception:  # the reader's trouble, in its own greenlet: the producer has other readers
            self._writer = None
            return False
        self._after += len(events)
        if data:
            self._last_write = monotonic()
        if not is_taken:
            self._is_parked = False
        return is_taken and not isinstance(events[-1], Done) and not self._wire.is_over

    def _write_rest(self) -> None:
        if self._writer is not None and self._writer.has_rest:
            self._client.writing_since = monotonic()
            self._writer.flush()
            self._client.writing_since = None

    def wait_for_content(self, timeout: float) -> Sequence[Event]:
        """What comes after `start`, once there is something; nothing, if `timeout` seconds pass before."""
        until = monotonic() + timeout
        self._expected_until = until + EXPECTED_S
        while not (events := self.stream.log.after(max(1, self._after))):
            left = until - monotonic()
            if left <= 0 or self._client.gone:
                break
            self._bell.wait(left)
        self._made_at = monotonic()
        self._expected_until = self._made_at + EXPECTED_S
        return events

    def close(self) -> None:
        """May be called twice, and by a thread of another."""
        self._is_parked = False
        self.stream.log.unsubscribe(self._appended)
        self.stream.leave(self)

    def tick(self, now: float) -> None:
        """Look after the client, whose thread may be asleep or blocked."""
        if self._expected_until is not None and now > self._expected_until:
            self._give_up()
            return
        if self._client.has_left(now) or self._is_due(now):
            self._bell.ring()


class Client:
    """The far end of a response, watched from outside the thread that writes to it."""

    def __init__(self, connection: Any, send_timeout_s: float) -> None:
        self._connection = connection
        self._send_timeout_s = send_timeout_s
        self._next_look = 0.0
        self.writing_since: float | None = None
        self.gone = False

    def has_left(self, now: float) -> bool:
        """Look at the connection, twice a second at most; cut one that has not been read from for too long."""
        since = self.writing_since
        if self._connection is None or self.gone:
            return self.gone
        if since is not None:
            if now - since > self._send_timeout_s:
                self.gone = True
                sockets.shut_down(self._connection)  # a write fails with EPIPE: servers take that for a client gone
        elif now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self.gone = sockets.has_ended(self._connection)
        return self.gone
