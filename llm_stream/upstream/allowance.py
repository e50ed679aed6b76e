"""Limits the number of hedges."""

from __future__ import annotations

import threading

SHARE = 0.05
"""The share of calls that may be hedged. Otherwise, a slow provider would double the bill."""
MOST_SAVED = 5.0
"""The maximum number of saved hedges, which is what 100 calls earn."""


class Allowance:
    """A token bucket: each call adds a fraction of a hedge. One per worker."""

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
