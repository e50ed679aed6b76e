"""The leases of workers: this worker's own lease, and which other leases have run out."""

from __future__ import annotations

from collections.abc import Set
from time import monotonic

from .engine import Fill
from .roster import Beat
from .roster import Roster

BEAT_S = 1.0
LEASE_S = 6.0


class Lease:
    """One thread calls `beat()`; any thread reads."""

    def __init__(self, worker: str, roster: Roster) -> None:
        self.worker = worker
        self.alive: Set[str] = frozenset()
        self.due_at = 0.0
        self.woke_at = float("-inf")
        """When this process last resumed after a pause, for example of the machine."""
        self._roster = roster
        self._beat_at = float("-inf")
        self._since = float("inf")
        self._last: Beat | None = None
        self.was_emptied = False
        """Whether the last beat found that the engine has lost its data."""
        self.may_have_missed = True
        """Whether `check_all()` is due: this process was paused, or the engine was away, restarted or replaced."""

    @property
    def is_held(self) -> bool:
        """Whether no other worker can have considered this one dead."""
        return not self.may_have_missed and monotonic() - self._beat_at < LEASE_S

    @property
    def has_just_woken(self) -> bool:
        """Whether this process was paused until a moment ago."""
        now = monotonic()
        return now - self.due_at > 2 * BEAT_S or now - self.woke_at < BEAT_S

    def is_lost(self, worker: str) -> bool:
        """Whether that worker is dead. False until this worker has been connected for as long as a lease lasts.

        After an outage of the store or a pause of this process, the other workers need time to renew their leases.
        """
        return worker not in self.alive and monotonic() - self._since >= LEASE_S

    def beat(self, also: Fill) -> Beat:
        """Renew the lease. `also` may add commands to the round trip. Raises `LogUnavailable`."""
        began = monotonic()
        if began - self.due_at > 2 * BEAT_S:
            self.woke_at = began
        self.due_at = began + BEAT_S
        beat = self._roster.beat(self.worker, LEASE_S, also)
        last = self._last
        self.was_emptied = last is not None and last.epoch != beat.epoch
        if self.was_emptied or began - self._beat_at > 3 * BEAT_S or last is None or last.run != beat.run:
            self._since, self.may_have_missed = began, True
        self._beat_at, self._last, self.alive = began, beat, frozenset(beat.alive)
        return beat
