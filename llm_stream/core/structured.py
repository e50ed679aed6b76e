"""Follows an answer with a schema: collects its JSON so far, and checks the complete answer."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from ..errors import InvalidOutput
from ..events import Approval
from ..events import Delta
from ..events import Event
from ..events import Partial
from ..events import Refusal
from ..events import Reset
from ..events import Step
from ..events import ToolCall
from ..upstream.ending import Ending
from ..upstream.iterator import discard
from ..upstream.source import Waits
from .guard import Batch
from .guard import ending_of
from .guard import guard_batches
from .schema import Schema

GROWTH = 8
"""A `Partial` is sent each time the text has grown by an eighth.

So all partial texts of an answer together are at most nine times as long as it, in however many pieces it comes.
"""

NOTHING = object()


class Structured:
    """Adds `Partial` events to a stream, and fails a completed answer that does not match the schema.

    Only the text since the last `Step` or `Reset` counts. A refusal is not checked, and neither is an answer that ends
    with tool calls.
    """

    def __init__(self, schema: Schema, scope: Callable[[], AbstractContextManager[Any]]) -> None:
        """The app's validators run inside `scope()`: their code is not part of the stream's source."""
        self._schema = schema
        self._scope = scope
        self._begin()

    def _begin(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._next_at = 1
        self._sent: Any = NOTHING
        self._is_no_json = False

    def checked(self, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        """The batches, with `Partial` events added, and with the ending that the check decides."""
        return guard_batches(self._checked(batches))

    def _checked(self, batches: Iterable[Batch]) -> Generator[Batch, None, None]:
        try:
            for batch in batches:
                if isinstance(batch, list):
                    yield self.with_partial(batch)
                elif isinstance(batch, Ending):
                    yield Waits()  # the app's validators may block
                    partial, ending = self._end(batch)
                    if partial is not None:
                        yield [partial]
                    yield ending
                else:
                    yield batch
        finally:
            discard(batches)

    def with_partial(self, batch: list[Event]) -> list[Event]:
        """The events of one read, followed by a `Partial` if the text has grown enough and its JSON has changed."""
        for event in batch:
            if isinstance(event, Delta):
                self._pieces.append(event.text)
                self._length += len(event.text)
            elif isinstance(event, (Step, Reset)):
                self._begin()
            elif isinstance(event, (Refusal, ToolCall, Approval)):
                self._is_no_json = True
        if self._length < self._next_at:
            return batch
        partial = self._partial()
        return batch if partial is None else [*batch, partial]

    def _partial(self) -> Partial | None:
        """None if the text has no JSON yet, or the JSON has not changed."""
        self._next_at = self._length + max(1, self._length // GROWTH)
        try:
            value = self._schema.so_far(self._text)
        except ValueError:
            return None
        if value == self._sent:
            return None
        self._sent = value
        return Partial(value)

    @property
    def _text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def _end(self, ending: Ending) -> tuple[Partial | None, Ending]:
        if ending.status != "completed" or self._is_no_json:
            return self._partial(), ending
        try:
            with self._scope():
                value = self._schema.whole(self._text)
        except InvalidOutput as error:
            return self._partial(), msgspec.structs.replace(ending_of(error), usage=ending.usage)
        return Partial(value, whole=True), ending
