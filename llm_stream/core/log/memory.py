"""The event log, in the memory of one worker."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from threading import Lock

import msgspec

from ...events import Delta
from ...events import Done
from ...events import Event
from ...events import Partial


class Bell:
    """Wakes the one thread that waits for it. Ringing it twice before that thread wakes costs nothing.

    It is a bare lock because it rings for every read of every stream, and `threading.Event` and `Condition` cost
    several times as much under gevent.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self._rung = False

    def ring(self) -> None:
        if not self._rung:
            self._rung = True
            try:
                self._lock.release()
            except RuntimeError:  # another thread rang it at the same moment
                pass

    def wait(self, timeout: float | None) -> bool:
        """Return whether it rang within `timeout` seconds (None: no limit). Read the log after this call only."""
        rung = self._lock.acquire(timeout=-1 if timeout is None else timeout)
        if rung:
            self._rung = False
        return rung


EVENT_BYTES = 88
"""Memory that an event takes besides its text; measured."""

PARTIAL_FACTOR = 3
"""Memory that the value of a `Partial` takes, in sizes of its JSON; measured."""


def size_of(event: Event) -> int:
    """The memory that an event takes, roughly. Text that is not ASCII takes up to 4 bytes per character."""
    if type(event) is Delta:
        text = event.text
        return EVENT_BYTES + (len(text) if text.isascii() else 4 * len(text))
    size = len(msgspec.json.encode(event))
    return EVENT_BYTES + (PARTIAL_FACTOR * size if type(event) is Partial else size)


def fitting_of(batch: list[Event], size: int, limit: int) -> tuple[list[Event], int]:
    """The events of `batch` that still fit into a log of `size` bytes, up to `limit`.

    Also returns the new size of the log, including the first event that does not fit.
    """
    whole = size + sum(map(size_of, batch))
    if whole <= limit:
        return batch, whole
    for count, event in enumerate(batch):
        size += size_of(event)
        if size > limit:
            return batch[:count], size
    return batch, size


Subscriber = Callable[[int, Sequence[Event]], None]
"""Called for every append, with the number of the first event, and the events."""


LOST = 900_000_000
"""The number of the first event in the end of a lost stream, which another worker writes when the stream's worker dies.

Readers of the dead worker may have seen events that no other worker knows. The end must not reuse their numbers, so it
begins at a number that no stream reaches: each event takes at least `EVENT_BYTES` of `LLM_STREAM_MAX_STREAM_BYTES`.
"""


class MemoryLog:
    """Numbered and append-only: the first event is number 1. Only one thread may append at a time.

    Numbers have no gaps, except before the end of a lost stream, which begins at `LOST`.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._end_of_lost: list[Event] = []
        self._subscribers: tuple[Subscriber, ...] = ()
        self._lock = Lock()

    @property
    def last(self) -> int:
        """The number of the last event; 0 if there is none."""
        return LOST - 1 + len(self._end_of_lost) if self._end_of_lost else len(self._events)

    @property
    def events(self) -> list[Event]:
        """All events."""
        return self._events + self._end_of_lost

    @property
    def ended(self) -> bool:
        """Whether it holds `Done`: nothing is appended after that."""
        return bool(self._events) and isinstance((self._end_of_lost or self._events)[-1], Done)

    def append(self, events: Sequence[Event]) -> None:
        """Append all `events` at once: a reader never sees only a part of them."""
        if not events:
            return
        first = len(self._events) + 1
        self._events.extend(events)
        self._notify(first, events)

    def append_end_of_lost(self, events: Sequence[Event]) -> None:
        """Append the end that was written for a lost stream."""
        self._end_of_lost.extend(events)
        self._notify(LOST, events)

    def after(self, number: int, most: int | None = None) -> tuple[int, list[Event]]:
        """The number of the first event after `number`, and at most `most` events from there on, without a gap."""
        if number < len(self._events) or not self._end_of_lost:
            return number + 1, self._events[number : None if most is None else number + most]
        first = max(number + 1, LOST)
        return first, self._end_of_lost[first - LOST :][:most]

    def at(self, number: int) -> Event | None:
        """The event with this number; None if this log does not have it."""
        first, events = self.after(number - 1)
        return events[0] if events and first == number else None

    def _notify(self, first: int, events: Sequence[Event]) -> None:
        for notify in self._subscribers:
            notify(first, events)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` in the thread that appends. It must not block."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers = tuple(other for other in self._subscribers if other != subscriber)
