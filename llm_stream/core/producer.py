"""What fills a stream from its source: a thread; and under gevent, between reads, the event loop itself."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from ..events import Event
from ..server.gevent import spawn
from ..settings import Settings
from ..upstream.ending import Ending
from ..upstream.source import SourceOfEvents
from ..upstream.source import Waits
from ..upstream.source import Watchable
from ..usage.meter import Meter
from .guard import Batch
from .guard import guard_batches


class Filled(Protocol):
    """What a producer needs of the stream that it fills."""

    id: str
    source: SourceOfEvents
    settings: Settings
    meter: Meter | None

    def take(self, batch: list[Event]) -> bool:
        """Append what came; whether there may be more. Does not block."""

    def end(self, ending: Ending) -> None:
        """The source has come to its end."""

    def fail(self, error: Exception) -> None:
        """The producer cannot go on."""

    def unwound(self) -> None:
        """The producer is done, one way or another."""


_producing: ContextVar[Filled | None] = ContextVar("llm_stream_producing", default=None)


def producing() -> Filled | None:
    """The stream that the calling code fills: an iterable that was given to one is run by its producer."""
    return _producing.get()


@contextmanager
def outside() -> Iterator[None]:
    """Run code of the app's that fills no stream, though a producer calls it: a hook."""
    token = _producing.set(None)
    try:
        yield
    finally:
        _producing.reset(token)


class Producer:
    """Drains a stream's source, from its call to its end.

    Between two reads of a call there is nothing to keep a greenlet for, and to wake one is most of what a token costs.
    So a source says when it is about to wait for a connection (`Waits`); if that is one that the event loop can watch,
    the thread ends there, and the loop takes what comes: it reads, decodes, appends, which never blocks. What may
    block (the settling, a retry, anything that is wrong) is given to a thread again. Only one of them is ever at work.
    """

    def __init__(self, stream: Filled) -> None:
        self._stream = stream
        self.context = contextvars.copy_context()
        self.context.run(_producing.set, stream)
        batches = stream.source.batches()
        self._batches = guard_batches(stream.meter.watched(batches) if stream.meter else batches)
        self._may_use_loop = stream.settings.fast_path
        self._watched: Watchable | None = None

    def start(self) -> None:
        """Begin, in a thread that sees the caller's context (its request, its trace). Raises `RuntimeError`."""
        name = f"llm_stream {self._stream.id}"
        threading.Thread(target=self.context.run, args=(self._run,), name=name, daemon=True).start()

    # In a thread…

    def _run(self, batch: Batch | None = None, error: Exception | None = None) -> None:
        """To the end, or until the event loop can go on. `batch` and `error` are what the loop has left."""
        is_over = True
        try:
            if error is not None:
                raise error
            is_over = self._drain(batch)
        except Exception as problem:
            self._stream.fail(problem)
        finally:
            if is_over:
                try:
                    self._batches.close()
                finally:
                    self._stream.unwound()

    def _drain(self, batch: Batch | None) -> bool:
        """Whether this was all."""
        while True:
            if isinstance(batch, Waits):
                if self._leave_to_loop(batch):
                    return False
            elif isinstance(batch, Ending):
                self._stream.end(batch)
            elif batch is not None and not self._stream.take(batch):
                return True
            try:
                batch = next(self._batches)
            except StopIteration:
                return True

    def _leave_to_loop(self, waits: Waits) -> bool:
        if not self._may_use_loop or waits.connection is None or not waits.connection.watch(self._readable):
            return False
        self._watched = waits.connection
        return True

    # In the event loop…

    def _readable(self) -> None:
        connection, batch = self._watched, None
        if connection is None:
            return
        try:
            if not connection.read_ahead():
                return
            for batch in self._batches:
                if isinstance(batch, Waits):
                    if batch.connection is connection:
                        return
                    break
                if isinstance(batch, Ending) or not self._stream.take(batch):
                    break
        except (OSError, EOFError):
            self._go_on_in_thread(None, None)
        except Exception as error:
            self._go_on_in_thread(None, error)
        else:
            self._go_on_in_thread(batch, None)

    def _go_on_in_thread(self, batch: Batch | None, error: Exception | None) -> None:
        if self._watched is not None:
            self._watched.unwatch()
            self._watched = None
        spawn(self.context.run, self._run, batch, error)
