"""Parts of a stream: the model calls that an iterable passed to `respond()` makes through `llm.events()`.

A part shares the stream's record, owner and budget. Stopping the stream stops its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from time import monotonic
from time import time
from typing import Protocol
from typing import cast
from typing import runtime_checkable

import msgspec

from ..errors import BudgetReached
from ..events import WHOLE
from ..events import Event
from ..events import Start
from ..settings import Price
from ..upstream.ending import Ending
from ..upstream.source import SourceOfEvents
from ..usage.bill import NO_USAGE
from ..usage.bill import bill_of
from .filled import producing
from .guard import guarded_batches
from .stream import Stream
from .structured import Structured
from .written import Written


@runtime_checkable
class HasParts(Protocol):
    """A source in which code of the app runs: an iterable, or tools."""

    def begin_part(self, part: SourceOfEvents) -> None:
        """Called before the app's code calls a model through `part`."""

    def numbered(self, events: Iterable[Event]) -> Iterable[Event]:
        """Renumber the part's tool calls, so that they continue the stream's count."""

    def end_part(self, events: Sequence[Event] = (), ending: Ending | None = None) -> None:
        """Called with the part's terminal events, and again without arguments when the part is closed."""


def whole() -> Stream | None:
    """The stream whose iterable runs this code. None if there is none, or if its answer is already complete."""
    stream = cast("Stream | None", producing())
    return None if stream is None or stream.ending in WHOLE else stream


def events_of_part(
    stream: Stream, part: SourceOfEvents, prices: Mapping[str, Price], structured: Structured | None = None
) -> Iterator[Event]:
    """The events of `part`, from `Start` to `Done`. The part is billed to `stream`."""
    yield Start(stream.id, part.asked.model, int(time()))
    source = stream.source if stream.is_open else None
    if not isinstance(source, HasParts):  # the stream was stopped: buy nothing more
        yield from Ending(stream.ending or "cancelled", usage=NO_USAGE).events()
        return
    meter = bill = None
    written = Written()
    source.begin_part(part)
    try:
        meter = stream.meter.begin_part(part) if stream.meter else None
        batches = guarded_batches(part, meter)
        with closing(structured.checked(batches) if structured else batches) as batches:
            for batch in batches:
                if isinstance(batch, Ending):
                    bill = bill_of(stream.id, part.attempts, (), prices, stream.started)
                    events = msgspec.structs.replace(batch, usage=bill.usage_event()).events()
                    source.end_part(events, batch)
                    yield from events
                    return
                if isinstance(batch, list):
                    stream.last_content_at = monotonic()  # the iterable may not pass it on, but the model is at work
                    written.keep(batch, part.attempts)
                    yield from source.numbered(batch)
    except BudgetReached as error:
        stream.fail(error)
        yield from msgspec.structs.replace(Ending.of(error), usage=NO_USAGE).events()
    finally:
        source.end_part()
        if meter is not None and stream.meter is not None:
            bill = bill or bill_of(stream.id, part.attempts, (), prices, stream.started)
            stream.meter.end_part(meter, bill)
