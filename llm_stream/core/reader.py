"""Readers: each follows one event log into an HTTP response, and detects clients that disconnect or stop reading."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from collections.abc import Sequence
from math import inf
from random import randrange
from time import monotonic
from time import sleep
from typing import Any

from ..events import Done
from ..events import Event
from ..server import sockets
from ..server.gunicorn import Writer
from ..server.gunicorn import caller
from ..server.gunicorn import writer_past
from ..settings import Settings
from ..wire import Wire
from ..wire import sse
from .followed import Followed
from .log.memory import Bell

MOST_AT_ONCE = 256
"""The most events in one write: other greenlets run between writes, and a slow client keeps a write in memory."""

POLL_S = 0.5
"""How often the connection of an idle client is checked."""

EXPECTED_S = 1.0
"""How long a reader may take to begin. A server iterates a response at once, unless the app drops it."""


class Client:
    """The client of one response, checked by the clock's thread while the response's own thread sleeps or writes.

    `connection` is the client's socket, if the server exposes it. If not, only the second write after a disconnect
    fails.
    """

    def __init__(self, connection: Any, settings: Settings) -> None:
        self._connection = connection
        self._send_timeout_s = settings.send_timeout_s
        self._next_poll = 0.0
        self.heartbeat_s = settings.heartbeat_s or inf
        self.retry_ms = randrange(sse.RETRY_MS, 2 * sse.RETRY_MS) if settings.is_shared else sse.RETRY_MS
        """The reconnect delay of the client. With a shared log it is random: the readers of a stopping worker must not
        reconnect to the other workers all at once.
        """
        self.bell = Bell()
        """Wakes the thread of the response."""
        self.last_write = monotonic()
        self.writing_since: float | None = None
        self._taken: int | None = None
        self._taken_at = 0.0
        """When the client last accepted data."""
        self.disconnected = False

    def needs_heartbeat(self, now: float) -> bool:
        return now - self.last_write >= self.heartbeat_s

    def tick(self, now: float) -> None:
        """Wake the thread of the response if the client has disconnected, or needs a heartbeat."""
        if not self.disconnected and self._connection is not None:
            self._check_connection(now)
        if self.disconnected or self.needs_heartbeat(now):
            self.bell.ring()

    def _check_connection(self, now: float) -> None:
        since = self.writing_since
        is_due = now >= self._next_poll
        if is_due:
            self._next_poll = now + POLL_S
        if since is not None:
            if is_due:
                self._look_what_is_taken(now)
            if now - max(since, self._taken_at) > self._send_timeout_s:
                self.disconnected = True
                sockets.shut_down(self._connection)  # the write fails with EPIPE, which servers treat as a disconnect
        elif is_due:
            self.disconnected = sockets.has_ended(self._connection)

    def _look_what_is_taken(self, now: float) -> None:
        """Note when the client last accepted data: a slow client that takes long for a large write is still reading."""
        taken = sockets.bytes_taken(self._connection)
        if taken != self._taken:
            self._taken, self._taken_at = taken, now


class Reader:
    """One reader of a stream. Exhaust it or `close()` it, because the stream counts its readers.

    A reader that never begins, because its response was replaced or dropped, is counted for `EXPECTED_S` only.
    """

    def __init__(self, stream: Followed, client: Client, *, after: int = 0) -> None:
        """Readers that share a response share its `client`."""
        self.stream = stream
        self._after = after
        self._client = client
        self._wire: Wire | None = None
        self._writer: Writer | None = None
        self._may_write_past = stream.settings.fast_path
        self._is_parked = False
        self._created_at = monotonic()
        self._expected_until: float | None = self._created_at + EXPECTED_S
        """None once it has begun."""
        self._join()

    def batches(self) -> Iterator[tuple[int, Sequence[Event]]]:
        """Yields the number of the first event, and at most `MOST_AT_ONCE` events; none if a heartbeat is due.

        Ends after `Done`. Raises `ConnectionResetError` when the client has disconnected.
        """
        log, client = self.stream.log, self._client
        self._begin()
        try:
            while True:
                ended = log.ended
                first, batch = log.after(self._after, MOST_AT_ONCE)
                if client.disconnected:
                    raise ConnectionResetError(errno.ECONNRESET, "the client has disconnected")
                if self._wire is not None and self._wire.is_over:
                    return
                if batch or client.needs_heartbeat(monotonic()):
                    self._after = first + len(batch) - 1
                    client.writing_since = client.last_write = monotonic()
                    yield first, batch
                    client.writing_since = None
                    if len(batch) == MOST_AT_ONCE:
                        sleep(0)
                elif ended:
                    return
                else:
                    self._is_parked = self._writer is not None
                    # no timeout: that would be a timer per event, and the clock rings for heartbeats
                    client.bell.wait(None)
                    self._is_parked = False
                    if self._writer is not None and self._writer.has_rest:
                        client.writing_since = monotonic()
                        self._writer.flush()
                        client.writing_since = None
        finally:
            self.close()

    def written(self, wire: Wire) -> Iterator[bytes]:
        """The events of `batches()`, encoded for `wire`. Ends without an exception when the client disconnects.

        Middleware between us and the server, such as Sentry's, would report an exception as an error of the app.
        """
        self._begin()
        client = self._client
        self._wire = wire
        if self._after and (last := self.stream.log.at(self._after)):
            wire.resume(last)
        opening = wire.opening(client.retry_ms)
        if self.stream.log.last <= self._after:
            yield opening
            opening = b""
        last_data = monotonic()
        try:
            for first, batch in self.batches():
                data = opening + self._encoded(wire, first, batch)
                if not data and client.last_write - last_data >= client.heartbeat_s:
                    data = wire.heartbeat  # also if this wire writes nothing for the events
                if data:
                    last_data, opening = client.last_write, b""
                    yield data
                    if self._may_write_past:
                        self._may_write_past = False  # checked once
                        self._writer = writer_past(caller())
        except ConnectionError:
            pass

    def rest(self, wire: Wire) -> tuple[bytes, bool]:
        """The next events, encoded for `wire`, and whether they are the last. For a response with several readers."""
        self._begin()
        ended = self.stream.log.ended
        first, events = self.stream.log.after(self._after, MOST_AT_ONCE)
        if not events:
            return b"", ended
        self._after = first + len(events) - 1
        if len(events) == MOST_AT_ONCE:
            sleep(0)
        return self._encoded(wire, first, events), isinstance(events[-1], Done)

    def _encoded(self, wire: Wire, first: int, events: Sequence[Event]) -> bytes:
        """The bytes of `events`. Readers at the same place share one encoding."""
        if not wire.is_the_same_for_all or len(self.stream.readers) == 1:
            return wire.encode(self.stream.id, first, events)
        place = (type(wire), first, len(events))
        last = self.stream.last_written
        if last is None or last[:3] != place:
            last = self.stream.last_written = (*place, wire.encode(self.stream.id, first, events))
        return last[3]

    def _join(self) -> None:
        self.stream.log.subscribe(self._appended)
        self.stream.join(self)

    def _begin(self) -> None:
        if self._expected_until is None:
            return
        self._expected_until = None
        if self not in self.stream.readers:  # `tick()` had dropped it
            self._join()

    def _appended(self, first: int, events: Sequence[Event]) -> None:
        """Write the events from here if the reader's thread only waits for them; otherwise wake that thread."""
        if not (self._is_parked and self._after == first - 1 and self._write_past(first, events)):
            self._client.bell.ring()

    def _write_past(self, first: int, events: Sequence[Event]) -> bool:
        """Write to the client from the producer's greenlet. Return whether the reader's greenlet may stay asleep."""
        assert self._wire is not None and self._writer is not None
        try:
            data = self._encoded(self._wire, first, events)
            is_taken = not data or self._writer.write(data)
        except OSError:
            self._client.disconnected = True
            return False
        except Exception:  # the reader's own greenlet hits it again; the producer must serve its other readers
            self._writer = None
            return False
        self._after += len(events)
        if data:
            self._client.last_write = monotonic()
        if not is_taken:
            self._is_parked = False
        return is_taken and not isinstance(events[-1], Done) and not self._wire.is_over

    def wait_for_content(self, timeout: float) -> Sequence[Event]:
        """Wait for events after `Start` and return them; none after `timeout` seconds, or if the client disconnects."""
        until = monotonic() + timeout
        self._expected_until = until + EXPECTED_S
        while not (events := self.stream.log.after(max(1, self._after))[1]):
            left = until - monotonic()
            if left <= 0 or self._client.disconnected:
                break
            self._client.bell.wait(left)
        self._created_at = monotonic()
        self._expected_until = self._created_at + EXPECTED_S
        return events

    def dismiss(self) -> None:
        self._client.disconnected = True
        self._client.bell.ring()

    def close(self) -> None:
        """May be called twice, and from any thread."""
        self._is_parked = False
        self.stream.log.unsubscribe(self._appended)
        self.stream.leave(self)

    def tick(self, now: float) -> None:
        """Called by the clock. A reader whose response is never iterated counts as gone from its creation on."""
        if self._expected_until is not None and now > self._expected_until:
            self.stream.log.unsubscribe(self._appended)
            self.stream.leave(self, since=self._created_at)
        else:
            self._client.tick(now)
