"""The ledger: exactly one row per stream, opened before the upstream is called, settled once at its end."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy import bindparam
from sqlalchemy import delete
from sqlalchemy import update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite

from ..errors import LedgerUnavailable
from ..errors import OverBudget
from ..usage.budget import Reservation
from ..usage.record import UsageRecord
from ..usage.record import storable
from ..usage.record import utc_now
from . import reservations
from .database import Database
from .database import is_passing
from .lease import Lease
from .rows import UNKNOWN_MODEL
from .rows import is_lost
from .rows import values_of
from .schema import RUNNING
from .schema import usage
from .writer import Entry
from .writer import Work
from .writer import Writer

logger = logging.getLogger("llm_stream")

Result = TypeVar("Result")

OPEN_S = 5.0
"""How long a new stream waits for its row. What cannot be recorded is not bought."""

SETTLE_S = 1.0
"""How long a stream's readers wait for its settling; it goes on without them, for as long as the worker lives."""

RETRY_AFTER_S = 5.0

FIRST, LAST = "", chr(0x10FFFF)

# made once: SQLAlchemy takes ten times as long to make a statement as to run it
RUNNING_ROW = (usage.c.id == bindparam("stream"), usage.c.status == RUNNING)
SETTLE = update(usage).where(*RUNNING_ROW)
WITHDRAW = delete(usage).where(*RUNNING_ROW)
CORRECT = update(usage).where(usage.c.id == bindparam("stream"), *is_lost())
"""What a worker knows of its own stream that was settled by another, when it had been taken for gone."""
INSERT = {
    dialect: insert(usage).on_conflict_do_nothing().returning(usage.c.id)
    for dialect, insert in (("postgresql", postgresql.insert), ("sqlite", sqlite.insert))
}

Told = Callable[[UsageRecord], object]


class Ledger:
    """All methods may be called from any thread. Nothing is connected before the first stream, in each process anew."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigError`."""
        self._database = Database(url)
        self._writer = Writer(self._database)
        self._lease = Lease(Database(url), self._settle_lost, self._tell)
        self._told: dict[str, Told] = {}
        self._begin_anew()
        os.register_at_fork(after_in_child=self._after_fork)

    def begin(self) -> None:
        """Connect, and look after rows whose worker is gone. Raises `RuntimeError` where there are no more threads."""
        if not self._lease.has_begun:
            self._writer.put(Entry(self._lease.renew, FIRST))  # before there is a row that it stands for
            self._lease.begin()

    def open(
        self,
        *,
        id: str,
        llm: str,
        owner: str,
        model: str | None,
        started: datetime,
        reservation: Reservation | None = None,
    ) -> None:
        """Write the row of a stream that is about to start, and reserve what it may cost, or do neither.

        Raises `LedgerUnavailable` and `OverBudget`.
        """
        values: dict[str, Any] = {
            "id": id,
            "llm": llm,
            "worker": self.worker,
            "owner": storable(owner),
            "model": storable(model or UNKNOWN_MODEL),
        }
        values |= {"status": RUNNING, "started": started, "day": started.date().isoformat()}

        def row(connection: Connection) -> OverBudget | None:
            if not _insert_once(connection, values) or reservation is None:
                return None
            if refused := reservations.reserve(connection, id, reservation, started):
                connection.execute(WITHDRAW, {"stream": id})
            return refused

        if self._writer.trying_s > OPEN_S:
            raise LedgerUnavailable(retry_after=RETRY_AFTER_S)
        entry = Entry(row, owner)
        try:
            self.begin()
            self._writer.put(entry)
            is_done = entry.done.wait(OPEN_S)
        except BaseException as error:  # or a greenlet that is killed while it waits
            self._withdraw(id, owner)
            if isinstance(error, RuntimeError):  # no more threads
                raise LedgerUnavailable(retry_after=RETRY_AFTER_S) from error
            raise
        if not is_done:
            self._withdraw(id, owner)
            raise LedgerUnavailable(retry_after=RETRY_AFTER_S)
        _raise_what_is_wrong(entry, id)

    def claim(self, id: str, reservation: Reservation, more: int) -> None:
        """Reserve more for a running stream. Raises `LedgerUnavailable` and `OverBudget`."""
        work = partial(reservations.claim, stream_id=id, reservation=reservation, more=more, now=utc_now())
        entry = Entry(work, reservation.owner)
        self._put(entry)
        if not entry.done.wait(OPEN_S):  # should it be done later, it is released with the rest
            raise LedgerUnavailable(retry_after=RETRY_AFTER_S)
        _raise_what_is_wrong(entry, id)

    def settle(self, record: UsageRecord, *, was_read: bool | None = None, charge: int | None = None) -> bool:
        """Write the end into the row, and `charge` in the place of what is reserved; None where it is not known.

        False: another worker had taken this one for gone, and has told of the stream already; its row is corrected.
        Returns after SETTLE_S at the latest, and then goes on in the background.
        """
        values = values_of(record) | {"was_read": was_read}

        def row(connection: Connection) -> bool:  # logs nothing: under gevent it runs in a native thread
            if self._settle(connection, record.id, values, charge):
                return True
            # else it was swept; or done, when the connection broke after the database had committed
            return not connection.execute(CORRECT, {"stream": record.id} | values).rowcount

        entry = Entry(row, record.owner)
        self._put(entry)
        if not entry.done.wait(SETTLE_S):
            logger.warning("stream %s ends before the ledger has its record", record.id)
        elif entry.error is not None:
            logger.error("stream %s cannot be settled in the ledger", record.id, exc_info=entry.error)
        elif not entry.result:
            logger.warning("stream %s was settled by another worker, to which this one was gone", record.id)
            return False
        return True

    def read(self, question: Callable[[Connection], Result]) -> Result:
        """Ask the database something. Raises `LedgerUnavailable`, and SQLAlchemy's errors."""
        try:
            return self._database.read(question)
        except Exception as error:
            if is_passing(error):
                raise LedgerUnavailable(retry_after=RETRY_AFTER_S) from error
            raise

    def write_soon(self, work: Work) -> None:
        """Have something written of which it does not matter when, or whether."""
        self._writer.put(Entry(work, ""))

    def on_swept(self, llm: str, function: Told) -> None:
        """Call `function` with the record of each stream of `llm` that is settled here for a worker that is gone."""
        self._told[llm] = function

    def close(self, within_s: float = SETTLE_S) -> bool:
        """Write what waits, give up the lease, and disconnect. False: something could not be written."""
        if self._writer.has_begun:
            self._lease.close(within_s)
            self._writer.put(Entry(self._lease.give_up, LAST))
        return self._writer.close(within_s)

    # Rows…

    def _settle(self, connection: Connection, id: str, values: dict[str, Any], charge: int | None) -> bool:
        """Whether it was this call that settled the row."""
        if not connection.execute(SETTLE, {"stream": id} | values).rowcount:
            return False
        reservations.release(connection, id, charge)
        return True

    def _withdraw(self, id: str, owner: str) -> None:
        """Have no row for a stream that nobody waited for, should it still come to one."""

        def row(connection: Connection) -> None:
            if connection.execute(WITHDRAW, {"stream": id}).rowcount:
                reservations.release(connection, id, 0)

        self._put(Entry(row, owner))

    def _put(self, entry: Entry) -> None:
        try:
            self._writer.put(entry)
        except RuntimeError:
            logger.exception("no thread for the ledger: entries wait for the next stream's")

    # Workers…

    def _settle_lost(self, connection: Connection, record: UsageRecord) -> bool:
        return self._settle(connection, record.id, values_of(record), None)

    def _tell(self, llm: str, record: UsageRecord) -> None:
        if told := self._told.get(llm):
            told(record)

    def _begin_anew(self) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lease.forget(self.worker)

    def _after_fork(self) -> None:
        self._writer.forget()
        self._begin_anew()


def _raise_what_is_wrong(entry: Entry, id: str) -> None:
    if entry.error is not None:
        logger.error("the ledger cannot write of stream %s", id, exc_info=entry.error)
        raise LedgerUnavailable(retry_after=RETRY_AFTER_S)
    if entry.result is not None:
        raise entry.result


def _insert_once(connection: Connection, values: dict[str, Any]) -> bool:
    """Whether it was not there yet: it is when the connection broke after the database had committed."""
    return connection.execute(INSERT[connection.dialect.name], values).first() is not None
