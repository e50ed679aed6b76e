"""Records the readers' events and the faults in them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from time import time

LOST = 900_000_000
"""Numbers from here on belong to the end that another worker writes for a lost worker."""

REFUSED = {"log_unavailable", "ledger_unavailable", "too_many_streams", "overloaded", "internal"}
"""Failures of streams that never started: nothing was bought, and the client repeats the request."""


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
    def figures(self) -> list[tuple[int | None, int | None]]:
        told = [json.loads(event.data) for event in self.events.values() if event.kind == "usage"]
        return [(figures.get("input_tokens"), figures.get("output_tokens")) for figures in told]

    @property
    def failures(self) -> set[str]:
        return {event.get("code") for event in self.events.values() if event.kind == "failure"}

    @property
    def is_refused(self) -> bool:
        return bool(self.failures & REFUSED) and not self.text


@dataclass(frozen=True)
class Fault:
    kind: str
    detail: str
    question: int | None
    """The question's number; None for a fault of no single stream."""


class Witness:
    def __init__(self) -> None:
        self.streams: dict[str, Seen] = {}
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self.times: dict[int, tuple[float, float]] = {}
        """For each question: the time of the request, and the time of its readers' last event."""

    def fault(self, kind: str, detail: str, question: int | None = None) -> None:
        self.faults.append(Fault(kind, detail, question))

    def asked(self, question: int) -> None:
        self.times[question] = (time(), time())

    def saw(self, who: str, question: int, stream_id: str, before: int, number: int, event: Event) -> None:
        """Record that a reader whose last event was number `before` got this event."""
        self.counts["events"] += 1
        self.times[question] = (self.times[question][0], time())
        seen = self.streams.setdefault(stream_id, Seen(question))
        if seen.question != question:
            self.fault("streams of two questions", f"{stream_id} {who}", question)
        known = seen.events.setdefault(number, event)
        if known != event:
            self.fault("numbers with two contents", f"{stream_id}-{number} {who}: {known} and {event}", question)
        is_told = number == LOST and event.kind == "failure" and event.get("code") == "worker_lost"
        if number != before + 1 and not (is_told and before < LOST):
            self.fault("gaps or repetitions", f"{stream_id} {who}: {number} {event.kind} after {before}", question)
