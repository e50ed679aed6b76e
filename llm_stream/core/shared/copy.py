"""Tracks which events of a stream the store and the following workers already have."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from time import time
from typing import Any

from ...events import Done
from ...events import Event
from ...upstream.source import Attempt
from ...usage import estimate
from ..log.memory import Subscriber
from ..stream import Stream
from .entries import Account
from .entries import Call
from .entries import Header
from .entries import encode
from .entries import encode_struct
from .entries import pieces_of
from .store import Entry
from .store import Opening
from .store import Store

FOLLOWS_S = 4.0
"""A worker that follows a stream confirms it at each beat. After this long without one, its readers count as gone."""


EXPECTED_S = 2.0
"""How long a worker that has found a stream may take to get a reader. Then it counts as gone since its last request."""


def _ignore(first: int, events: Sequence[Event]) -> None:
    """The subscriber of a copy until the shipper subscribes."""


class RemoteReader:
    """Another worker that follows the stream. It counts as a reader while it has readers of its own, or may get one."""

    def __init__(self, stream: Stream, store: Store) -> None:
        self._stream = stream
        self._store = store
        self.after = 0
        """The number of the last event that was pushed to that worker."""
        self.count = 0
        """How many readers that worker has."""
        self.heard_at = monotonic()
        self.is_asking = True
        """That worker waits for an answer, even if there is nothing new."""

    @property
    def is_gone(self) -> bool:
        """False while the store is unavailable: then no confirmation can arrive, and the readers may still be there."""
        return not self._store.is_away and monotonic() - self.heard_at > FOLLOWS_S

    def hear(self, after: int, count: int) -> None:
        """That worker reports the last event that it has, and its number of readers. It may have missed a push."""
        self.after, self.count, self.heard_at, self.is_asking = after, count, monotonic(), True
        self._stream.join(self)

    def leave(self, since: float | None = None) -> None:
        if self in self._stream.readers:
            self._stream.leave(self, since)

    def dismiss(self) -> None:
        """Does nothing: only readers of a mirror are dismissed, and this one reads the stream itself."""

    def tick(self, now: float) -> None:
        if self._store.is_away:
            self.heard_at = now
        elif now - self.heard_at > (FOLLOWS_S if self.count else EXPECTED_S):
            self.leave(since=self.heard_at)


class Copy:
    """What the store and the following workers have of a stream. The thread that appends to the stream only reads."""

    def __init__(self, stream: Stream, worker: str, fingerprint: bytes) -> None:
        self.stream = stream
        self.last = 0
        """The number of the last event in the store."""
        self.appended_at = 0.0
        self.followers: dict[str, RemoteReader] = {}
        self.readers_told = 0
        self.subscriber: Subscriber = _ignore
        self._worker = worker
        self._created = time()
        self._fingerprint = fingerprint
        self._attempts_told: tuple[Any, ...] = ()
        self._sizes: dict[int, int | None] = {}

    @property
    def is_behind(self) -> bool:
        """Whether the store lacks events."""
        return self.last < self.stream.log.last

    @property
    def is_complete(self) -> bool:
        """Whether the stream has ended, and the store and all workers that follow have all of it."""
        log = self.stream.log
        return log.ended and not self.is_behind and all(f.after >= log.last for f in list(self.followers.values()))

    @property
    def readers(self) -> int:
        """The number of readers at all workers."""
        readers = tuple(self.stream.readers)
        return sum(reader.count if isinstance(reader, RemoteReader) else 1 for reader in readers)

    def opening(self) -> Opening:
        """All events so far, as the first entry."""
        stream = self.stream
        return Opening.of(
            stream.id, self.header, stream.log.events, self._account(), stream.settings, self._fingerprint
        )

    @property
    def header(self) -> Header:
        stream, metadata = self.stream, dict(self.stream.metadata)
        return Header(
            stream.owner, self._worker, self._created, stream.key, stream.model, metadata, stream.request or None
        )

    def entry(self) -> Entry:
        """The next entry: the events that the store does not have yet."""
        first, events = self.stream.log.after(self.last)
        fields: dict[str, bytes] = {"events": encode(events)}
        if isinstance(events[-1], Done):
            fields["status"] = events[-1].status.encode()
        elif (told := self._told()) != self._attempts_told:
            self._attempts_told = told
            fields["account"] = encode_struct(self._account())
        return Entry(self.stream.id, first + len(events) - 1, fields)

    def push(self, follower: RemoteReader) -> tuple[int, list[Any]] | None:
        """The events that a worker does not have, in the form of `Push`; None if there is nothing to say."""
        first, events = self.stream.log.after(follower.after)
        if not events and not follower.is_asking:
            return None
        follower.after = first + len(events) - 1
        follower.is_asking = False
        return first, pieces_of(events)

    def _told(self) -> tuple[Any, ...]:
        """A value that changes whenever the account does. It must be cheap, because each entry needs it."""
        return tuple((attempt.accepted, attempt.upstream_model, attempt.figures) for attempt in self.stream.attempts)

    def _account(self) -> Account:
        stream = self.stream
        attempts = stream.attempts or self._first_attempts()
        calls = [Call.of(attempt, self._input_tokens(attempt)) for attempt in attempts]
        ttft_s = stream.first_content_at - stream.started_at if stream.first_content_at else None
        return Account(calls, ttft_s, stream.meter.currency if stream.meter else None)

    def _first_attempts(self) -> list[Attempt]:
        """The call that is about to be made. If the worker dies before the first token, the provider may bill it."""
        if self.stream.is_released:
            return []
        source = self.stream.source
        return [Attempt(source.asked.model, source.asked, source.base_url, accepted=True)]

    def _input_tokens(self, attempt: Attempt) -> int | None:
        """Estimated once per request, because all attempts at a request have the same input."""
        asked = attempt.asked
        if asked.messages is None:
            return None
        if id(asked) not in self._sizes:
            self._sizes[id(asked)] = estimate.input_tokens(asked.messages)
        return self._sizes[id(asked)]
