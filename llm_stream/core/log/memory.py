"""A log in the memory of one worker."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from threading import Lock

import msgspec

from ...events import Delta
from ...events import Done
from ...events import Event


class Bell:
    """Wakes the one thread that waits for it; ringing it again before that costs nothing.

    A bare lock, because `threading.Event` and `Condition` cost several times as much under gevent, and this is rung
    for every read of every stream.
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
            except RuntimeError:  # another thread rings it in the same moment
                pass

    def wait(self, timeout: float | None) -> bool:
        """Whether it was rung within `timeout` seconds (None: for ever). Look at the log afterwards, not before."""
        rung = self._lock.acquire(timeout=-1 if timeout is None else timeout)
        if rung:
            self._rung = False
        return rung


EVENT_BYTES = 88
"""What an event takes beside its text; measured."""


def size_of(event: Event) -> int:
    """About what it takes in memory; text that is not ASCII takes more than its length."""
    if type(event) is Delta:
        text = event.text
        return EVENT_BYTES + (len(text) if text.isascii() else 4 * len(text))
    return EVENT_BYTES + len(msgspec.json.encode(event))


Subscriber = Callable[[int, Sequence[Event]], None]
"""Is told of every append: the number of the first event, and the events."""


class MemoryLog:
    """Numbered, append-only. Event n is the n-th appended, from 1; one thread appends at a time."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._subscribers: tuple[Subscriber, ...] = ()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def ended(self) -> bool:
        """Whether the last event is the last for ever."""
        return bool(self._events) and isinstance(self._events[-1], Done)

    def append(self, events: Sequence[Event]) -> None:
        """All of them at once: a reader never sees half."""
        if not events:
            return
        first = len(self._events) + 1
        self._events.extend(events)
        for tell in self._subscribers:
            tell(first, events)

    def after(self, number: int) -> list[Event]:
        """The events with higher numbers."""
        return self._events[number:]

    def subscribe(self, subscriber: Subscriber) -> None:
        """It is called in the appending thread, which it must not keep."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers = tuple(other for other in self._subscribers if other != subscriber)
