"""The circuit breaker: skips an upstream that is down, so calls go to the next upstream at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from time import monotonic

logger = logging.getLogger("llm_stream")

FAILURES = 3
"""The number of consecutive failures that opens the breaker."""
FIRST_COOL_DOWN_S = 5.0
LONGEST_COOL_DOWN_S = 120.0


class Breaker:
    """Counts consecutive failures that show that the upstream is down. One breaker per upstream and worker.

    A closed breaker lets every call through. An open breaker lets no call through until the cool-down has passed. Then
    it lets one trial through. If the trial succeeds, the breaker closes. If the trial fails, the breaker opens again,
    for twice as long.
    """

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = Lock()
        self._failures = 0
        self._cool_down_s = 0.0
        self._open_until: float | None = None
        self._is_on_trial = False

    @property
    def is_open(self) -> bool:
        return self._open_until is not None

    @property
    def has_failures(self) -> bool:
        return self._failures > 0 or self.is_open

    def admit(self) -> bool:
        """Whether a call may be made now. The caller reports the call's end by one of the methods below."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._is_on_trial or self._clock() < self._open_until:
                return False
            self._is_on_trial = True
            return True

    def succeeded(self) -> None:
        """The upstream answered. If there are failures, this may log, so do not call it in the event loop then."""
        with self._lock:
            was_open = self.is_open
            self._failures, self._cool_down_s, self._open_until, self._is_on_trial = 0, 0.0, None, False
        if was_open:
            logger.info("upstream %s answers again, so its breaker is closed", self._name)

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if (self.is_open and not self._is_on_trial) or self._failures < FAILURES:
                return
            self._cool_down_s = min(max(FIRST_COOL_DOWN_S, 2 * self._cool_down_s), LONGEST_COOL_DOWN_S)
            self._open_until, self._is_on_trial = self._clock() + self._cool_down_s, False
            failures, cool_down_s = self._failures, self._cool_down_s
        logger.warning(
            "upstream %s failed %d times in a row: its breaker is open for %.0f s", self._name, failures, cool_down_s
        )

    def released(self) -> None:
        """The call ended without showing whether the upstream is down. Another trial may be made."""
        with self._lock:
            self._is_on_trial = False
