"""Copies the streams of this worker to the store, and pushes their events to the workers that follow them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING
from typing import Any

from ...errors import LogUnavailable
from ...events import Done
from ...events import Event
from ..log.memory import Bell
from ..remembered import Remembered
from ..remembered import digest
from . import messages
from .copy import Copy
from .copy import RemoteReader
from .roster import Roster
from .store import Store

if TYPE_CHECKING:
    from redis.client import Pipeline

logger = logging.getLogger("llm_stream")

PUSH_S = 0.025
"""How often new events are pushed to other workers."""

APPEND_S = 0.2
"""How often a stream's new events are appended to the store."""

MOST_WAITING = 512
"""With this many new events, an append does not wait."""

MOST_TOGETHER = 500
"""The most streams in one round trip, so that the engine can serve other workers in between."""


class Shipper:
    """Only the shipping thread calls `ship()`; any thread may call the other methods."""

    def __init__(self, worker: str, store: Store, roster: Roster) -> None:
        self._worker = worker
        self.store = store
        self._roster = roster
        self._copies: dict[str, Copy] = {}
        self._shipped: dict[str, Copy] = {}
        self._ended = Remembered(value_bytes=0)
        """The forgotten streams that this worker has written to their end."""
        self._to_append: set[Copy] = set()
        self._to_push: set[Copy] = set()
        self._shipped_at = 0.0
        self._is_urgent = False
        self.bell = Bell()
        """Wakes the thread that ships."""
        self.lost: dict[str, Sequence[Event]] = {}
        """The ends of streams that other workers have ended, because they considered this one dead."""

    # The streams

    def add(self, copy: Copy) -> None:
        """Register a stream. Nothing is shipped before `begin()`."""
        self._copies[copy.stream.id] = copy

    def begin(self, copy: Copy, last: int) -> None:
        """Start to ship the events after number `last`. The store has the stream up to there."""
        stream, copy.last = copy.stream, last
        copy.subscriber = partial(self._appended, copy)
        stream.log.subscribe(copy.subscriber)
        if copy.is_behind:
            self._ring(copy, is_urgent=True)

    def drop(self, copy: Copy) -> None:
        """Stop shipping a stream."""
        self._forget([copy])

    def forget(self, stream_id: str) -> None:
        """Forget a stream that is no longer kept."""
        if self._shipped.pop(stream_id, None):
            self._ended.keep(digest(stream_id))

    def has_ended(self, stream_id: str) -> bool:
        """Whether this worker has written the stream to its end, and forgotten it."""
        return digest(stream_id) in self._ended

    def get(self, stream_id: str) -> Copy | None:
        return self._copies.get(stream_id)

    def last(self, stream_id: str) -> int | None:
        """The number of the last event, shipped or not; None for a stream that this worker does not write."""
        copy = self._copies.get(stream_id) or self._shipped.get(stream_id)
        return copy.stream.log.last if copy else None

    def shipped(self, stream_id: str) -> Copy | None:
        """A stream that was shipped with its end, as long as this worker keeps it."""
        return self._shipped.get(stream_id)

    @property
    def copies(self) -> list[Copy]:
        return list(self._copies.values())

    def _appended(self, copy: Copy, first: int, events: Sequence[Event]) -> None:
        """Called for each token, by the thread that appends it."""
        is_urgent = first == 2 or isinstance(events[-1], Done) or first - copy.last > MOST_WAITING
        if is_urgent or copy not in self._to_append or (copy.followers and copy not in self._to_push):
            self._ring(copy, is_urgent)

    def _ring(self, copy: Copy, is_urgent: bool) -> None:
        self._to_append.add(copy)
        if copy.followers:
            self._to_push.add(copy)
        if is_urgent:
            self._is_urgent = True
        self.bell.ring()

    # Workers that follow

    def follow(self, worker: str, stream_id: str, after: int, readers: int) -> bool:
        """Push the events after number `after` to `worker`, with so many `readers`. False: the stream is unknown."""
        copy = self._copies.get(stream_id) or self._ship_again(stream_id)
        if copy is None:
            return False
        reader = copy.followers.get(worker)
        if reader is None:
            reader = copy.followers[worker] = RemoteReader(copy.stream, self.store)
        reader.hear(after, readers)
        self._to_push.add(copy)
        self.bell.ring()
        return True

    def leave(self, worker: str, stream_id: str) -> None:
        copy = self._copies.get(stream_id)
        if copy is not None and (reader := copy.followers.pop(worker, None)):
            reader.leave()

    def _ship_again(self, stream_id: str) -> Copy | None:
        """Resume shipping an ended stream: the store, or a worker that follows it, lacks events."""
        if copy := self._shipped.pop(stream_id, None):
            self._copies[stream_id] = copy
        return copy

    # The thread

    def wait(self, until: float) -> None:
        """Sleep until there is something to ship, or until the time `until`."""
        if not self._to_append and not self._to_push:
            self.bell.wait(max(0.0, until - monotonic()))
        window = PUSH_S if self._to_push else APPEND_S
        while not self._is_urgent:
            left = min(self._shipped_at + window, until) - monotonic()
            if left <= 0 or not self.bell.wait(left):
                return
            if self._to_push:
                window = PUSH_S

    def ship(self, *, everything: bool = False) -> None:
        """Append and push the events that are due. Raises `LogUnavailable`; then the next call tries again."""
        self._is_urgent = False
        self._shipped_at = now = monotonic()
        due = [copy for copy in list(self._to_append) if everything or self._is_due(copy, now)]
        pushes = self._pushes()
        while due or pushes:
            together, due = due[:MOST_TOGETHER], due[MOST_TOGETHER:]
            self._append(together, pushes)
            pushes = []
        complete = [copy for copy in self.copies if copy.is_complete]
        self._forget(complete)
        self._keep_shipped(complete, now)

    def _keep_shipped(self, copies: Sequence[Copy], now: float) -> None:
        """Keep ended streams for their retention: if the store loses the latest entries, they are shipped again."""
        self._shipped.update((copy.stream.id, copy) for copy in copies)
        for stream_id, copy in list(self._shipped.items()):
            if now - (copy.stream.settled_at or now) <= copy.stream.settings.retention_s:
                break
            self.forget(stream_id)

    @staticmethod
    def _is_due(copy: Copy, now: float) -> bool:
        log = copy.stream.log
        is_old = now - copy.appended_at > APPEND_S - PUSH_S  # a wait may end a little early
        return is_old or log.ended or log.last - copy.last > MOST_WAITING

    def _append(self, copies: Sequence[Copy], pushes: Sequence[tuple[str, bytes]]) -> None:
        for copy in copies:
            self._to_append.discard(copy)
        try:
            ended = self._recreate([copy for copy in copies if not copy.last])
            behind = [copy for copy in copies if copy.is_behind and copy.stream.id not in self.lost]
            entries = [copy.entry() for copy in behind]
            ended += [copy for copy, entry in zip(behind, entries, strict=True) if "status" in entry.fields]

            def also(pipe: Pipeline) -> None:
                self._roster.add_messages(pipe, pushes)
                for copy in ended:
                    stream = copy.stream
                    self.store.close(pipe, stream.id, stream.owner, self._worker, stream.settings.retention_s)

            appended = self.store.append(entries, also)
        except LogUnavailable:
            self._to_append.update(copies)
            raise
        unsure = []
        for copy, entry, result in zip(behind, entries, appended, strict=True):
            copy.appended_at = self._shipped_at
            if result:
                copy.last = entry.last
            else:
                unsure.append(copy)
        self._compare(unsure)
        self._to_push.update(copy for copy in ended if copy.followers)

    def _recreate(self, copies: Sequence[Copy]) -> list[Copy]:
        """Write streams again that the store has lost. Return the streams that were written with their end."""
        ended = []
        for copy in copies:
            opening = copy.opening()
            self.store.recreate(opening)
            copy.last = opening.last
            if "status" in opening.fields:
                ended.append(copy)
        return ended

    def check_all(self) -> None:
        """Compare all streams with the store. Raises `LogUnavailable`."""
        self._compare([copy for copy in (*self.copies, *self._shipped.values()) if copy.last])

    def check(self, copy: Copy) -> None:
        """Check whether another worker has ended the stream. Raises `LogUnavailable`."""
        (place,) = self.store.places([copy.stream.id])
        if place.end_of_lost:
            self._lose(copy, place.end_of_lost)

    def _compare(self, copies: Sequence[Copy]) -> None:
        """Compare the streams with the store, which may differ from what was shipped.

        Another worker may have ended a stream. The store may have lost its latest entries, or everything. It may have
        written an entry although its reply was lost.
        """
        places = self.store.places([copy.stream.id for copy in copies]) if copies else []
        for copy, place in zip(copies, places, strict=True):
            if place.end_of_lost:
                self._lose(copy, place.end_of_lost)
            elif place.has_ended and not place.last:  # it has expired
                copy.last = copy.stream.log.last
            elif place.last < copy.last:
                copy.last = place.last
                self._ship_again(copy.stream.id)
                self._ring(copy, is_urgent=True)
            else:
                copy.last = place.last

    def _lose(self, copy: Copy, end: Sequence[Event]) -> None:
        """Another worker has ended the stream: stop it here, with the same end."""
        stream = copy.stream
        if not stream.settled.is_set():
            self.lost[stream.id] = end
            stream.stop("interrupted")
        logger.warning("stream %s was ended by another worker, which considered this one dead", stream.id)
        self._forget([copy])

    def _forget(self, copies: Sequence[Copy]) -> None:
        for copy in copies:
            copy.stream.log.unsubscribe(copy.subscriber)
            self._copies.pop(copy.stream.id, None)
            self._to_append.discard(copy)
            self._to_push.discard(copy)
            for reader in list(copy.followers.values()):
                reader.leave()

    def _pushes(self) -> list[tuple[str, bytes]]:
        """One message to each worker that follows, with the new events of all its streams."""
        to_push = list(self._to_push)
        self._to_push.difference_update(to_push)  # before reading the logs: later events are pushed later
        streams: dict[str, dict[str, Any]] = defaultdict(dict)
        for copy in to_push:
            for worker, reader in list(copy.followers.items()):
                if reader.is_gone:
                    copy.followers.pop(worker, None)
                elif (pushed := copy.push(reader)) is not None:
                    streams[worker][copy.stream.id] = pushed
        return [(worker, messages.encode(messages.Push(pushed))) for worker, pushed in streams.items()]

    def readers(self) -> Iterator[tuple[str, int]]:
        """The streams whose number of readers has changed, with the new number."""
        for copy in self.copies:
            readers = copy.readers
            if readers != copy.readers_told and not copy.stream.log.ended:
                copy.readers_told = readers
                yield copy.stream.id, readers
