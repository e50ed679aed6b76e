"""What a model has written, kept for the bill where the stream's log has something else."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Event
from ..upstream.source import Attempt


class Written:
    """Keeps the events of attempts. Attempts that keep their own events already are left alone."""

    def __init__(self) -> None:
        self._kept_here: set[Attempt] = set()

    def keep(self, batch: list[Event], attempts: Sequence[Attempt]) -> None:
        """The events of the last of these attempts. Results of tools may come before the first one."""
        if not attempts:
            return
        attempt = attempts[-1]
        if attempt.written is None:
            attempt.written = []
            self._kept_here.add(attempt)
        if attempt in self._kept_here:
            attempt.written += batch
