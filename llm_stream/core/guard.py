"""The shared error-wrapping generator: whatever goes in, a well-formed sequence of events comes out."""

from __future__ import annotations

import logging
from collections.abc import Generator
from collections.abc import Iterable
from typing import Any

from ..errors import StreamError
from ..events import Event
from ..upstream.completion import Stopped
from ..upstream.ending import Ending
from ..upstream.iterator import IteratorSource
from ..upstream.refusals import describe
from ..upstream.source import Waits
from ..usage.logging import named

logger = logging.getLogger("llm_stream")

Batch = list[Event] | Waits | Ending


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
        if isinstance(batch, Ending):
            yield from batch.events()
        elif not isinstance(batch, Waits):
            yield from batch


def guard_batches(source: Iterable[Any]) -> Generator[Batch, None, None]:
    """The same for a source of our own, whose batches are sound: what it raises becomes its `Ending`.

    After the `Ending` the source is read to its end: it may have the rest of a response to read.
    """
    has_ended = False
    try:
        items = iter(source)
        try:
            for item in items:
                if not has_ended:
                    has_ended = isinstance(item, Ending)
                    yield item
        finally:
            if close := getattr(items, "close", None):
                close()
    except Stopped:
        if not has_ended:
            yield Ending("cancelled")
    except BaseException as error:
        if isinstance(error, GeneratorExit) or _ends_the_thread(error):
            raise
        if has_ended:  # it was whole already
            logger.debug("after the last event: %s", describe(error))
        else:
            yield ending_of(error)


def ending_of(error: BaseException) -> Ending:
    """Log why a stream fails; return what may be said about it."""
    problem = error if isinstance(error, StreamError) else StreamError()
    code, error_id = problem.code, problem.error_id
    extra = named(code, error_id)
    if problem is error:
        cause = describe(error.__cause__)
        logger.warning("stream failed: %s error_id=%s: %s", code, error_id, cause, extra=extra)
    else:
        logger.error("stream failed: %s error_id=%s", code, error_id, exc_info=error, extra=extra)
    return Ending.of(problem)


def _ends_the_thread(error: BaseException) -> bool:
    """Gevent kills a greenlet by a GreenletExit; its Timeout, or asyncio's cancellation, is an error like any."""
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "GreenletExit"
