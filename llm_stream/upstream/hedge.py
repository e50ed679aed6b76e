"""Hedging: makes a second call if the first one is silent. The first call with content wins; the other one is cut."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from contextlib import closing

from .call import Batch
from .ending import Ending
from .runner import Runner
from .runner import speaks
from .source import Attempt
from .source import Waits

logger = logging.getLogger("llm_stream")


class Race:
    """The batches of the call that wins: the first or the second call.

    The first call runs in the thread that drains its batches: the stream's thread or the event loop. The second call
    has its own thread until the race is decided. If the second call wins, it cuts the first call's connection. This
    wakes the thread or the event loop that waits for the first call. Then the stream's thread continues with the second
    call's batches.
    """

    def __init__(
        self, first: Runner, after_s: float, make_second: Callable[[], Runner | None], attempts: list[Attempt]
    ) -> None:
        """`make_second` returns None if a second call is not allowed. `attempts` ends with the first call's attempt.
        When the race is decided, the winner's attempt is the last one.
        """
        self._first = first
        self._make_second = make_second
        self._attempts = attempts
        self._lock = threading.Lock()  # never held for long, because the event loop takes it, too
        self._winner: Runner | None = None
        self._second: Runner | None = None
        self._held: list[Batch | Ending] = []
        self._rest: Generator[Batch | Waits | Ending, None, None] | None = None
        self._is_over = False
        self._is_second_decided = threading.Event()
        self._timer = threading.Timer(after_s, self._run_second)
        self._timer.name, self._timer.daemon = "llm_stream hedge", True

    @property
    def is_whole(self) -> bool:
        return (self._winner or self._first).is_whole

    def cut(self) -> None:
        """Cut both calls."""
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            second = self._second
        self._first.cut()
        if second is not None:
            second.cut()

    def batches(self) -> Iterator[Batch | Waits | Ending]:
        """Raises `StreamError`."""
        self._timer.start()
        try:
            with closing(self._first.batches()) as batches:
                try:
                    yield from self._until_decided(batches)
                except Exception:
                    yield Waits()  # for the second call
                    if not self._has_second_won():
                        raise
            if self._winner is not self._first and self._rest is not None:
                yield Waits()  # so that the first connection is not watched any more
                yield from self._held
                yield from self._rest
        finally:
            self._finish()

    def _until_decided(self, batches: Iterator[Batch | Waits | Ending]) -> Iterator[Batch | Waits | Ending]:
        """All batches of the first call; none if the second call wins. Raises the first call's errors."""
        held: list[Batch | Ending] = []
        for batch in batches:
            if isinstance(batch, Waits):
                yield batch
                continue
            held.append(batch)
            if speaks(batch):
                if self._claim(self._first):
                    yield from held
                    yield from batches
                return

    def _has_second_won(self) -> bool:
        """After a failure of the first call: wait for the second one, if there is one, and return whether it wins."""
        with self._lock:
            if self._second is None:
                self._is_over = True
                return False
        if self._winner is None:
            self._is_second_decided.wait()
        return self._winner is self._second

    def _run_second(self) -> None:
        """Runs in the timer's thread."""
        try:
            if second := self._begin_second():
                self._run_until_decided(second)
        except Exception as error:  # the answer depends on the first call only
            logger.debug("a hedge failed: %r", error)
        finally:
            self._is_second_decided.set()

    def _begin_second(self) -> Runner | None:
        if self._is_over or self._winner is not None or (second := self._make_second()) is None:
            return None
        with self._lock:
            if not self._is_over and self._winner is None:
                second.attempt.written = []
                self._attempts.insert(len(self._attempts) - 1, second.attempt)
                self._second = second
                return second
        second.leave()
        return None

    def _run_until_decided(self, second: Runner) -> None:
        batches, has_won = second.batches(), False
        try:
            for batch in batches:
                if isinstance(batch, Waits):
                    continue
                self._held.append(batch)
                if speaks(batch):
                    self._rest = batches
                    has_won = self._claim(second)
                    break
        finally:
            if not has_won:
                batches.close()
                second.leave()
        if has_won:
            self._first.cut()

    def _claim(self, runner: Runner) -> bool:
        """Make `runner` the winner, unless the other call has won or the race is over."""
        with self._lock:
            if self._is_over or self._winner is not None:
                return False
            self._winner = runner
            second = self._second
            if runner is second:
                self._first.attempt.written, second.attempt.written = [], None
                self._attempts[-2:] = [self._first.attempt, second.attempt]
                return True
        self._timer.cancel()
        if second is not None:
            second.cut()
        return True

    def _finish(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            second, has_won = self._second, self._winner is not None and self._winner is self._second
        if second is not None and not has_won:
            second.cut()
        elif second is not None and self._rest is not None:
            self._rest.close()
            second.leave()
