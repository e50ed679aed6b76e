"""Drains a source into its stream: in a thread, and under gevent also in the event loop's callback."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Generator

from ..server.gevent import spawn
from ..upstream.ending import Ending
from ..upstream.source import Waits
from ..upstream.source import Watchable
from .filled import Filled
from .filled import produce
from .guard import Batch
from .guard import guard_batches
from .guard import guarded_batches
from .transformed import Transformed


class Producer:
    """Drains a stream's source, from the upstream call to its end.

    A greenlet per stream costs memory, and waking it is most of the cost of a token. So a source yields `Waits` before
    it blocks on a connection. If the event loop can watch that connection, the thread ends, and the loop's callback
    reads, decodes and appends the data that arrives; none of that blocks. Anything that may block (settling, a retry,
    an error) goes back to a thread. The thread and the callback never run at the same time.
    """

    def __init__(self, stream: Filled) -> None:
        self._stream = stream
        self.context = contextvars.copy_context()
        self.context.run(produce, stream)
        self._batches = self.context.run(_batches_of, stream)
        self._may_use_loop = stream.settings.fast_path
        self._watched: Watchable | None = None

    def start(self) -> None:
        """Start a thread that has the caller's context (request, trace). Raises `RuntimeError`."""
        name = f"llm_stream {self._stream.id}"
        threading.Thread(target=self.context.run, args=(self._run,), name=name, daemon=True).start()

    def _run(self, batch: Batch | None = None, error: Exception | None = None) -> None:
        """The thread's function. `batch` is the batch that the event loop left to it, `error` the loop's exception."""
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
        """Return True at the end of the source, False if the event loop continues."""
        if batch is None:
            batch = self._append_batches()
        while batch is not None:
            if isinstance(batch, Waits):
                if self._hand_to_loop(batch):
                    return False
            elif isinstance(batch, Ending):
                self._stream.end(batch)
            else:
                return True
            batch = self._append_batches()
        return True

    def _append_batches(self) -> Batch | None:
        """Append batches. Return the first that cannot be: `Waits`, an `Ending`, or events that the stream refused.

        Returns None when the source is exhausted.
        """
        for batch in self._batches:
            if not isinstance(batch, list) or not self._stream.take(batch):
                return batch
        return None

    def _hand_to_loop(self, waits: Waits) -> bool:
        if not self._may_use_loop or waits.connection is None or not waits.connection.watch(self._on_readable):
            return False
        self._watched = waits.connection
        return True

    def _on_readable(self) -> None:
        """The event loop's callback. It must not block."""
        connection, batch, problem = self._watched, None, None
        if connection is None:
            return
        try:
            if not connection.read_ahead():
                return
            batch = self._append_batches()
            if isinstance(batch, Waits) and batch.connection is connection:
                return
        except (OSError, EOFError):
            pass  # the source runs into the same error when the thread reads
        except Exception as error:
            problem = error
        connection.unwatch()
        self._watched = None
        spawn(self.context.run, self._run, batch, problem)


def _batches_of(stream: Filled) -> Generator[Batch, None, None]:
    batches = guarded_batches(stream.source, stream.meter)
    if stream.transforms.apply():
        batches = guard_batches(Transformed(stream, batches).batches())
    return stream.structured.checked(batches) if stream.structured else batches
