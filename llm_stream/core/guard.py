"""The guard: turns any iterable, whatever it raises, into a well-formed sequence of events."""

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
from ..upstream.iterator import discard
from ..upstream.refusals import describe
from ..upstream.source import SourceOfEvents
from ..upstream.source import Waits
from ..usage.logging import named
from ..usage.meter import Meter

logger = logging.getLogger("llm_stream")

Batch = list[Event] | Waits | Ending


def guard(source: Iterable[Any]) -> Generator[Event, None, None]:
    """Turn any iterable into a well-formed sequence of events.

    `source` may yield strings, events, lists of events, chat completion chunks (SDK objects or mappings) and `None`,
    which is skipped. The result has at most one `Failure`, at most one `Usage`, and ends with exactly one `Done`, even
    if `source` raises, breaks off, yields nothing or garbage, or continues after its end. A `Start` is dropped, because
    the stream makes its own.

    Logs the exceptions of `source` under the `error_id` of the `Failure`, instead of raising them. Closes `source` at
    its end, or when the guard itself is closed.
    """
    for batch in guard_batches(IteratorSource(source).batches()):
        if isinstance(batch, Ending):
            yield from batch.events()
        elif not isinstance(batch, Waits):
            yield from batch


def guarded_batches(source: SourceOfEvents, meter: Meter | None) -> Generator[Batch, None, None]:
    """The batches of `source`, guarded, and within the budget of `meter`."""
    batches = source.batches()
    return guard_batches(meter.watched(batches) if meter else batches)


def guard_batches(source: Iterable[Any]) -> Generator[Batch, None, None]:
    """Guard one of our own sources, whose batches are already valid: turn its exception into an `Ending`.

    Keeps reading after the `Ending`, because the source may still have to read the rest of a response.
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
            discard(items)
    except Stopped:
        if not has_ended:
            yield Ending("cancelled")
    except BaseException as error:
        if isinstance(error, GeneratorExit) or _ends_the_thread(error):
            raise
        if has_ended:  # the answer is complete, so this is no failure
            logger.debug("error after the last event: %s", describe(error))
        else:
            yield ending_of(error)


def ending_of(error: BaseException) -> Ending:
    """Log why a stream failed. Return the `Ending` for its readers, without the details."""
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
    """gevent kills a greenlet with GreenletExit. Its Timeout and asyncio's CancelledError count as ordinary errors."""
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "GreenletExit"
