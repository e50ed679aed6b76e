"""Runs the calls of one step, each in a thread of its own, within its deadline."""

from __future__ import annotations

import contextvars
import logging
import secrets
import threading
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from itertools import groupby
from queue import Empty
from queue import Queue
from time import monotonic
from types import GeneratorType
from typing import Any

import msgspec
from pydantic_core import to_jsonable_python

from ...events import Data
from ...events import Event
from ...events import File
from ...events import Source
from ...events import ToolResult
from ...upstream.completion import Stopped
from .approvals import Call
from .tool import Tool
from .tool import ToolError
from .tool import WrongArguments

logger = logging.getLogger("llm_stream")

MAX_RESULT_BYTES = 262_144

UNKNOWN = "There is no tool of this name."
TOO_LATE = "The tool took too long."
TOO_LARGE = "The tool's result is too large."

Scope = Callable[[], AbstractContextManager[Any]]

_is_tool: ContextVar[bool] = ContextVar("llm_stream_is_tool", default=False)


def is_tool() -> bool:
    """Whether this code runs in a tool."""
    return _is_tool.get()


class _Job:
    """One call, while it runs."""

    def __init__(self, call: Call, tool: Tool | None, default_s: float) -> None:
        self.call = call
        self.tool = tool
        self.deadline_s = (tool.deadline_s if tool else None) or default_s
        self.ends_at = 0.0
        self.thread: int | None = None
        self.result: ToolResult | None = None
        self.is_abandoned = False
        """The stream no longer waits for this tool."""

    @property
    def is_concurrent(self) -> bool:
        return self.tool is not None and self.tool.concurrent

    def end(self, error: str) -> None:
        self.result = ToolResult(self.call.id, self.call.name, error=error)
        self.is_abandoned = True


class Run:
    """The calls run in the order given. Neighbours whose tools are `concurrent` run together.

    A blocked thread cannot be interrupted. After its deadline or a stop, the run abandons it: its result is dropped,
    and a tool that is a generator is closed when it next yields.
    """

    def __init__(
        self,
        calls: Sequence[tuple[Call, Tool | None]],
        scope: Scope,
        default_s: float,
        on_abandoned: Callable[[int], None],
    ) -> None:
        """`on_abandoned` is called with the id of a thread whose tool has missed its deadline."""
        self._jobs = [_Job(call, tool, default_s) for call, tool in calls]
        self._scope = scope
        self._on_abandoned = on_abandoned
        self._queue: Queue[tuple[_Job, Event] | None] = Queue()
        self._is_stopped = False

    def interrupt(self) -> None:
        """Make `events()` raise `Stopped` at once. May be called from any thread."""
        self._is_stopped = True
        self._queue.put(None)

    def events(self) -> Iterator[list[Event]]:
        """The events that tools yield, and the results. Concurrent tools' results come together. Raises `Stopped`."""
        for is_concurrent, jobs in groupby(self._jobs, lambda job: job.is_concurrent):
            for group in [list(jobs)] if is_concurrent else [[job] for job in jobs]:
                yield from self._events_of(group)

    def _events_of(self, group: Sequence[_Job]) -> Iterator[list[Event]]:
        try:
            for job in group:
                self._start(job)
            while not all(job.result for job in group):
                if event := self._next(group):
                    yield [event]
            yield [job.result for job in group if job.result]
        finally:
            for job in group:
                job.is_abandoned = True

    def _start(self, job: _Job) -> None:
        if self._is_stopped:
            raise Stopped()
        if job.tool is None:
            job.end(UNKNOWN)
            return
        job.ends_at = monotonic() + job.deadline_s
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work, job, job.tool), daemon=True)
        thread.name = f"llm_stream tool {job.tool.name}"
        try:
            thread.start()
            job.thread = thread.ident
        except RuntimeError as error:  # no more threads
            job.end(_failed(job.tool, error))

    def _next(self, group: Sequence[_Job]) -> Event | None:
        """Wait for the next event of a running tool, a result or a deadline. Raises `Stopped`."""
        running = [job for job in group if not job.result]
        try:
            item = self._queue.get(timeout=max(0.0, min(job.ends_at for job in running) - monotonic()))
        except Empty:
            for job in running:
                if job.ends_at <= monotonic():
                    self._abandon(job)
            return None
        if item is None or self._is_stopped:
            raise Stopped()
        job, outcome = item
        if job.is_abandoned:
            return None
        if not isinstance(outcome, ToolResult):
            return outcome
        job.result = outcome
        return None

    def _abandon(self, job: _Job) -> None:
        logger.warning("the tool %r did not return within %s s", job.call.name, job.deadline_s)
        job.end(TOO_LATE)
        if job.thread is not None:
            self._on_abandoned(job.thread)

    # In the tool's thread

    def _work(self, job: _Job, tool: Tool) -> None:
        _is_tool.set(True)
        call = job.call
        try:
            with self._scope():
                returned: Any = tool.function(**tool.parse(call.arguments))
                if isinstance(returned, GeneratorType):
                    returned = self._yielded_by(returned, job)
            result = ToolResult(call.id, call.name, _plain(returned))
        except (WrongArguments, ToolError) as error:
            result = ToolResult(call.id, call.name, error=str(error) or "The tool failed.")
        except BaseException as error:  # also sys.exit(): the stream waits for a result
            result = ToolResult(call.id, call.name, error=_failed(tool, error))
        self._queue.put((job, result))

    def _yielded_by(self, generator: Generator[Any, None, Any], job: _Job) -> Any:
        """Pass on the events that the tool yields. Return its result."""
        try:
            while not job.is_abandoned:
                try:
                    event = next(generator)
                except StopIteration as stop:
                    return stop.value
                if not isinstance(event, (Data, File, Source)):
                    raise TypeError(f"a tool may yield Data, File and Source, not {type(event).__name__}")
                msgspec.json.encode(event)  # an event that JSON cannot encode fails here, not in the stream
                self._queue.put((job, event))
            return None
        finally:
            generator.close()


def _plain(returned: Any) -> Any:
    """As plain JSON. Raises pydantic's and msgspec's errors, and `ToolError`."""
    encoded = msgspec.json.encode(to_jsonable_python(returned))
    if len(encoded) > MAX_RESULT_BYTES:
        raise ToolError(TOO_LARGE)
    return msgspec.json.decode(encoded)


def _failed(tool: Tool, error: BaseException) -> str:
    """Log the error. Return the text for the model and the reader."""
    error_id = secrets.token_hex(6)
    logger.error("the tool %r failed error_id=%s", tool.name, error_id, exc_info=error)
    return f"The tool failed (error_id {error_id})."
