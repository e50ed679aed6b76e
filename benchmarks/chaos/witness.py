"""What the readers got, and what is wrong about it."""

from __future__ import annotations

import json
from collections import Counter
from collections import defaultdict
from dataclasses import dataclass
from dataclasses import field

LOST = 900_000_000
"""Numbers from here are of the end that is written for a lost worker."""

REFUSED = {"log_unavailable", "ledger_unavailable", "too_many_streams", "overloaded", "internal"}
"""Failures of streams that were never started: nothing was bought, and the client asks again."""


@dataclass(frozen=True)
class Event:
    kind: str
    data: str

    def get(self, name: str) -> str:
        return str(json.loads(self.data).get(name, ""))


@dataclass
class Seen:
    """A stream, as all its readers together saw it."""

    question: int
    events: dict[int, Event] = field(default_factory=dict)

    @property
    def text(self) -> str:
        pieces = (event for _, event in sorted(self.events.items()))
        return "".join(event.get("text") for event in pieces if event.kind == "delta")

    @property
    def ends(self) -> set[str]:
        return {event.get("status") for event in self.events.values() if event.kind == "done"}

    @property
    def failures(self) -> set[str]:
        return {event.get("code") for event in self.events.values() if event.kind == "failure"}

    @property
    def is_refused(self) -> bool:
        return bool(self.failures & REFUSED) and not self.text


class Witness:
    def __init__(self) -> None:
        self.streams: dict[str, Seen] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.counts: Counter[str] = Counter()

    def fault(self, kind: str, detail: str) -> None:
        self.faults[kind].append(detail)

    def saw(self, who: str, question: int, stream_id: str, before: int, number: int, event: Event) -> None:
        """A reader whose last event was number `before` got this one."""
        self.counts["events"] += 1
        seen = self.streams.setdefault(stream_id, Seen(question))
        if seen.question != question:
            self.fault("streams of two questions", f"{stream_id} {who}")
        known = seen.events.setdefault(number, event)
        if known != event:
            self.fault("numbers with two contents", f"{stream_id}-{number} {who}: {known} and {event}")
        is_told = number == LOST and event.kind == "failure" and event.get("code") == "worker_lost"
        if number != before + 1 and not (is_told and before < LOST):
            self.fault("gaps or repetitions", f"{stream_id} {who}: {number} {event.kind} after {before}")
