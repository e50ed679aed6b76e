"""What the troubles of a run excuse: an end that no other worker could be told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from math import inf
from typing import Any

from .troubles import Spell

NOTICED_S = 1.5
"""How soon a worker tries an engine again that is back."""

CLOCKS_S = 0.1
"""How much earlier a signal may have been sent than it arrived."""

SHIPPED_S = 0.5
"""How long after its end a stream may still be in its worker's memory only."""


class Past:
    def __init__(self, spells: Sequence[Spell]) -> None:
        self._workers = [spell for spell in spells if spell.server is not None]
        self._away: list[tuple[float, float]] = []
        for spell in sorted((s for s in spells if s.server is None), key=lambda s: s.since):
            if self._away and spell.since < self._away[-1][1] + NOTICED_S:
                self._away[-1] = (self._away[-1][0], max(spell.until, self._away[-1][1]))
            else:
                self._away.append((spell.since, spell.until))

    def could_not_tell(self, row: dict[str, Any]) -> bool:
        """Whether others had to take the stream for lost, though it has the end in this row, or its readers another.

        Readers of the worker that writes have the end from its memory, for they never wait for the engine. If the
        worker dies or freezes before it could tell the engine, the stream is lost for all others. And a worker that
        wakes while the engine is away cannot know that it was taken for dead.
        """
        ended_at, pid = _ended_at(row), int(row["worker"].split(":")[-2])
        mine = [spell for spell in self._workers if pid in spell.pids]
        if row["error_code"] == "worker_lost":
            woken = [spell.until for spell in mine if spell.kind == "freeze" and spell.until > ended_at]
            return any(self._is_away(at) for at in woken)
        silent_at = min((at for spell in mine if (at := spell.silent_at) > ended_at - CLOCKS_S), default=inf)
        if self.was_silenced(row):
            return True
        return any(
            since - SHIPPED_S < ended_at < until + NOTICED_S and silent_at < until + NOTICED_S
            for since, until in self._away
        )

    def was_silenced(self, row: dict[str, Any]) -> bool:
        """Whether the worker died, or was frozen, within a moment of the end in this row."""
        ended_at, pid = _ended_at(row), int(row["worker"].split(":")[-2])
        times = [spell.silent_at for spell in self._workers if pid in spell.pids]
        return any(-CLOCKS_S < at - ended_at < SHIPPED_S for at in times)

    def _is_away(self, at: float) -> bool:
        return any(since - NOTICED_S < at < until + NOTICED_S for since, until in self._away)


def _ended_at(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(str(row["ended"])).replace(tzinfo=UTC).timestamp()
