"""What the troubles of a run excuse: an end that no other worker could be told of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from math import inf
from typing import Any

from .server import GRACE_S
from .troubles import Spell

NOTICED_S = 1.5
"""How soon a worker tries an engine again that is back."""

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
        """Whether the stream's worker died, or was frozen, before the engine could be told of the end in this row.

        Readers of that worker have the end, because they never wait for the engine; for others the stream is lost.
        """
        ended_at, pid = _ended_at(row), int(row["worker"].split(":")[-2])
        silent_at = min(
            (at for spell in self._workers if pid in spell.pids and (at := _silent_at(spell, ended_at))), default=inf
        )
        if silent_at < ended_at + SHIPPED_S:
            return True
        return any(
            since - SHIPPED_S < ended_at < until + NOTICED_S and silent_at < until + NOTICED_S
            for since, until in self._away
        )


def _silent_at(spell: Spell, ended_at: float) -> float:
    """When a worker that ended a stream at `ended_at` stopped to tell of it; 0 if that was before."""
    until = spell.since + GRACE_S + 1.0 if spell.kind == "reload" else spell.until
    if spell.kind in ("reload", "restart"):
        return until if ended_at < until else 0.0
    return max(spell.since, ended_at) if ended_at < until + SHIPPED_S else 0.0


def _ended_at(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(str(row["ended"])).replace(tzinfo=UTC).timestamp()
