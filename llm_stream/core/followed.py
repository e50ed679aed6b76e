"""A stream as its readers see it, in any worker: its log and its readers."""

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
        """Check the reader's client."""

    def dismiss(self) -> None:
        """Break the response off, because the stream is gone."""


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
        """The parts of the request that later requests may continue. Readers do not get them."""
        self.settings = settings
        self.is_deleted = False
        self.log = MemoryLog()
        self.record: UsageRecord | None = None
        """Set when this worker has settled the stream."""
        self.settled = threading.Event()
        self.readers: set[Follower] = set()
        self.last_written: tuple[type, int, int, bytes] | None = None
        """The latest encoding, which other readers reuse: wire, number of the first event, number of events, bytes."""
        self.readerless_since = monotonic()

    @property
    @abstractmethod
    def ending(self) -> Status | None:
        """How the stream ends; None while that is undecided."""

    @property
    @abstractmethod
    def at_rest(self) -> bool:
        """Whether the clock may stop ticking the stream."""

    @abstractmethod
    def stop(self, status: Status) -> None:
        """Interrupt the source, without waiting for the stream to settle. The first call decides how it ends."""

    @abstractmethod
    def delete(self) -> None:
        """Stop the stream if it runs, and forget it. No reader can find it afterwards."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Called by the clock."""

    def position(self, after: int) -> int:
        """The number after which a reader continues that has seen `after`: at most the log's last number.

        A number from `LOST` on is kept: that reader has seen the end of a lost stream, and must not get earlier events.
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
        """Count a snapshot as reading: the disconnect grace starts again."""
        self.readerless_since = monotonic()

    def _tick_readers(self, now: float) -> None:
        for reader in tuple(self.readers):
            reader.tick(now)
