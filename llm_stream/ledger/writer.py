"""The ledger's writer: one thread that commits queued entries in batches, and retries until it succeeds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from sqlalchemy import Connection

from .database import Database
from .database import brief
from .database import is_passing

logger = logging.getLogger("llm_stream")

MAX_TOGETHER = 200
FIRST_BACKOFF_S = 0.05
LONGEST_BACKOFF_S = 1.0

FIRST, LAST = "", chr(0x10FFFF)
"""The order of an entry that is written before, or after, all others. Such an entry is not a record."""

Work = Callable[[Connection], Any]


class Entry:
    """A queued write and its result."""

    def __init__(self, work: Work, order: str) -> None:
        """A batch is sorted by `order`: two workers lock the same rows in the same order, so they cannot deadlock."""
        self.work = work
        self.order = order
        self.result: Any = None
        self.error: Exception | None = None
        self.done = threading.Event()

    def finish(self, result: Any = None, error: Exception | None = None) -> None:
        self.result, self.error = result, error
        self.done.set()


class Writer:
    """The thread starts with the first entry and ends on `close()`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.forget()

    def forget(self) -> None:
        """Reset everything after a fork: thread, lock and entries belong to the parent."""
        self._awake = threading.Condition()
        self._entries: list[Entry] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._trying_since: float | None = None
        self._lost = 0
        self._database.forget()

    @property
    def trying_s(self) -> float:
        """For how long writes have been failing, in seconds."""
        since = self._trying_since
        return 0.0 if since is None else monotonic() - since

    @property
    def unwritten(self) -> int:
        """The number of queued records."""
        return sum(entry.order not in (FIRST, LAST) for entry in self._entries)

    @property
    def has_begun(self) -> bool:
        return self._thread is not None

    def begin(self) -> None:
        """Raises `RuntimeError` if no thread can be started."""
        with self._awake:
            self._closing = False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="llm_stream ledger", daemon=True)
                thread.start()
                self._thread = thread

    def put(self, entry: Entry) -> None:
        """Queue an entry. It is written as soon as the database is reachable."""
        with self._awake:
            self._entries.append(entry)
            if self._trying_since is None:  # else a write is under way, or waits for its backoff
                self._awake.notify()
        self.begin()

    def close(self, within_s: float) -> bool:
        """Write the queue and end the thread. Return False if entries are left after `within_s` seconds."""
        thread = self._thread
        if thread is not None:
            with self._awake:
                self._closing = True
                self._awake.notify()
            thread.join(within_s)
            if not thread.is_alive():
                self._database.close()
        if (lost := self.unwritten) > self._lost:
            logger.error("the ledger is unavailable, and this process ends: %d records are only in this log", lost)
        self._lost = lost
        return not self._entries

    # The thread

    def _run(self) -> None:
        backoff = 0.0
        while self._wait(backoff):
            self._trying_since = self._trying_since or monotonic()
            try:
                self._write_batch()
            except Exception as error:
                if backoff == FIRST_BACKOFF_S:  # the first failure may be a lock that another process held too long
                    logger.warning("cannot write to the ledger, entries are queued: %s", brief(error))
                backoff = min(2 * backoff or FIRST_BACKOFF_S, LONGEST_BACKOFF_S)
            else:
                if backoff > FIRST_BACKOFF_S:
                    logger.warning("can write to the ledger again, after %.1f s", self.trying_s)
                backoff, self._trying_since = 0.0, None

    def _wait(self, backoff: float) -> bool:
        """Wait until there is something to do. Return False when the thread must end."""
        with self._awake:
            if backoff:
                self._awake.wait(backoff)
            elif not self._entries and not self._closing:
                self._awake.wait()
            if self._closing and not self._entries:
                self._thread = None
            return self._thread is not None

    def _write_batch(self) -> None:
        batch = sorted(self._entries[:MAX_TOGETHER], key=lambda entry: entry.order)
        try:
            if batch and not self._write_together(batch):
                for entry in batch:
                    self._write_alone(entry)
        finally:
            with self._awake:
                self._entries = [entry for entry in self._entries if not entry.done.is_set()]

    def _write_together(self, batch: list[Entry]) -> bool:
        """Write all in one transaction. Return False if an entry failed for good. Raises errors that may pass."""
        try:
            results = self._database.write(lambda connection: [entry.work(connection) for entry in batch])
        except Exception as error:
            if is_passing(error):
                raise
            return False
        for entry, result in zip(batch, results, strict=True):
            entry.finish(result)
        return True

    def _write_alone(self, entry: Entry) -> None:
        try:
            entry.finish(self._database.write(entry.work))
        except Exception as error:
            if is_passing(error):
                raise
            entry.finish(error=error)
