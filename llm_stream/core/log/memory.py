"""The event log, in the memory of one worker."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from threading import Lock

import msgspec

from ...events import Delta
from ...events import Done
from ...events import Event


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


def size_of(event: Event) -> int:
    """The memory that an event takes, roughly. Text that is not ASCII takes up to 4 bytes per character."""
    if type(event) is Delta:
        text = event.text
        return EVENT_BYTES + (len(text) if text.isascii() else 4 * len(text))
    return EVENT_BYTES + len(msgspec.json.encode(event))


Subscriber = Callable[[int, Sequence[Event]], None]
"""Called for every append, with the number of the first event, and the events."""


class MemoryLog:
    """Numbered and append-only: the first event is number 1. Only one thread may append at a time."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._subscribers: tuple[Subscriber, ...] = ()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def ended(self) -> bool:
        """Whether it holds `Done`: nothing is appended after that."""
        return bool(self._events) and isinstance(self._events[-1], Done)

    def append(self, events: Sequence[Event]) -> None:
        """Append all of them at once: a reader never sees only a part."""
        if not events:
            return
        first = len(self._events) + 1
        self._events.extend(events)
        for notify in self._subscribers:
            notify(first, events)

    def after(self, number: int) -> list[Event]:
        """The events after number `number`."""
        return self._events[number:]

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` in the thread that appends. It must not block."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers = tuple(other for other in self._subscribers if other != subscriber)
