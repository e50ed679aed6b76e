"""The shared error-wrapping generator: whatever goes in, a well-formed sequence of events comes out."""

from __future__ import annotations

import logging
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from itertools import chain
from typing import Any

from .errors import StreamError
from .events import Delta
from .events import Done
from .events import Event
from .events import Failure
from .events import Usage
from .log_lines import named
from .source import Waits
from .upstream.chunks import ChunkDecoder
from .upstream.completion import Stopped
from .upstream.error_objects import is_error
from .upstream.iterator import IteratorSource
from .upstream.refusals import describe

logger = logging.getLogger("llm_stream")

ONLY_TEXT = frozenset((Delta,))


def guard(source: Iterable[Any]) -> Generator[Event, None, None]:
    """Make any iterable a well-formed sequence of events.

    `source` may give strings, events, lists of events, chat completion chunks (the SDK's objects, or mappings) and
    `None`, which is passed over. What comes out holds at most one `Failure` and at most one `Usage`, and ends with
    exactly one `Done`, whatever `source` does: raise, break off, give nothing or nonsense, or go on after its end.
    A `Start` is left out: whoever numbers the events makes it.

    Raises nothing that `source` raises; logs what it swallows, under the `error_id` of the `Failure`. Closes `source`
    when it is closed itself, or has seen the end.
    """
    for batch in guard_batches(IteratorSource(source).batches()):
        if not isinstance(batch, Waits):
            yield from batch


def guard_batches(source: Iterable[Any]) -> Generator[list[Event] | Waits, None, None]:
    """The same for a source of our own, whose events are sound; the last batch is the terminal one.

    The events that came together are kept together. After its `Done` the source is read to its end: it may have the
    rest of a response to read.
    """
    reading = _Reading()
    try:
        items = iter(source)
        try:
            yield from _guarded(items, reading)
        finally:
            if close := getattr(items, "close", None):
                close()
    except BaseException as error:
        if isinstance(error, GeneratorExit) or _ends_the_thread(error):
            raise
        if reading.ended:  # it was whole already
            logger.debug("after the last event: %s", describe(error))
        else:
            problem = report(error)
            yield reading.end(problem.failure(), Done(status=problem.ending))


def _guarded(items: Iterator[Any], reading: _Reading) -> Generator[list[Event] | Waits, None, None]:
    try:
        for item in items:
            if isinstance(item, Waits):
                yield item
            elif batch := reading.take(item):
                yield batch
            if reading.done:
                break
    except Stopped:
        yield reading.end(Done(status="cancelled"))
        return
    yield reading.end(reading.verdict())
    for _ in items:
        pass


def _ends_the_thread(error: BaseException) -> bool:
    """Gevent kills a greenlet by a GreenletExit; its Timeout, or asyncio's cancellation, is an error like any."""
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "GreenletExit"


def report(error: BaseException) -> StreamError:
    """Log why a stream fails; return what may be said about it."""
    problem = error if isinstance(error, StreamError) else StreamError()
    code, error_id = problem.code, problem.error_id
    extra = named(code, error_id)
    if problem is error:
        cause = describe(error.__cause__)
        logger.warning("stream failed: %s error_id=%s: %s", code, error_id, cause, extra=extra)
    else:
        logger.error("stream failed: %s error_id=%s", code, error_id, exc_info=error, extra=extra)
    return problem


class _Reading:
    """What has been read so far: enough to know how the sequence may go on."""

    def __init__(self) -> None:
        self.done: Done | None = None
        self.ended = False
        self._failure: Failure | None = None
        self._usage: Usage | None = None
        self._decoder: ChunkDecoder | None = None

    def take(self, item: Any) -> list[Event]:
        """The events of one item, less the terminal ones, which are kept for the end."""
        if type(item) is list and self.done is None and ONLY_TEXT.issuperset(map(type, item)):
            return item
        given = item if isinstance(item, list) else [item]
        batch: list[Event] = []
        for event in chain.from_iterable(map(self._events_of, given)):
            if self.done:
                break
            if isinstance(event, Done):
                self.done = event
            elif isinstance(event, Failure):
                self._failure = self._failure or event
            elif isinstance(event, Usage):
                self._usage = event
            else:
                batch.append(event)
        return batch

    def verdict(self) -> Done:
        """How a source ended that raised nothing. Raises `StreamError` if it broke off."""
        if self.done is None and self._decoder is not None:
            self._usage = self._usage or self._decoder.usage
            return self._decoder.done()
        return self.done or Done(status="failed" if self._failure else "completed")

    def end(self, *last: Event) -> list[Event]:
        """The terminal batch: the failure, if any, the usage, if known, and how it ended."""
        self.ended = True
        *failures, done = last
        usage = [self._usage] if self._usage else []
        return [*([self._failure] if self._failure else failures), *usage, done]

    def _events_of(self, item: Any) -> Iterable[Event]:
        if isinstance(item, Event):
            return (item,)
        if isinstance(item, str):
            return (Delta(item),) if item else ()
        if item is None:
            return ()
        if hasattr(item, "model_dump"):
            item = item.model_dump(exclude_unset=True)
        if isinstance(item, Mapping) and ("choices" in item or "error" in item or is_error(item)):
            self._decoder = self._decoder or ChunkDecoder()
            return self._decoder.events(item)
        raise TypeError(f"a stream may give text, events or chat completion chunks, not {type(item).__name__}")
