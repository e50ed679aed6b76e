"""Runs the transforms of a stream: between the guarded source and the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from collections.abc import Iterator
from contextvars import copy_context
from time import monotonic
from typing import Any

from ..errors import StreamTooLarge
from ..events import CONTENT
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Start
from ..events import Usage
from ..upstream.ending import Ending
from ..upstream.iterator import checked
from ..upstream.iterator import discard
from ..upstream.text import whole
from .filled import Filled
from .filled import outside
from .guard import Batch
from .log.memory import size_of
from .transforms import Transform
from .written import Written

TOGETHER_S = 0.01
"""How long the transformed events of one read are collected, so that readers get them in one write."""

CUT_OFF = Ending("incomplete", "content_filter")


class Transformed:
    """Drains a source through the transforms into its stream.

    This class appends the events itself. A transform asks for the next event in the middle of its own code, and the
    events that it has already yielded must not wait for that event. So `batches()` yields only the `Ending`.

    The transforms and the source run in the same thread, but in separate contexts. Otherwise the transforms would see
    an app context that the source has entered.
    """

    def __init__(self, stream: Filled, batches: Generator[Batch, None, None]) -> None:
        self._stream = stream
        self._batches = batches
        self._context_of_source = copy_context()
        self._read: deque[Event] = deque()
        self._read_at = 0.0
        self._last: Event | None = None
        """The event that the first transform is working on."""
        self._written = Written()
        self._size = 0
        self._made: list[Event] = []
        self._ending: Ending | None = None
        """The ending of the source."""
        self._chosen: Ending | None = None
        """The ending that a transform has yielded, which takes precedence."""
        self._problem: StreamTooLarge | None = None

    def batches(self) -> Generator[Batch, None, None]:
        """Yields the `Ending` when all events are in the stream. Then the source may read the rest of a response.

        Raises what a transform raises.
        """
        try:
            yield copy_context().run(self._drain)
            while self._ending is not None and self._next_batch() is not None:
                pass
        finally:
            self._close_source()

    def _drain(self) -> Ending:
        with outside(), self._stream.transforms.entered():
            self._run()
        if self._problem is not None:
            raise self._problem
        if self._ending is None:
            self._close_source()  # before the stream settles: until then, the model keeps generating tokens
        return self._chosen or self._ending or CUT_OFF

    def _run(self) -> None:
        """Run the transforms to their end."""
        stages: list[Iterator[Event]] = [_Input(self)]
        for transform in self._stream.transforms.functions:
            stages.append(self._stage(transform, stages[-1]))
        try:
            for event in stages[-1]:
                self._made.append(event)
                if not self._read or monotonic() - self._read_at > TOGETHER_S:
                    self._append()
                if self._is_over:
                    return
        except GeneratorExit:
            if not self._is_over:
                raise
        finally:
            self._append()
            for stage in reversed(stages):
                discard(stage)

    def _stage(self, transform: Transform, events: Iterator[Event]) -> Iterator[Event]:
        """The events that one transform yields, checked, for the next transform."""
        items = iter(transform(events))
        try:
            for item in items:
                for event in self._events_of(item):
                    if isinstance(event, Done):
                        self._chosen = self._chosen or Ending(event.status, event.finish_reason)
                        return
                    if isinstance(event, Failure):
                        self._chosen = self._chosen or Ending("failed", failure=event)
                        return
                    if not isinstance(event, (Start, Usage)):  # the stream makes its own
                        yield event
        finally:
            discard(items)

    @property
    def _is_over(self) -> bool:
        """Whether the stream takes no more events."""
        return self._problem is not None or not self._stream.is_open

    # What the transforms ask for

    def next_event(self) -> Event:
        """The next event of the source.

        Raises `StopIteration` when the source has ended. If the stream takes no more events, raises `GeneratorExit`,
        which closes the transforms as `close()` would: a generator that is running cannot be closed from outside.
        """
        while not self._is_over:
            if self._read:
                self._last = self._read.popleft()
                return self._last
            if self._ending is not None:
                raise StopIteration
            self._append()
            batch = self._next_batch()
            if batch is None:  # a transform that is being closed asks for more
                raise StopIteration
            if isinstance(batch, list):
                self._keep(batch)
            elif isinstance(batch, Ending):
                self._ending = batch
        raise GeneratorExit

    def _next_batch(self) -> Batch | None:
        return self._context_of_source.run(next, self._batches, None)

    def _keep(self, batch: list[Event]) -> None:
        self._read.extend(batch)
        self._read_at = monotonic()
        if not CONTENT.isdisjoint(map(type, batch)):
            self._stream.last_content_at = self._read_at  # the transform may hold it back, but the model is at work
        self._written.keep(batch, self._stream.source.attempts)
        self._size += sum(map(size_of, batch))
        if self._size > self._stream.settings.max_stream_bytes:  # what is kept for the bill takes memory, too
            self._problem = StreamTooLarge()

    def _close_source(self) -> None:
        if self._ending is None:
            self._stream.source.interrupt()
        self._context_of_source.run(self._batches.close)

    # What the transforms yield

    def _events_of(self, item: Any) -> Iterator[Event]:
        """Raises `TypeError`, and msgspec's exceptions for an event that cannot be serialized."""
        if item is None or item == "":
            return
        if isinstance(item, str):
            yield Delta(whole(item))
        elif isinstance(item, list):
            for each in item:
                yield from self._events_of(each)
        elif isinstance(item, Event):
            yield item if item is self._last else checked(item)
        else:
            raise TypeError(f"a transform yields events and text, not {type(item).__name__}")

    def _append(self) -> None:
        made, self._made = self._made, []
        if made and not self._is_over:
            if self._stream.structured:
                made = self._stream.structured.with_partial(made)
            try:
                self._stream.take(made)
            except StreamTooLarge as error:
                self._problem = error


class _Input(Iterator[Event]):
    """The iterator that the first transform gets."""

    def __init__(self, transformed: Transformed) -> None:
        self._transformed = transformed

    def __next__(self) -> Event:
        return self._transformed.next_event()
