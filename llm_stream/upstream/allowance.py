"""How many calls may be hedged."""

from __future__ import annotations

import threading

SHARE = 0.05
"""How many of the calls may be hedged, so that a slow provider does not double the bill."""
MOST_SAVED = 5.0
"""Hedges that quiet times may save up: those of 100 calls."""


class Allowance:
    """A token bucket: each call adds a part of a hedge. One per worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._saved = 1.0

    def count_call(self) -> None:
        with self._lock:
            self._saved = min(self._saved + SHARE, MOST_SAVED)

    def take(self) -> bool:
        """Whether a call may be hedged now."""
        with self._lock:
            if self._saved < 1.0:
                return False
            self._saved -= 1.0
            return True
