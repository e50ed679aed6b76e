"""Streams that other workers write, for the readers of this worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from ...errors import ExpiredStream
from ...errors import LogUnavailable
from ...errors import UnknownStream
from ...events import Done
from ...events import Event
from ...events import Status
from ...settings import Settings
from ..followed import Followed
from ..followed import Follower
from .engine import RETRY_AFTER_S
from .entries import Kept
from .entries import add
from .questions import ANSWER_S
from .store import Opening

FOUND_S = 2 * ANSWER_S
"""How long a mirror that was just found waits for its first reader."""


class Post(Protocol):
    """Requests of a mirror to the worker that writes its stream."""

    def follow(self, mirror: Mirror) -> None:
        """Report the mirror's number of readers, and get its missing events."""

    def leave(self, mirror: Mirror) -> None:
        """Report that the mirror has no readers any more."""

    def stop(self, mirror: Mirror) -> bool:
        """Return whether that worker has confirmed it. Raises `LogUnavailable`."""

    def delete(self, mirror: Mirror) -> None:
        """Raises `LogUnavailable`."""

    def last_number(self, mirror: Mirror) -> int | None:
        """The number of its last event; None if there is no answer."""


class Mirror(Followed):
    """Another worker's stream. The store fills its log when it is opened, and the stream's worker pushes the rest."""

    def __init__(self, stream_id: str, kept: Kept, settings: Settings, post: Post) -> None:
        header = kept.header
        super().__init__(
            id=stream_id,
            owner=header.owner,
            key=header.key,
            model=header.model,
            metadata=header.metadata,
            request=header.request or b"",
            settings=settings,
        )
        self.header = header
        self.account = kept.account
        self.found_at = monotonic()
        self.has_expired = False
        """Whether the stream has ended and its events are gone from the store, or it was deleted."""
        self._caught_up = threading.Event()
        self._post = post
        self._lock = threading.Lock()
        for first, events in kept.batches:
            self.add(first, events)

    @property
    def ending(self) -> Status | None:
        last = self.log.events[-1]
        return last.status if isinstance(last, Done) else None

    @property
    def at_rest(self) -> bool:
        return not self.readers

    @property
    def is_wanted(self) -> bool:
        return not self.has_expired and (bool(self.readers) or monotonic() - self.found_at < FOUND_S)

    def add(self, first: int, events: Sequence[Event]) -> bool:
        """Append the events that the log does not have yet. Return False if earlier events are missing."""
        with self._lock:
            if not self.log.ended and not add(self.log, first, events):
                return False
        if self.log.ended:
            self.settled.set()
            self._caught_up.set()
        return True

    def expire(self) -> None:
        """Disconnect the readers, because the end is missing here and cannot be read any more.

        A reader that reconnects gets a 410.
        """
        self.has_expired = True
        for reader in tuple(self.readers):
            reader.dismiss()

    def opening(self) -> Opening:
        """The stream as this worker knows it, for a store that has lost it."""
        return Opening.of(self.id, self.header, self.log.events, self.account, self.settings, fingerprint=None)

    def has_caught_up(self) -> None:
        """The stream's worker has sent all events that it had when it was asked."""
        self._caught_up.set()

    def position(self, after: int) -> int:
        """The reader may have seen events at the stream's own worker that have not reached this worker yet.

        So ask that worker for its last number. If it does not answer, the reader keeps its position: the missing events
        arrive later, or the end of a lost stream does.
        """
        if after <= self.log.last or self.log.ended:
            return super().position(after)
        last = self._post.last_number(self)
        return after if last is None else min(after, last)

    def join(self, reader: Follower) -> None:
        is_first = not self.readers
        super().join(reader)
        if is_first and not self.log.ended:
            self._post.follow(self)

    def leave(self, reader: Follower, since: float | None = None) -> None:
        super().leave(reader, since)
        if not self.readers and not self.log.ended:
            self._post.leave(self)

    def looked_at(self) -> None:
        """A snapshot is taken: tell the stream's worker, and wait for the newest events."""
        if not self.log.ended:
            self._post.follow(self)
            self._caught_up.wait(ANSWER_S)

    def stop(self, status: Status) -> None:
        """Raises `LogUnavailable` if the stream's worker does not confirm it."""
        if not self.log.ended and not self._post.stop(self) and not self.log.ended:
            raise LogUnavailable(retry_after=RETRY_AFTER_S)

    def delete(self) -> None:
        """Raises `LogUnavailable`."""
        self.expire()
        self._post.delete(self)

    def tick(self, now: float) -> None:
        self._tick_readers(now)


class Mirrors:
    """The mirrors that are kept up to date."""

    def __init__(self) -> None:
        self._mirrors: dict[str, Mirror] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Mirror]:
        return iter(list(self._mirrors.values()))

    def get(self, stream_id: str) -> Mirror | None:
        return self._mirrors.get(stream_id)

    def keep(self, mirror: Mirror) -> Mirror:
        """Keep `mirror`, or return the one that is kept already."""
        with self._lock:
            return self._mirrors.setdefault(mirror.id, mirror)

    def drop(self, mirror: Mirror) -> bool:
        """Return whether it was kept."""
        with self._lock:
            return self._mirrors.get(mirror.id) is mirror and bool(self._mirrors.pop(mirror.id))


def checked(kept: Kept | None, buried: str | None, owner: str | None) -> Kept:
    """Return `kept` if `owner` may see the stream; None is the operator. `buried` is the owner of an ended stream.

    Raises `UnknownStream` (also for another owner's stream) and `ExpiredStream`.
    """
    if kept is None:
        raise ExpiredStream() if buried is not None and owner in (None, buried) else UnknownStream()
    if owner not in (None, kept.header.owner):
        raise UnknownStream()
    return kept
