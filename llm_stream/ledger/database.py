"""The ledger's database: one connection for writing, more for reading, on SQLite or PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic
from time import sleep
from typing import Any
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy import Dialect
from sqlalchemy import Engine
from sqlalchemy import NullPool
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy import func
from sqlalchemy import select
from sqlalchemy.engine import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import InterfaceError
from sqlalchemy.exc import OperationalError

from ..errors import ConfigError
from ..server import gevent
from ..usage.record import utc_now
from . import patience
from . import schema

Result = TypeVar("Result")

BUSY_S = 0.5
"""How long SQLite waits for a lock."""

RETRY_S = 0.01
"""The wait between two attempts to get a lock for which SQLite itself does not wait."""

PROGRAM_LIMIT = "54"
"""PostgreSQL's error class for statements beyond its limits: a retry cannot succeed."""

MAX_READS = 3
"""How many reads may run at the same time: gevent has ten native threads for everything."""

CONNECT_S = 2
LOST_S = 10
"""How long a write on PostgreSQL may wait for a lock, or for a server that does not answer."""

GIVEN_UP_S = LOST_S + 5
"""How long a write on PostgreSQL may take, before its connection is given up."""

LONGEST_READ_S = 60
"""The same limit for a read: a report over years may take long."""

DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}

_of_parents: list[Connection] = []

READS = "llm_stream_reads"


class Database:
    """Connects on first use. `write` is for one thread at a time, `read` for any number of threads.

    Under gevent both run in a native thread. SQLite blocks in C. psycopg would yield to other greenlets, but in a busy
    event loop each of its statements would wait for all of them.
    """

    def __init__(self, url: str, given_up_s: float = GIVEN_UP_S) -> None:
        """`given_up_s` limits a write on PostgreSQL. Raises `ConfigError`, and `ImportError` without the driver."""
        parsed = _parse(url)
        self._given_up_s = given_up_s
        self._is_sqlite = parsed.get_backend_name() == "sqlite"
        self.file = Path(parsed.database) if self._is_sqlite and parsed.database else None
        """The file of SQLite; None for PostgreSQL."""
        self._engine = _sqlite(parsed) if self._is_sqlite else _postgresql(parsed)
        self._writing: Connection | None = None
        self._reads = threading.BoundedSemaphore(MAX_READS)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Call `work` in a transaction, which any error rolls back. Raises SQLAlchemy's errors and those of `work`."""
        return self._patiently(self._write, work, self._given_up_s)

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Call `work` with its own connection, in a transaction that reads one snapshot. Raises as `write` does."""
        with self._reads:
            return self._patiently(self._read, work, LONGEST_READ_S)

    def now(self, connection: Connection) -> datetime:
        """The time of the database's clock, which workers on different machines share."""
        if self._is_sqlite:
            return utc_now()
        now = func.timezone("utc", func.clock_timestamp(), type_=schema.UTCTime())
        return connection.execute(select(now)).scalar_one()

    def close(self) -> None:
        """Close the connection for writing. The next `write` opens another."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.invalidate()
                writing.close()
            except DBAPIError:
                pass  # it was broken already

    def forget(self) -> None:
        """Set the connection aside after a fork. It is the parent's, and closing it here would break it there."""
        self._reads = threading.BoundedSemaphore(MAX_READS)
        if self._writing is not None:
            _of_parents.append(self._writing)
            self._writing = None

    def _patiently(
        self,
        do: Callable[[Callable[[Connection], Result]], Result],
        work: Callable[[Connection], Result],
        within_s: float,
    ) -> Result:
        result: Result
        if self._is_sqlite:  # no server that could stop answering
            result = gevent.off_loop(do, work)
            return result

        def watched() -> Result:
            token = patience.begin(waiting)
            try:
                return do(work)
            finally:
                patience.end(token)

        with patience.Patience(within_s) as waiting:
            result = gevent.off_loop(watched)
            return result

    def _write(self, work: Callable[[Connection], Result]) -> Result:
        if self._writing is not None:
            patience.watch(self._writing.connection.driver_connection)
        if self._writing is None:
            connection = self._engine.connect()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._writing = connection
        try:
            with self._writing.begin():
                return work(self._writing)
        except DBAPIError:
            self.close()
            raise

    def _prepare(self, connection: Connection) -> None:
        if not self._is_sqlite:
            connection.exec_driver_sql(f"SET statement_timeout = '{LOST_S}s'")
            connection.commit()
        with connection.begin():
            schema.migrate(connection)

    def _read(self, work: Callable[[Connection], Result]) -> Result:
        with self._engine.connect() as connection, self._reading(connection) as reading:
            return work(reading)

    @contextmanager
    def _reading(self, connection: Connection) -> Iterator[Connection]:
        """A transaction that reads one snapshot, so that two sums over the same rows agree."""
        options = {READS: True} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        reading = connection.execution_options(**options)
        with reading.begin():
            yield reading


def is_passing(error: BaseException) -> bool:
    """Whether a retry may succeed: the database is locked, restarting, unreachable, or full."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError)
    if (getattr(error.orig, "sqlstate", None) or "").startswith(PROGRAM_LIMIT):
        return False
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def _parse(url: str) -> URL:
    """Raises `ConfigError`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError("LLM_STREAM_LEDGER_URL is not a database URL like sqlite:////var/lib/app/usage.db") from None
    if parsed.drivername not in {*DRIVERS, *DRIVERS.values()}:
        raise ConfigError(
            f"LLM_STREAM_LEDGER_URL has the driver {parsed.drivername!r}: use SQLite or PostgreSQL (psycopg)."
        )
    parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError("LLM_STREAM_LEDGER_URL names no file: a ledger in memory would be lost with its process.")
    return parsed


def _sqlite(url: URL) -> Engine:
    arguments = {"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None}
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL").close()  # a committed row survives a power cut

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Take the write lock at the start: SQLite does not wait for a lock that it takes within a transaction."""
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers not wait for the writer.

    If two connections do this to a new file at the same time, SQLite refuses one of them at once: it does not wait for
    this lock.
    """
    deadline = monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
        sleep(RETRY_S)


def _postgresql(url: URL) -> Engine:
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_S, "tcp_user_timeout": LOST_S * 1000}
    arguments |= {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    arguments |= {"application_name": "llm_stream", "client_encoding": "utf8"}
    defaults = {name: value for name, value in arguments.items() if name not in url.query}
    engine = create_engine(url, poolclass=NullPool, connect_args=defaults, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _: Any, arguments: Any, options: Any) -> Any:
        connection = dialect.connect(*arguments, **options)
        patience.watch(connection)  # SQLAlchemy sends it queries before it returns it
        return connection

    return engine


def brief(error: Exception) -> str:
    """The error without its SQL statement, which may have personal data."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
