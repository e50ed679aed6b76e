"""The database of a ledger: one connection that writes, others that read, and what SQLite and PostgreSQL differ in."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from typing import TypeVar

from sqlalchemy import Connection
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
from . import schema

Result = TypeVar("Result")

BUSY_S = 0.5
"""How long SQLite itself waits for a lock."""

PROGRAM_LIMIT = "54"
"""PostgreSQL's class of what is too large for it, and will be the next time."""

AT_ONCE = 3
"""So many questions are asked at the same time: gevent has ten native threads for everything."""

CONNECT_S = 2
LOST_S = 10
"""After so long, a write on PostgreSQL is given up that waits for somebody's lock, or for a server that is gone."""

DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}

_of_parents: list[Connection] = []

READS = "llm_stream_reads"


class Database:
    """Not connected before it is asked for something. `write` is for one thread at a time, `read` for any.

    Neither works in gevent's loop: SQLite waits in C; psycopg would let the others run, but then each of its statements
    waits for all of them, and in a busy loop that is for long.
    """

    def __init__(self, url: str) -> None:
        """Raises `ConfigError`, and `ImportError` where the driver is missing."""
        made = _checked(url)
        self._is_sqlite = made.get_backend_name() == "sqlite"
        self._engine = _sqlite(made) if self._is_sqlite else _postgresql(made)
        self._writing: Connection | None = None
        self._reads = threading.BoundedSemaphore(AT_ONCE)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Call `work` in a transaction. Raises what it raises, and SQLAlchemy's errors: then nothing is written."""
        result: Result = gevent.off_loop(self._write, work)
        return result

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Call `work` with a connection of its own."""
        with self._reads:
            result: Result = gevent.off_loop(self._read, work)
            return result

    def now(self, connection: Connection) -> datetime:
        """By the database's own clock, on which workers on different machines agree."""
        if self._is_sqlite:
            return utc_now()
        now = func.timezone("utc", func.clock_timestamp(), type_=schema.UTCTime())
        return connection.execute(select(now)).scalar_one()

    def close(self) -> None:
        """Let go of the connection that writes; the next `write` makes another."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.invalidate()
                writing.close()
            except DBAPIError:
                pass  # it was broken already

    def forget(self) -> None:
        """After a fork: the connection is the parent's, and closing it here would close it there."""
        self._reads = threading.BoundedSemaphore(AT_ONCE)
        if self._writing is not None:
            _of_parents.append(self._writing)
            self._writing = None

    def _write(self, work: Callable[[Connection], Result]) -> Result:
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
        """All that is read is of one moment, so that figures which are summed twice agree."""
        options = {READS: True} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        reading = connection.execution_options(**options)
        with reading.begin():
            yield reading


def is_passing(error: BaseException) -> bool:
    """Whether the same may succeed later: the database is locked, restarting, out of reach, or full for now."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError)
    if (getattr(error.orig, "sqlstate", None) or "").startswith(PROGRAM_LIMIT):
        return False
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def _checked(url: str) -> URL:
    try:
        made = make_url(url)
    except ArgumentError:
        raise ConfigError("LLM_STREAM_LEDGER_URL is no database URL; one is sqlite:////var/lib/app/usage.db") from None
    if made.drivername not in {*DRIVERS, *DRIVERS.values()}:
        raise ConfigError(
            f"LLM_STREAM_LEDGER_URL is of {made.drivername!r}: SQLite and PostgreSQL (psycopg) are known."
        )
    made = made.set(drivername=DRIVERS.get(made.drivername, made.drivername))
    if made.get_backend_name() == "sqlite" and made.database in (None, "", ":memory:"):
        raise ConfigError("LLM_STREAM_LEDGER_URL names no file: a ledger in memory would not outlive what it is for.")
    return made


def _sqlite(url: URL) -> Engine:
    arguments = {"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None}
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL").close()  # readers do not wait for who writes
        connection.execute("PRAGMA synchronous = FULL").close()  # what was answered for outlives a power cut

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Take the lock at once: one that is taken in the middle of a transaction cannot be waited for."""
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL) -> Engine:
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_S, "tcp_user_timeout": LOST_S * 1000}
    arguments |= {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    arguments |= {"application_name": "llm_stream", "client_encoding": "utf8"}
    given = {name: value for name, value in arguments.items() if name not in url.query}
    return create_engine(url, poolclass=NullPool, connect_args=given, hide_parameters=True)
