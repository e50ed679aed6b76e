"""The ledger has exactly one row per stream: written before the upstream is called, and settled once at the end."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from collections.abc import Callable
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy import bindparam
from sqlalchemy import delete
from sqlalchemy import select
from sqlalchemy import update

from ..errors import LedgerUnavailable
from ..errors import OverBudget
from ..usage.budget import Reservation
from ..usage.record import UsageRecord
from ..usage.record import storable
from ..usage.record import utc_now
from . import reservations
from .database import Database
from .database import is_passing
from .lease import LEASE_S
from .lease import Lease
from .rows import UNKNOWN_MODEL
from .rows import is_lost
from .rows import values_of
from .schema import INSERTS
from .schema import RUNNING
from .schema import usage
from .writer import FIRST
from .writer import LAST
from .writer import Entry
from .writer import Work
from .writer import Writer

logger = logging.getLogger("llm_stream")

Result = TypeVar("Result")

OPEN_S = 5.0
"""How long a new stream waits for its row. Without the row, the upstream is not called."""

SETTLE_S = 1.0
"""How long readers wait until a stream is settled. The writer keeps trying after that."""

PATIENT_S = 60.0
"""The age of a lease after which this ledger settles the streams that the shared log should have settled before."""

RETRY_AFTER_S = 5.0

NO_METADATA: Mapping[str, Any] = {}

# built once: in SQLAlchemy, building a statement takes ten times as long as running it
RUNNING_ROW = (usage.c.id == bindparam("stream"), usage.c.status == RUNNING)
SETTLE = update(usage).where(*RUNNING_ROW)
WITHDRAW = delete(usage).where(*RUNNING_ROW)
CORRECT = update(usage).where(usage.c.id == bindparam("stream"), *is_lost())
"""Corrects a row that another worker has settled, because it considered this one dead."""
OTHER = select(usage.c.id).where(usage.c.id == bindparam("stream"), usage.c.ended != bindparam("at"))
"""Finds a row that another worker has settled."""
INSERT = {dialect: insert(usage).on_conflict_do_nothing().returning(usage.c.id) for dialect, insert in INSERTS.items()}

Publish = Callable[[UsageRecord], object]


class Ledger:
    """Thread-safe. Each process connects when its first stream starts."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigError`."""
        self._database = Database(url)
        self._writer = Writer(self._database)
        self._lease = Lease(Database(url, LEASE_S / 2), self._settle_lost, self._publish)
        self._publishers: dict[str, Publish] = {}
        self._rename_worker()
        os.register_at_fork(after_in_child=self._after_fork)

    def begin(self) -> None:
        """Connect, and start to settle the rows of dead workers. Raises `RuntimeError` if no thread can be started."""
        if not self._lease.has_begun:
            self._writer.put(Entry(self._lease.renew, FIRST))  # the lease comes before the first row
            self._lease.begin()

    @property
    def is_away(self) -> bool:
        """Whether the lease cannot be renewed, or writes have been failing for longer than readers wait for a write."""
        return self._lease.is_failing or self._writer.trying_s > SETTLE_S

    @property
    def unwritten(self) -> int:
        """The number of records that are not in the database yet, including those that open a stream's row."""
        return self._writer.unwritten

    def open(
        self,
        *,
        id: str,
        llm: str,
        owner: str,
        model: str | None,
        started: datetime,
        metadata: Mapping[str, Any] = NO_METADATA,
        reservation: Reservation | None = None,
    ) -> None:
        """Write the row of a stream that is about to start, and reserve its budget, in one transaction.

        Raises `LedgerUnavailable` and `OverBudget`.
        """
        values: dict[str, Any] = {
            "id": id,
            "llm": llm,
            "worker": self.worker,
            "owner": storable(owner),
            "model": storable(model or UNKNOWN_MODEL),
            "metadata": json.dumps(metadata) if metadata else None,
        }
        values |= {"status": RUNNING, "started": started, "day": started.date().isoformat()}

        def row(connection: Connection) -> OverBudget | None:
            # a retry may find its own row, if the connection broke after the commit
            is_new = connection.execute(INSERT[connection.dialect.name], values).first() is not None
            if not is_new or reservation is None:
                return None
            if refusal := reservations.reserve(connection, id, reservation, started):
                connection.execute(WITHDRAW, {"stream": id})
            return refusal

        if self._writer.trying_s > OPEN_S:
            raise _unavailable()
        entry = Entry(row, owner)
        try:
            self.begin()
            self._writer.put(entry)
            if not entry.done.wait(OPEN_S):
                raise _unavailable()
        except BaseException as error:  # also a greenlet that is killed while it waits
            self._withdraw(id, owner)
            if isinstance(error, RuntimeError):  # no more threads
                raise _unavailable() from error
            raise
        _check(entry, id)

    def claim(self, id: str, reservation: Reservation, more: int) -> None:
        """Reserve more for a running stream. Raises `LedgerUnavailable` and `OverBudget`."""
        work = partial(reservations.claim, stream_id=id, reservation=reservation, more=more, now=utc_now())
        entry = Entry(work, reservation.owner)
        self._put(entry)
        if not entry.done.wait(OPEN_S):  # if it is written later, settling releases it
            raise _unavailable()
        _check(entry, id)

    def settle(self, record: UsageRecord, *, was_read: bool | None = None, charge: int | None = None) -> bool:
        """Write the record into its row, and replace the reservation by `charge`. None charges the reservation.

        Return False if another worker considered this one dead and settled the stream. The row is corrected then, but
        that worker has already published its own record. Returns within `SETTLE_S`; the writer keeps trying.
        """
        values = values_of(record) | {"was_read": was_read}

        def row(connection: Connection) -> bool:  # must not log: under gevent it runs in a native thread
            if self._settle(connection, record.id, values, charge):
                return True
            if connection.execute(CORRECT, {"stream": record.id} | values).rowcount:
                return False
            # another worker settled it from its events; or this one did, and the connection broke after the commit
            return connection.execute(OTHER, {"stream": record.id, "at": record.ended}).first() is None

        entry = Entry(row, record.owner)
        self._put(entry)
        if not entry.done.wait(SETTLE_S):
            logger.warning(
                "the record of stream %s is not in the ledger yet: the database is slow or unreachable", record.id
            )
        elif entry.error is not None:
            logger.error("cannot settle stream %s in the ledger", record.id, exc_info=entry.error)
        elif not entry.result:
            logger.warning("stream %s was settled by another worker, which considered this one dead", record.id)
            return False
        return True

    def settle_lost(self, record: UsageRecord, charge: int | None) -> bool:
        """Write the record of a dead worker's stream, and wait for it. Return whether this call settled the row."""
        values = values_of(record)

        def row(connection: Connection) -> bool:
            is_new = self._settle(connection, record.id, values, charge)
            if not is_new:  # a sweep may have settled it without its events
                connection.execute(CORRECT, {"stream": record.id} | values)
            return is_new

        entry = Entry(row, record.owner)
        self._put(entry)
        entry.done.wait()
        if entry.error is not None:
            logger.error("cannot settle stream %s in the ledger", record.id, exc_info=entry.error)
        return bool(entry.result)

    def read(self, question: Callable[[Connection], Result]) -> Result:
        """Call `question` with a connection for reading. Raises `LedgerUnavailable`, and SQLAlchemy's errors."""
        try:
            return self._database.read(question)
        except Exception as error:
            if is_passing(error):
                raise _unavailable() from error
            raise

    @property
    def file(self) -> Path | None:
        """The file of SQLite; None for a server."""
        return self._database.file

    def now(self) -> datetime:
        """The time of the database's clock. Raises what `read` raises."""
        return self.read(self._database.now)

    def write_soon(self, work: Work) -> None:
        """Queue a write without waiting for it. It may get lost."""
        self._writer.put(Entry(work, ""))

    def on_swept(self, llm: str, function: Publish) -> None:
        """Call `function` with the record of each stream of `llm` that this worker settles for a dead one."""
        self._publishers[llm] = function

    def leave_to_others(self) -> None:
        """Wait longer before settling streams of dead workers: the shared log has their events and settles first."""
        self._lease.patience_s = PATIENT_S

    def close(self, within_s: float = SETTLE_S) -> bool:
        """Write the queue, give up the lease, and disconnect. Return False if something is left in the queue."""
        until = monotonic() + within_s
        if self._writer.has_begun:
            self._lease.close(within_s / 2)
            self._writer.put(Entry(self._lease.give_up, LAST))
        return self._writer.close(max(0.0, until - monotonic()))

    # Rows

    def _settle(self, connection: Connection, id: str, values: dict[str, Any], charge: int | None) -> bool:
        """Return whether this call settled the row."""
        if not connection.execute(SETTLE, {"stream": id} | values).rowcount:
            return False
        reservations.release(connection, id, charge)
        return True

    def _withdraw(self, id: str, owner: str) -> None:
        """Delete the row of a stream that never started, in case it is still written."""

        def row(connection: Connection) -> None:
            if connection.execute(WITHDRAW, {"stream": id}).rowcount:
                reservations.release(connection, id, 0)

        self._put(Entry(row, owner))

    def _put(self, entry: Entry) -> None:
        try:
            self._writer.put(entry)
        except RuntimeError:
            logger.exception("cannot start the ledger's thread: its entries wait until the next stream starts")

    # Workers

    def _settle_lost(self, connection: Connection, record: UsageRecord) -> bool:
        return self._settle(connection, record.id, values_of(record), None)

    def _publish(self, llm: str, record: UsageRecord) -> None:
        if publish := self._publishers.get(llm):
            publish(record)

    def _rename_worker(self) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lease.forget(self.worker)

    def _after_fork(self) -> None:
        self._writer.forget()
        self._rename_worker()


def _unavailable() -> LedgerUnavailable:
    return LedgerUnavailable(retry_after=RETRY_AFTER_S)


def _check(entry: Entry, id: str) -> None:
    """Raises `LedgerUnavailable`, and the `OverBudget` that the entry returned."""
    if entry.error is not None:
        logger.error("cannot write stream %s to the ledger", id, exc_info=entry.error)
        raise _unavailable()
    if entry.result is not None:
        raise entry.result
