"""One stream, from its first event until it is settled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextvars import copy_context
from copy import copy
from dataclasses import replace
from time import monotonic
from typing import Any

import msgspec

from ..errors import FirstTokenTimeout
from ..errors import IdleTimeout
from ..errors import Interrupted
from ..errors import LLMStreamError
from ..errors import StreamTooLarge
from ..errors import TotalTimeout
from ..events import CONTENT
from ..events import Event
from ..events import Failure
from ..events import Start
from ..events import Status
from ..events import Usage
from ..settings import Settings
from ..upstream.ending import Ending
from ..upstream.source import Attempt
from ..upstream.source import SourceOfEvents
from ..usage.bill import NO_USAGE
from ..usage.meter import Meter
from ..usage.record import UsageRecord
from ..usage.record import utc_now
from .followed import Followed
from .guard import ending_of
from .log.memory import fitting_of
from .producer import Producer
from .structured import Structured
from .transforms import Transforms

JOIN_S = 1.0
"""How long after the stream's start its first reader may arrive."""

UNWIND_S = 1.0
"""How long a stopped producer may take to return before the stream is settled without it."""

WRAP_UP_S = 5.0
"""How long to wait for the usage figures of a complete answer."""


class Lost(Exception):
    """Another worker has ended the stream, because it considered this one dead."""

    def __init__(self, end: Sequence[Event]) -> None:
        super().__init__("the stream was ended by another worker")
        self.end = end


class Stream(Followed):
    """A log, the producer that fills it, and the readers that follow it.

    States: opening (no row yet) → running → stopping (the verdict is set, the producer is returning) → settled. Every
    stream that has started goes through `_settle()` exactly once.
    """

    def __init__(
        self,
        *,
        id: str,
        owner: str,
        key: str | None,
        model: str | None,
        metadata: Mapping[str, Any],
        created: int,
        source: SourceOfEvents,
        settings: Settings,
        request: bytes,
        settle: Callable[[Stream, Ending], tuple[UsageRecord, Usage]],
        transforms: Transforms,
    ) -> None:
        super().__init__(
            id=id, owner=owner, key=key, model=model, metadata=metadata, settings=settings, request=request
        )
        self._source: SourceOfEvents | None = source
        self.size = len(request)
        self.started = utc_now()
        self.started_at = monotonic()
        self.first_content_at: float | None = None
        self.settled_at: float | None = None
        self.meter: Meter | None = None
        """Keeps the stream within its owner's budget. None without a budget."""
        self.transforms = transforms
        self.structured: Structured | None = None
        """Checks the answer against a schema, if one was given."""
        self._settle_with = settle
        self.last_content_at = self.started_at
        self.readerless_since = self.started_at
        self._begun_at: float | None = None
        self._whole_since: float | None = None
        self._lock = threading.Lock()
        self._verdict: Ending | None = None
        self._stopped_at = 0.0
        self._closed = False
        self._producer: Producer | None = None
        self.log.append([Start(id=id, model=model, created=created)])

    # The producer

    def start(self) -> None:
        """Start the producer, unless the stream was stopped already."""
        self.readerless_since = self._begun_at = monotonic()
        if self._verdict:
            return self._settle(self._verdict)
        producer = self._producer = Producer(self)
        try:
            producer.start()
        except RuntimeError as error:  # no more threads
            self._producer = None
            self._settle(ending_of(error))

    def refuse(self, error: LLMStreamError) -> bool:
        """End a stream before its start, without a call of the model or a record. Return False if it has ended."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
        self._source = None
        self.log.append(msgspec.structs.replace(Ending.of(error), usage=NO_USAGE).events())
        self.settled_at = monotonic()
        self.settled.set()
        return True

    @property
    def source(self) -> SourceOfEvents:
        """Not available after the stream is released."""
        assert self._source is not None
        return self._source

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The calls of the model so far; empty after the stream is released."""
        source = self._source
        return () if source is None else source.attempts

    @property
    def is_released(self) -> bool:
        """Whether the stream is settled and its producer has returned. Then it keeps only its log."""
        return self._source is None

    @property
    def at_rest(self) -> bool:
        """Settled, without readers or a producer: the clock need not tick it."""
        return self.is_released and not self.readers

    @property
    def is_open(self) -> bool:
        """Whether it may still take events."""
        return self._verdict is None and not self._closed

    @property
    def ending(self) -> Status | None:
        """How the stream ends; None while that is undecided."""
        if self._verdict:
            return self._verdict.status
        return self.record.status if self.record else None

    def take(self, batch: list[Event]) -> bool:
        """Append events. Return False if the stream takes no more events. Does not block. Raises `StreamTooLarge`."""
        if not CONTENT.isdisjoint(map(type, batch)):
            self.last_content_at = monotonic()
            if self.first_content_at is None:
                self.first_content_at = self.last_content_at
        fitting, self.size = fitting_of(batch, self.size, self.settings.max_stream_bytes)
        with self._lock:
            if self._closed or self._verdict:
                return False
            self.log.append(fitting)
        if len(fitting) < len(batch):
            raise StreamTooLarge()
        return True

    def end(self, ending: Ending) -> None:
        """Settle the stream: the source has ended."""
        self._settle(self._verdict or ending)

    def unwound(self) -> None:
        """Release the producer and the source. Called last, on success and on failure."""
        if not self._closed:  # it was stopped, or its greenlet was killed
            self._settle(self._verdict or ending_of(Interrupted()))
        self._producer = None
        self._release()

    def _release(self) -> None:
        """Free the prompt and the last response, once the stream is settled and its producer has returned."""
        if self.settled.is_set() and self._producer is None:
            self._source = None

    # The ways to end it

    def stop(self, status: Status, failure: Failure | None = None) -> None:
        """Interrupt the source now; settling follows. The first call decides how the stream ends."""
        with self._lock:
            if not self.is_open:
                return
            self._verdict = Ending(status, failure=failure)
            self._stopped_at = monotonic()
        self.source.interrupt()

    def fail(self, error: Exception) -> None:
        """Log `error`, and stop the stream because of it."""
        if self.is_open:
            ending = ending_of(error)
            self.stop(ending.status, ending.failure)

    def delete(self) -> None:
        self.settings = replace(self.settings, retention_s=0.0)
        self.is_deleted = True
        self.stop("cancelled")

    def tick(self, now: float) -> None:
        """Called by the clock: check deadlines, readers, and whether a stopped producer has returned."""
        self._tick_readers(now)
        if self._begun_at is None:
            return  # it may still be refused
        if self.settled_at is not None:
            if self._source is not None and now - self.settled_at > UNWIND_S:
                self._source.interrupt()  # the upstream has not ended its body
        elif self._closed:
            pass  # its hooks are running
        elif self._verdict:
            if now - self._stopped_at > UNWIND_S:  # the producer is blocked in a call that cannot be interrupted
                self._settle_elsewhere(self._verdict)
        else:
            self._check_deadlines(now)
            self._check_readers(now)

    def _check_deadlines(self, now: float) -> None:
        settings = self.settings
        if self.source.is_busy:
            self.last_content_at = now
        if now - self.started_at > settings.total_s:
            self.fail(TotalTimeout())
        elif self.source.wrapping_up:
            self._whole_since = self._whole_since or now
            if now - self._whole_since > min(WRAP_UP_S, settings.idle_s):
                self.source.interrupt()
            return
        self._whole_since = None
        if self.first_content_at is None:
            if now - self.last_content_at > settings.first_token_s:
                self.fail(self.source.last_refusal or FirstTokenTimeout())
        elif now - self.last_content_at > settings.idle_s:
            self.fail(IdleTimeout())

    def _check_readers(self, now: float) -> None:
        if self.readers:
            return
        settings = self.settings
        patience = settings.finish_s if settings.on_disconnect == "finish" else settings.disconnect_grace_s
        if now - self.readerless_since > patience:
            self.stop("abandoned")

    def _settle(self, ending: Ending) -> None:
        """Write the record and call the hooks, then append the last events. Only the first call does anything."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        attempts = tuple(map(copy, self.source.attempts))
        ending = msgspec.structs.replace(ending, usage=Usage(source="unknown"), attempts=attempts)
        end_of_lost: Sequence[Event] = ()
        try:
            self.record, usage = self._settle_with(self, ending)
            ending = msgspec.structs.replace(ending, usage=usage)
        except Lost as lost:
            self._verdict, end_of_lost = Ending("interrupted"), lost.end
        finally:
            if end_of_lost:
                self.log.append_end_of_lost(end_of_lost)
            else:
                self.log.append(ending.events())
            self.settled_at = monotonic()
            self.settled.set()
            self._release()

    def _settle_elsewhere(self, ending: Ending) -> None:
        """Settle in another thread, with the producer's context."""
        context = self._producer.context if self._producer else copy_context()
        threading.Thread(target=context.copy().run, args=(self._settle, ending), daemon=True).start()

    # Its readers

    @property
    def is_read(self) -> bool | None:
        """Whether it has a reader. None while the first reader may still arrive."""
        has_just_begun = self.readerless_since == self._begun_at and self._begun_at > monotonic() - JOIN_S
        return None if has_just_begun and not self.readers else bool(self.readers)
