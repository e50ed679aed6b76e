"""Worker leases: each worker renews its own lease, and settles the streams of workers whose lease has expired."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from time import monotonic

from sqlalchemy import Connection
from sqlalchemy import delete
from sqlalchemy import exists
from sqlalchemy import insert
from sqlalchemy import select
from sqlalchemy import update

from ..usage.record import UsageRecord
from . import rows
from .database import Database
from .database import brief
from .schema import RUNNING
from .schema import usage
from .schema import workers

logger = logging.getLogger("llm_stream")

BEAT_S = 2.0
LEASE_S = 10.0
FORGOTTEN_AFTER = timedelta(days=1)
SWEPT_TOGETHER = 500

Settle = Callable[[Connection, UsageRecord], bool]
Publish = Callable[[str, UsageRecord], object]


class Lease:
    """Has its own thread and connection, so that the writer's queue cannot delay the renewal."""

    def __init__(self, database: Database, settle: Settle, publish: Publish) -> None:
        """`settle` writes the record of a lost stream. If it returns True, `publish` is called with the record."""
        self._database = database
        self._settle = settle
        self._publish = publish
        self.patience_s = LEASE_S
        """The age of a lease after which its worker's streams are settled."""
        self.forget("")

    def forget(self, worker: str) -> None:
        """Reset everything after a fork: the child is another worker."""
        self._worker = worker
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed_since: float | None = None
        self.is_failing = False
        """The last two renewals failed."""
        self._last_beat = float("-inf")
        self._beat: datetime | None = None
        self._connected_since = float("-inf")
        self._database.forget()

    @property
    def has_begun(self) -> bool:
        return self._thread is not None

    def begin(self) -> None:
        """Raises `RuntimeError` if no thread can be started."""
        with self._lock:
            if self._thread is None:
                self._ending = threading.Event()
                thread = threading.Thread(target=self._run, name="llm_stream lease", daemon=True)
                thread.start()
                self._thread = thread

    def close(self, within_s: float) -> None:
        thread, self._thread = self._thread, None
        self._ending.set()
        if thread is not None:
            thread.join(within_s)

    def renew(self, connection: Connection) -> datetime:
        """Renew the lease by the database's clock, and return its time."""
        now = self._database.now(connection)
        renewed = update(workers).where(workers.c.worker == self._worker).values(beat=now)
        if not connection.execute(renewed).rowcount:
            connection.execute(insert(workers).values(worker=self._worker, beat=now))
        return now

    def give_up(self, connection: Connection) -> None:
        """Delete the lease, unless a stream of this worker is still running."""
        running = exists().where(usage.c.status == RUNNING, usage.c.worker == self._worker)
        connection.execute(delete(workers).where(workers.c.worker == self._worker, ~running))

    def _run(self) -> None:
        ending = self._ending
        while not ending.is_set():
            try:
                self._renew_and_sweep()
            except Exception as error:
                self._note_failure(error)
            else:
                self._note_success()
            ending.wait(BEAT_S)
        self._database.close()

    def _note_failure(self, error: Exception) -> None:
        """Report the second failure in a row. The first may be a lock of SQLite that another process held too long."""
        if self._failed_since is None:
            self._failed_since = monotonic()
        elif not self.is_failing:
            self.is_failing = True
            logger.warning("the ledger is unavailable: %s", brief(error))

    def _note_success(self) -> None:
        if self.is_failing:
            logger.warning("the ledger is available again, after %.1f s", monotonic() - (self._failed_since or 0.0))
        self._failed_since, self.is_failing = None, False

    def _renew_and_sweep(self) -> None:
        """Renew the lease, and settle the streams of workers whose lease has expired.

        A worker sweeps only after it has been connected for as long as a lease lasts. After an outage of the database,
        a pause of this process or a change of the clock, the other workers need time to renew their leases.
        """
        while self._renew() and (swept := self._database.write(self._sweep)):
            # in a thread of its own, because hooks may take longer than the lease allows
            threading.Thread(target=self._publish_all, args=(swept,), name="llm_stream swept", daemon=True).start()

    def _renew(self) -> bool:
        """Renew the lease. Return whether leases that look expired really have expired."""
        beat, now = self._database.write(self.renew), monotonic()
        passed = now - self._last_beat
        by_database = (beat - self._beat).total_seconds() if self._beat else passed
        if passed > 2 * BEAT_S or abs(by_database - passed) > BEAT_S:
            self._connected_since = now
        self._last_beat, self._beat = now, beat
        return now - self._connected_since >= LEASE_S

    def _publish_all(self, swept: Sequence[tuple[str, UsageRecord]]) -> None:
        for llm, record in swept:
            logger.warning("stream %s was settled as interrupted: its worker is gone", record.id)
            self._publish(llm, record)

    def _sweep(self, connection: Connection) -> list[tuple[str, UsageRecord]]:
        now, patience = self._database.now(connection), timedelta(seconds=self.patience_s)
        # a wrong clock may have put a lease into the future; a worker that is alive has renewed it since
        alive = select(workers.c.worker).where(workers.c.beat > now - patience, workers.c.beat < now + patience)
        lost = (
            select(usage, workers.c.beat)
            .outerjoin(workers, workers.c.worker == usage.c.worker)
            .where(usage.c.status == RUNNING, usage.c.worker.not_in(alive))
            .order_by(usage.c.owner)
            .limit(SWEPT_TOGETHER)
        )
        records = [(row.llm, rows.lost(row)) for row in connection.execute(lost).all()]
        running = exists().where(usage.c.status == RUNNING, usage.c.worker == workers.c.worker)
        connection.execute(delete(workers).where(workers.c.beat <= now - FORGOTTEN_AFTER, ~running))
        return [(llm, record) for llm, record in records if self._settle(connection, record)]
