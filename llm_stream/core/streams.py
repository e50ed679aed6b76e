"""The streams of one `LLMStream` in one worker: starting them, finding them again, and forgetting them."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from time import time
from typing import Any
from weakref import WeakSet

from ..errors import ExpiredStream
from ..errors import KeyConflict
from ..errors import LLMStreamError
from ..errors import Overloaded
from ..errors import TooManyStreams
from ..errors import UnknownStream
from ..events import Event
from ..events import Usage
from ..settings import Settings
from ..upstream.ending import Ending
from ..upstream.source import SourceOfEvents
from ..usage.record import UsageRecord
from .books import Books
from .claims import Claims
from .clock import Clock
from .followed import Followed
from .reader import Client
from .reader import Reader
from .readers import Readers
from .retention import Retention
from .shared.entries import Claim
from .shared.log import SharedLog
from .stream import Stream
from .structured import Structured
from .transforms import Transforms

logger = logging.getLogger("llm_stream")

NO_METADATA: Mapping[str, Any] = {}

SETTLE_S = 5.0
RETRY_AFTER_S = 5.0


class Streams:
    """Thread-safe: all methods may be called from any thread."""

    def __init__(self, name: str, settings: Settings, books: Books, transforms: Transforms) -> None:
        """Raises `ConfigError`. `name` is that of the `LLMStream`."""
        self.name = name
        self.shared = SharedLog(name, settings, books, self._all_claims) if settings.is_shared else None
        """The log that other workers share; None for `memory://`."""
        self._settings = settings
        self._books = books
        self._transforms = transforms
        self._lock = threading.Lock()
        self._streams: dict[str, Stream] = {}
        self._running: Counter[str] = Counter()
        self._retention = Retention(settings)
        self._claims = Claims()
        self._clock = Clock()
        _every.add(self)

    def start(
        self,
        owner: str,
        model: str | None,
        source: SourceOfEvents,
        *,
        key: str | None = None,
        fingerprint: bytes = b"",
        metadata: Mapping[str, Any] = NO_METADATA,
        structured: Structured | None = None,
        settings: Settings | None = None,
        request: bytes = b"",
    ) -> tuple[Followed, bool]:
        """Start a stream, or find the stream that `key` identifies. Also returns whether it is new.

        `fingerprint` identifies the request: it must be the same for each request with this key. `settings` replace the
        app's for this stream. `request` holds the parts of the request that later requests may continue.

        Raises `KeyConflict`, `ExpiredStream`, `TooManyStreams`, `Overloaded`, `LogUnavailable`, and what
        `Books.open()` raises.
        """
        if key and (claim := self._claim(owner, key)):
            return self._claimed(owner, claim, fingerprint), False
        stream = Stream(
            id=secrets.token_hex(10),
            owner=owner,
            key=key,
            model=model,
            metadata=metadata,
            created=int(time()),
            source=source,
            settings=settings or self._settings,
            request=request,
            settle=self._settle,
            transforms=self._transforms,
        )
        stream.structured = structured
        if claim := self._take_in(stream, fingerprint):
            return self._claimed(owner, claim, fingerprint), False
        try:
            if self.shared and (claim := self.shared.admit(stream, fingerprint)):
                self._refuse(stream, LLMStreamError())
                return self._claimed(owner, claim, fingerprint), False
            if self.shared:
                with self._lock:
                    self._claims.keep(stream, fingerprint)
            self._books.open(stream)
        except BaseException as error:
            self._refuse(stream, error if isinstance(error, LLMStreamError) else LLMStreamError())
            raise
        stream.start()
        self._clock.watch(stream)
        return stream, True

    def _take_in(self, stream: Stream, fingerprint: bytes) -> Claim | None:
        """Take a slot and claim the key. Return the claim of the stream that has the key already, if any.

        With a shared log, only the store decides which stream gets the key. Raises `TooManyStreams` and `Overloaded`.
        """
        with self._lock:
            self._forget_expired()
            if stream.key and (claim := self._claims.get(stream.owner, stream.key)):
                return claim
            self._check_slots(stream.owner)
            self._streams[stream.id] = stream
            self._running[stream.owner] += 1
            if self.shared is None:
                self._claims.keep(stream, fingerprint)
        return None

    def find(self, owner: str | None, stream_id: str) -> Followed:
        """The stream, if `owner` may see it; None is the app, which may see all streams.

        Raises `UnknownStream` (also for another owner's stream), `ExpiredStream` and `LogUnavailable`.
        """
        try:
            with self._lock:
                self._forget_expired()
                return self._stream(owner, stream_id)
        except (UnknownStream, ExpiredStream):
            if self.shared is None:
                raise
            return self.shared.find(owner, stream_id)

    def claimed(self, owner: str, key: str) -> Followed | None:
        """The stream that `key` identifies; None for a new key. Raises `ExpiredStream` and `LogUnavailable`."""
        claim = self._claim(owner, key)
        return self.find(owner, claim.stream_id) if claim else None

    def follow(self, stream: Followed, *, after: int = 0, connection: Any = None) -> Reader:
        """A reader of the events after number `after`. `connection` is the client's socket, if known."""
        reader = Reader(stream, Client(connection, self._settings), after=after)
        self._clock.watch(stream)
        return reader

    def of(self, owner: str, has_key: Callable[[str | None], bool]) -> list[Followed]:
        """The streams of `owner` that are still kept and whose key satisfies `has_key`, the newest first.

        Raises `LogUnavailable`.
        """
        with self._lock:
            self._forget_expired()
            own = [stream for stream in reversed(self._streams.values()) if stream.owner == owner]
        keys = {stream.id: stream.key for stream in own}
        if self.shared:
            keys = dict(self.shared.streams_of(owner)) | keys
        found: list[Followed] = []
        for stream_id in [stream_id for stream_id, key in keys.items() if has_key(key)]:
            try:
                found.append(self.find(owner, stream_id))
            except (UnknownStream, ExpiredStream):
                continue
        return found

    def follow_together(self, places: Sequence[tuple[Followed, int]], *, connection: Any = None) -> Readers:
        """Readers of several streams in one response. Each starts after the number next to its stream."""
        readers = Readers(places, Client(connection, self._settings))
        for stream, _ in places:
            self._clock.watch(stream)
        return readers

    def delete(self, stream: Followed) -> None:
        """Stop the stream if it runs, and forget it. Raises `LogUnavailable`."""
        stream.delete()
        with self._lock:
            self._retention.expire(stream.id)
        if self.shared and isinstance(stream, Stream):
            self.shared.delete(stream.id)

    def events_of(self, stream: Followed) -> Iterator[Event]:
        """All events as they arrive. Closing the generator stops the stream and waits until its record is written."""
        reader = self.follow(stream)
        try:
            for _, batch in reader.batches():
                yield from batch
        finally:
            stream.stop("cancelled")
            stream.settled.wait(SETTLE_S)
            reader.close()

    def running(self) -> list[Stream]:
        """The streams that are not settled yet."""
        return [stream for stream in list(self._streams.values()) if not stream.settled.is_set()]

    # Slots

    def _check_slots(self, owner: str) -> None:
        if self._running.total() >= self._settings.max_streams:
            raise Overloaded(retry_after=RETRY_AFTER_S)
        if self.shared is None and self._running[owner] >= self._settings.max_streams_per_owner:
            raise TooManyStreams(retry_after=RETRY_AFTER_S)

    def _settle(self, stream: Stream, ending: Ending) -> tuple[UsageRecord, Usage]:
        try:
            if self.shared:
                self.shared.check(stream)
            return self._books.settle(stream, ending)
        finally:
            with self._lock:
                self._free_slot(stream.owner)
                self._retention.keep(stream)
                self._forget_expired()

    def _refuse(self, stream: Stream, error: LLMStreamError) -> None:
        """Forget the stream as if it had never been requested. Readers that have attached already get the error."""
        if self.shared:
            self.shared.withdraw(stream, error)
        if not stream.refuse(error):
            return
        with self._lock:
            del self._streams[stream.id]
            self._claims.drop(stream)
            self._free_slot(stream.owner)

    def _free_slot(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]

    # What is kept

    def _claim(self, owner: str, key: str) -> Claim | None:
        """Look in this worker first: that works even while the shared log is unavailable. Raises `LogUnavailable`."""
        with self._lock:
            self._forget_expired()
            claim = self._claims.get(owner, key)
        return claim or (self.shared.claim(owner, key) if self.shared else None)

    def _all_claims(self) -> list[tuple[bytes, Claim]]:
        with self._lock:
            return self._claims.all()

    def _claimed(self, owner: str, claim: Claim, fingerprint: bytes) -> Followed:
        """Raises `KeyConflict`, `ExpiredStream` and `LogUnavailable`."""
        if claim.fingerprint != fingerprint:
            raise KeyConflict()
        try:
            return self.find(owner, claim.stream_id)
        except UnknownStream:  # the key outlives the stream
            raise ExpiredStream() from None

    def _stream(self, owner: str | None, stream_id: str) -> Stream:
        stream = self._streams.get(stream_id)
        if stream is not None and owner in (None, stream.owner) and not stream.is_deleted:
            return stream
        if self._retention.has_forgotten(stream_id, owner):
            raise ExpiredStream()
        raise UnknownStream()

    def _forget_expired(self) -> None:
        for stream in self._retention.forget_expired():
            del self._streams[stream.id]
            if self.shared:
                self.shared.forget(stream.id)
            self._claims.retire(stream)


_every: WeakSet[Streams] = WeakSet()


def every() -> Iterator[Streams]:
    """All `Streams` in this process."""
    return iter(list(_every))
