"""By what the workers of a ledger know that one of them is gone: each renews its lease, and looks at the others'."""

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
from .schema import RUNNING
from .schema import usage
from .schema import workers

logger = logging.getLogger("llm_stream")

BEAT_S = 2.0
LEASE_S = 10.0
FORGOTTEN_AFTER = timedelta(days=1)
SWEPT_TOGETHER = 500

Settle = Callable[[Connection, UsageRecord], bool]
Tell = Callable[[str, UsageRecord], object]


class Lease:
    """It has a thread and a connection of its own, so that nothing that is written can delay it."""

    def __init__(self, database: Database, settle: Settle, tell: Tell) -> None:
        """`settle` is called with the record of a stream that is lost; `tell` is told of it afterwards."""
        self._database = database
        self._settle = settle
        self._tell = tell
        self.forget("")

    def forget(self, worker: str) -> None:
        """After a fork: another worker begins anew."""
        self._worker = worker
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_beat = float("-inf")
        self._beat: datetime | None = None
        self._in_touch_since = float("-inf")
        self._database.forget()

    @property
    def has_begun(self) -> bool:
        return self._thread is not None

    def begin(self) -> None:
        """Raises `RuntimeError` where there are no more threads."""
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
        """By the database's clock, whose time is returned."""
        now = self._database.now(connection)
        renewed = update(workers).where(workers.c.worker == self._worker).values(beat=now)
        if not connection.execute(renewed).rowcount:
            connection.execute(insert(workers).values(worker=self._worker, beat=now))
        return now

    def give_up(self, connection: Connection) -> None:
        """Unless something still runs."""
        running = exists().where(usage.c.status == RUNNING, usage.c.worker == self._worker)
        connection.execute(delete(workers).where(workers.c.worker == self._worker, ~running))

    def _run(self) -> None:
        ending = self._ending
        while not ending.is_set():
            try:
                self._look()
            except Exception as error:  # the writer says it, too, if there is anything to write
                logger.debug("the ledger's lease cannot be renewed: %s", type(error).__name__)
            ending.wait(BEAT_S)
        self._database.close()

    def _look(self) -> None:
        """Renew the lease, and settle for workers that have none any more.

        That is judged only by who has been in touch with the database for as long as a lease lasts: after it was away,
        or this process was stopped, or somebody set the clock, the others must have had their chance.
        """
        while self._renew_and_judge() and (swept := self._database.write(self._sweep)):
            # hooks may take their time, which the lease does not have
            threading.Thread(target=self._tell_all, args=(swept,), name="llm_stream swept", daemon=True).start()

    def _renew_and_judge(self) -> bool:
        """Whether leases that look as if they had ended, have."""
        beat, now = self._database.write(self.renew), monotonic()
        passed = now - self._last_beat
        told = (beat - self._beat).total_seconds() if self._beat else passed
        if passed > 2 * BEAT_S or abs(told - passed) > BEAT_S:
            self._in_touch_since = now
        self._last_beat, self._beat = now, beat
        return now - self._in_touch_since >= LEASE_S

    def _tell_all(self, swept: Sequence[tuple[str, UsageRecord]]) -> None:
        for llm, record in swept:
            logger.warning("stream %s is settled for its worker, which is gone", record.id)
            self._tell(llm, record)

    def _sweep(self, connection: Connection) -> list[tuple[str, UsageRecord]]:
        now = self._database.now(connection)
        alive = select(workers.c.worker).where(workers.c.beat > now - timedelta(seconds=LEASE_S))
        lost = (
            select(usage, workers.c.beat)
            .outerjoin(workers, workers.c.worker == usage.c.worker)
            .where(usage.c.status == RUNNING, usage.c.worker.not_in(alive))
            .order_by(usage.c.owner)
            .limit(SWEPT_TOGETHER)
        )
        found = [(row.llm, rows.lost(row)) for row in connection.execute(lost).all()]
        running = exists().where(usage.c.status == RUNNING, usage.c.worker == workers.c.worker)
        connection.execute(delete(workers).where(workers.c.beat <= now - FORGOTTEN_AFTER, ~running))
        return [(llm, record) for llm, record in found if self._settle(connection, record)]
