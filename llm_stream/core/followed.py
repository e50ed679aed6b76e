"""A stream as its readers see it, in any worker: its log, and who reads it."""

from __future__ import annotations

import threading
from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from time import monotonic
from typing import Any
from typing import Protocol

from ..events import Status
from ..settings import Settings
from ..usage.record import UsageRecord
from .log.memory import LOST
from .log.memory import MemoryLog


class Follower(Protocol):
    """A reader, as its stream sees it."""

    def tick(self, now: float) -> None:
        """Check its client."""

    def dismiss(self) -> None:
        """End its response, in the middle: its stream is gone."""


class Followed(ABC):
    """A `Stream` of this worker, or the `Mirror` of another worker's stream."""

    def __init__(
        self,
        *,
        id: str,
        owner: str,
        key: str | None,
        model: str | None,
        metadata: Mapping[str, Any],
        settings: Settings,
        request: bytes = b"",
    ) -> None:
        self.id = id
        self.owner = owner
        self.key = key
        self.model = model
        self.metadata = metadata
        """The app's own JSON. Readers do not get it."""
        self.request = request
        """What a protocol keeps of the request, for requests that continue it. Readers do not get it."""
        self.settings = settings
        self.is_deleted = False
        self.log = MemoryLog()
        self.record: UsageRecord | None = None
        """Once settled by this worker."""
        self.settled = threading.Event()
        self.readers: set[Follower] = set()
        self.last_written: tuple[type, int, int, bytes] | None = None
        """The latest encoding, for the next reader: wire, first event, number of events, bytes."""
        self.readerless_since = monotonic()

    @property
    @abstractmethod
    def ending(self) -> Status | None:
        """How it ends, once that is decided."""

    @property
    @abstractmethod
    def at_rest(self) -> bool:
        """Whether the clock need not tick it any more."""

    @abstractmethod
    def stop(self, status: Status) -> None:
        """Interrupt its source. Returns as soon as this is decided. The first call decides how the stream ends."""

    @abstractmethod
    def delete(self) -> None:
        """Stop it, if it runs, and keep nothing of it: nobody can find it any more."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Called by the clock."""

    def position(self, after: int) -> int:
        """Where a reader continues that has seen number `after`: a number beyond the log counts as its last one.

        But a reader that has seen the end of a lost stream must not get events before it.
        """
        return after if after >= LOST else min(after, self.log.last)

    def join(self, reader: Follower) -> None:
        self.readers.add(reader)

    def leave(self, reader: Follower, since: float | None = None) -> None:
        self.readerless_since = max(self.readerless_since, since or monotonic())
        self.readers.discard(reader)
        if not self.readers:
            self.last_written = None

    def looked_at(self) -> None:
        """A snapshot was taken: it counts as reading, for the disconnect grace."""
        self.readerless_since = monotonic()

    def _tick_readers(self, now: float) -> None:
        for reader in tuple(self.readers):
            reader.tick(now)
