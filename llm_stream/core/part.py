"""A call of a model within a stream: what `llm.events()` is in a generator that was given to `respond()`.

It is a part of that stream: the same record, owner and budget, and a stop ends both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from time import time
from typing import cast

import msgspec

from ..errors import BudgetReached
from ..events import WHOLE
from ..events import Done
from ..events import Event
from ..events import Start
from ..events import Usage
from ..settings import Price
from ..upstream.ending import Ending
from ..upstream.iterator import IteratorSource
from ..upstream.source import Attempt
from ..upstream.source import SourceOfEvents
from ..upstream.source import Waits
from ..usage.account import told
from ..usage.bill import UNKNOWN
from ..usage.bill import Bill
from ..usage.bill import bill_of
from ..usage.meter import Meter
from .guard import guard_batches
from .producer import producing
from .stream import Stream

logger = logging.getLogger("llm_stream")


def whole() -> Stream | None:
    """The stream whose iterable makes this call; None outside of one, and in what outlives an iterable that ended."""
    stream = cast("Stream | None", producing())
    return None if stream is None or stream.ending in WHOLE else stream


def events_of_part(stream: Stream, part: SourceOfEvents, prices: Mapping[str, Price]) -> Iterator[Event]:
    """The events of `part`, from its `Start` to its `Done`, as part of what fills `stream`."""
    yield Start(stream.id, part.asked.model, int(time()))
    whole = stream.source
    if not stream.is_open or not isinstance(whole, IteratorSource):  # it was stopped: nothing more is bought
        yield from (Usage(source="none"), Done(stream.ending or "cancelled"))
        return
    meter = None
    try:
        if stream.meter is not None:
            meter = stream.meter.begin_part(part)
    except BudgetReached as error:
        stream.fail(error)
        yield from (error.failure(), Usage(source="none"), Done(error.ending))
        return
    whole.begin_part(part)
    try:
        yield from _drained(whole, part, meter, stream, prices)
    finally:
        whole.end_part()
        if meter is not None and stream.meter is not None:
            stream.meter.end_part(meter, _bill(stream, part, prices))


def _drained(
    whole: IteratorSource, part: SourceOfEvents, meter: Meter | None, stream: Stream, prices: Mapping[str, Price]
) -> Iterator[Event]:
    kept: set[Attempt] = set()
    batches = part.batches()
    with closing(guard_batches(meter.watched(batches) if meter else batches)) as guarded:
        for batch in guarded:
            if isinstance(batch, Waits):
                continue
            if isinstance(batch, Ending):
                usage = told(_bill(stream, part, prices))
                events = msgspec.structs.replace(batch, usage=usage).events()
                whole.end_part(events, batch)
                yield from events
                return
            _keep(batch, part.attempts[-1], kept)
            yield from whole.numbered(batch)


def _keep(batch: list[Event], attempt: Attempt, kept: set[Attempt]) -> None:
    """What is said here need not come to the stream's log, from which it would be counted."""
    if attempt.written is None:
        attempt.written = []
        kept.add(attempt)
    if attempt in kept:
        attempt.written += batch


def _bill(stream: Stream, part: SourceOfEvents, prices: Mapping[str, Price]) -> Bill:
    try:
        return bill_of(part.attempts, (), prices, stream.started)
    except Exception:  # as in the account of a whole stream
        logger.exception("a part of stream %s cannot be accounted for in full", stream.id)
        return UNKNOWN
