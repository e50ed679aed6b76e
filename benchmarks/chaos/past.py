"""Knows which faults the troubles of a run excuse: ends that could not reach other workers or the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from math import inf
from time import time
from typing import Any

from .plan import JUMP_S
from .troubles import Spell

NOTICED_S = 1.5
"""How soon a worker retries an engine that is back."""

UNRECORDED = re.compile(r"the record of stream (\w+) is not in the ledger yet")

CLOCKS_S = 0.1
"""How long before its arrival a signal may have been sent."""

SHIPPED_S = 0.5
"""How long after its end a stream may exist only in its worker's memory."""

Times = list[tuple[float, float]]


class Past:
    def __init__(self, spells: Sequence[Spell], logs: Iterable[str]) -> None:
        self.spells = spells
        self._unrecorded = {id for log in logs for id in UNRECORDED.findall(log)}
        self._workers = [spell for spell in spells if spell.area == "worker"]
        self._full = [spell for spell in spells if spell.area == "ledger" and spell.kind == "full"]
        self._away = _together(_of(spells, "engine", "worker–Redis"), NOTICED_S)

    def could_not_tell(self, row: dict[str, Any]) -> bool:
        """Whether other workers had to consider the stream lost, although its row or its readers have a different end.

        Readers of the writing worker get the end from its memory, because they never wait for the engine. If that
        worker dies or freezes before it can write the end to the engine, all other workers consider the stream lost.
        And a worker that wakes while the engine is unreachable cannot know that it was considered dead.
        """
        ended_at, mine = _ended_at(row), self._of_worker(row)
        if row["error_code"] == "worker_lost":
            woken = [spell.until for spell in mine if spell.kind == "freeze" and spell.until > ended_at]
            return any(_is_within(self._away, at, NOTICED_S) for at in woken)
        if self.was_silenced(row):
            return True
        silent_at = self._silent_after(ended_at, mine)
        return any(
            since - SHIPPED_S < ended_at < until + NOTICED_S and silent_at < until + NOTICED_S
            for since, until in self._away
        )

    def is_unrecorded(self, id: str) -> bool:
        """Whether the stream's worker logged that the ledger did not accept the record within a second."""
        return id in self._unrecorded

    def could_not_record(self, row: dict[str, Any], settled_at: float) -> bool:
        """Whether the worker logged that it could not record the stream, and then ended.

        Readers wait at most a second for the ledger. A worker whose disk is full cannot log.
        """
        is_full = any(spell.since - SHIPPED_S < settled_at < spell.until + NOTICED_S for spell in self._full)
        return (is_full or self.is_unrecorded(row["id"])) and self._has_ended(row)

    def was_silenced(self, row: dict[str, Any]) -> bool:
        """Whether the worker died or froze within a moment of the end in this row."""
        ended_at = _ended_at(row)
        return any(-CLOCKS_S < spell.silent_at - ended_at < SHIPPED_S for spell in self._of_worker(row))

    def _has_ended(self, row: dict[str, Any]) -> bool:
        """Whether the stream's worker died or froze after the stream's start."""
        started = _real(row["started"])
        return any(spell.until > started for spell in self._of_worker(row))

    def names_within(self, since: float, until: float) -> set[str]:
        """The troubles in this period."""
        return {spell.trouble.name for spell in self.spells if spell.since < until and spell.until > since}

    def _of_worker(self, row: dict[str, Any]) -> list[Spell]:
        pid = int(row["worker"].split(":")[-2])
        return [spell for spell in self._workers if pid in spell.pids]

    def _silent_after(self, at: float, spells: Iterable[Spell]) -> float:
        return min((spell.silent_at for spell in spells if spell.silent_at > at - CLOCKS_S), default=inf)


def _of(spells: Iterable[Spell], *areas: str) -> list[Spell]:
    return sorted((spell for spell in spells if spell.area in areas), key=lambda spell: spell.since)


def _together(spells: Iterable[Spell], gap_s: float) -> Times:
    """The periods of these spells. Joins spells with short gaps."""
    times: Times = []
    for spell in spells:
        if times and spell.since < times[-1][1] + gap_s:
            times[-1] = (times[-1][0], max(spell.until, times[-1][1]))
        else:
            times.append((spell.since, spell.until))
    return times


def _is_within(times: Times, at: float, margin_s: float) -> bool:
    return any(since - margin_s < at < until + margin_s for since, until in times)


def _ended_at(row: dict[str, Any]) -> float:
    return _real(row["ended"])


def _real(shown: object) -> float:
    """The real time. A row has the time of its worker's clock, which may have jumped."""
    at = datetime.fromisoformat(str(shown)).replace(tzinfo=UTC).timestamp()
    return at - JUMP_S * round((at - time()) / JUMP_S)
