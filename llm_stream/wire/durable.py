"""Durable Streams 1.0, reading only: an event is a JSON message, and its number is an offset.

https://github.com/durable-streams/durable-streams/blob/main/PROTOCOL.md
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from random import randrange
from time import time
from typing import Any
from typing import Protocol

import msgspec

from ..events import KINDS
from ..events import Event
from . import Wire
from . import sse

_json = msgspec.json.Encoder().encode

BEGINNING = "-1"
NOW = "now"

OFFSET_DIGITS = 9
"""Clients compare offsets as text, so all have the same width. `LOST` in `core/log` is the largest event number."""

EPOCH = 1_728_432_000
"""2024-10-09T00:00:00Z, the start of the protocol's cursor intervals."""

INTERVAL_S = 20
LARGEST_JITTER_S = 3600

HEADS = {kind: b'{"type":"%b","sequence_number":' % name.encode() for name, kind in KINDS.items()}


class Log(Protocol):
    """The part of a stream's log that this module reads."""

    @property
    def last(self) -> int: ...

    @property
    def ended(self) -> bool: ...


def offset(number: int) -> str:
    """The offset after the event with this number."""
    return f"{number:0{OFFSET_DIGITS}}"


def number_of(offset: str) -> int | None:
    """The event number in one of our offsets; None if the offset is malformed."""
    return sse.event_number(offset) if len(offset) == OFFSET_DIGITS else None


def next_cursor(cursor: str | None) -> int:
    """The number of the current interval, but always above the client's `cursor`: otherwise caches would loop."""
    current = int(time() - EPOCH) // INTERVAL_S
    known = int(cursor) if cursor and cursor.isascii() and cursor.isdecimal() and len(cursor) < 16 else -1
    if known < current:
        return current
    return known + max(1, randrange(1, LARGEST_JITTER_S + 1) // INTERVAL_S)


def has_all(log: Log, number: int) -> bool:
    """Whether a reader that has event `number` has the whole log so far."""
    return log.last <= number


def is_closed(log: Log, number: int) -> bool:
    """Whether event `number` is the last event of an ended stream."""
    return log.ended and has_all(log, number)  # in this order: an event may come between the two


def messages(batches: Iterable[tuple[int, Sequence[Event]]]) -> bytes:
    """Events as a JSON array. Each batch has the number of its first event."""
    return b"[%b]" % b",".join(
        _message(number, event) for first, events in batches for number, event in enumerate(events, first)
    )


def _message(number: int, event: Event) -> bytes:
    fields = _json(event)[1:]
    return b"%b%d%b%b" % (HEADS[type(event)], number, b"" if fields == b"}" else b",", fields)


class DurableWire(Wire):
    """The events of one read become one `data` event. A `control` event with the reader's new offset follows.

    It writes no space after `data:`, because the conformance tests look for the bytes without a space.
    """

    def __init__(self, log: Log, after: int, cursor: str | None) -> None:
        self._log = log
        self._after = after
        self._cursor = next_cursor(cursor)

    def opening(self, retry_ms: int = sse.RETRY_MS) -> bytes:
        """A reader that has everything gets its `control` event at once."""
        return self._control(self._after) if has_all(self._log, self._after) else b""

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        if not events:
            return b""
        return b"event: data\ndata:%b\n\n%b" % (messages([(first, events)]), self._control(first + len(events) - 1))

    def _control(self, last: int) -> bytes:
        control: dict[str, Any] = {"streamNextOffset": offset(last)}
        if is_closed(self._log, last):
            control |= {"upToDate": True, "streamClosed": True}
        else:
            self._cursor = max(self._cursor, next_cursor(None))
            control["streamCursor"] = str(self._cursor)
            if has_all(self._log, last):
                control["upToDate"] = True
        return b"event: control\ndata:%b\n\n" % _json(control)
