"""Keeps a model's original text for the bill, because the stream's log may have another text."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Event
from ..upstream.source import Attempt


class Written:
    """Keeps the events of attempts. Attempts that keep their own events already are left alone."""

    def __init__(self) -> None:
        self._kept_here: set[Attempt] = set()

    def keep(self, batch: list[Event], attempts: Sequence[Attempt]) -> None:
        """Keep `batch` for the last of `attempts`. There may be none: tool results can precede the first attempt."""
        if not attempts:
            return
        attempt = attempts[-1]
        if attempt.written is None:
            attempt.written = []
            self._kept_here.add(attempt)
        if attempt in self._kept_here:
            attempt.written += batch
