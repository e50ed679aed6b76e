"""The queue of an upstream with limits: fair between owners, first come first served for each owner."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections import deque
from collections.abc import Callable
from time import monotonic

MINUTE_S = 60.0


class Ticket:
    """A call's place in the queue, and later its slot. `leave()` gives either of them up."""

    def __init__(self, queue: FairQueue, owner: str) -> None:
        self.owner = owner
        self.has_slot = False
        self.has_left = False
        self._queue = queue
        self._news = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a slot. Returns False after `timeout_s`, or after a call of `leave()`."""
        until = monotonic() + timeout_s
        while not (self.has_slot or self.has_left):
            left = until - monotonic()
            if left <= 0:
                break
            again_s = self._queue.seconds_until_next(self)
            self._news.wait(left if again_s is None else min(left, again_s))
            self._news.clear()
            self._queue.dispatch()
        return self.has_slot and not self.has_left

    def wake(self) -> None:
        self._news.set()

    def leave(self) -> None:
        """Must be called at the end of every upstream call. May be called several times, and from any thread."""
        self._queue.leave(self)


class FairQueue:
    """Gives slots to calls. It limits the calls at once and the calls within any 60 seconds. One per upstream and
    worker.

    The queue has no thread. The next call waits for the time when it may start. The other calls wait for earlier calls
    to start or to end.
    """

    def __init__(self, at_once: int | None, per_minute: int | None, clock: Callable[[], float] = monotonic) -> None:
        self._at_once = at_once
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()
        """The waiting calls by owner. The first owner gets the next slot."""
        self._running = 0
        self._starts: deque[float] = deque()
        """The start times of the calls of the last minute."""
        self._paused_until = 0.0
        self._watching: Ticket | None = None
        """The ticket that waits for time to pass."""

    def enter(self, owner: str) -> Ticket:
        """A ticket, which has a slot already if one is free."""
        ticket = Ticket(self, owner)
        with self._lock:
            self._waiting.setdefault(owner, deque()).append(ticket)
        self.dispatch()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        with self._lock:
            if ticket.has_left:
                return
            ticket.has_left = True
            if ticket.has_slot:
                self._running -= 1
            else:
                self._remove(ticket)
        ticket.wake()
        self.dispatch()

    def pause(self, seconds: float) -> None:
        """Start no calls for a while, because the upstream has requested that."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def dispatch(self) -> None:
        """Give slots to the calls that may start now, one owner after the other."""
        with self._lock:
            while (ticket := self._next()) and self._has_slot() and self._wait_s() <= 0:
                self._remove(ticket)
                if ticket.owner in self._waiting:
                    self._waiting.move_to_end(ticket.owner)
                ticket.has_slot = True
                self._running += 1
                if self._per_minute is not None:
                    self._starts.append(self._clock())
                ticket.wake()
            watching = ticket if self._has_slot() else None
            if watching is not self._watching:
                self._watching = watching
                if watching is not None:
                    watching.wake()

    def seconds_until_next(self, ticket: Ticket) -> float | None:
        """Seconds until `ticket` may start; None if it waits for other calls."""
        with self._lock:
            is_next = self._next() is ticket and self._has_slot()
            return max(self._wait_s(), 0.0) if is_next else None

    def _next(self) -> Ticket | None:
        return next(iter(self._waiting.values()))[0] if self._waiting else None

    def _remove(self, ticket: Ticket) -> None:
        tickets = self._waiting[ticket.owner]
        tickets.remove(ticket)
        if not tickets:
            del self._waiting[ticket.owner]

    def _has_slot(self) -> bool:
        return self._at_once is None or self._running < self._at_once

    def _wait_s(self) -> float:
        now = self._clock()
        while self._starts and now - self._starts[0] >= MINUTE_S:
            self._starts.popleft()
        wait_s = self._paused_until - now
        if self._per_minute is not None and len(self._starts) >= self._per_minute:
            wait_s = max(wait_s, self._starts[0] + MINUTE_S - now)
        return wait_s
