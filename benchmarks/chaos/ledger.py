"""The ledgers of the run: the troubles of their databases, and their contents."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import closing
from contextlib import suppress
from pathlib import Path
from time import monotonic
from time import sleep
from typing import Any

from sqlalchemy import NullPool
from sqlalchemy import create_engine
from sqlalchemy import text

from .postgresql import PostgreSQL

TABLES = ("llm_stream_usage", "llm_stream_reservations", "llm_stream_budgets")
SMALLEST = 4096
"""The file size limit that imitates a full disk. Files shorter than this can still grow to it."""


class SQLiteLedger:
    """An SQLite file that the workers write."""

    kinds = ("lock", "full")

    def __init__(self, folder: Path, workers: Callable[[], Sequence[int]]) -> None:
        self._path = folder / "usage.db"
        self._workers = workers
        self.url = f"sqlite:///{self._path}"

    def lock(self, seconds: float) -> None:
        """Lock the database, like a backup or an open shell."""
        until = monotonic() + 10
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=0.05)) as connection:
            while monotonic() < until:
                with suppress(sqlite3.OperationalError):
                    connection.execute("BEGIN EXCLUSIVE")
                    sleep(seconds)
                    connection.execute("ROLLBACK")
                    return

    def full(self, seconds: float) -> None:
        """Limit the size of the workers' files, so that each write fails as on a full disk."""
        _limit(self._workers(), SMALLEST)
        sleep(seconds)
        _limit(self._workers(), resource.RLIM_INFINITY)


class PostgreSQLLedger:
    kinds = ("lock", "restart", "full")

    def __init__(self, server: PostgreSQL, url: str) -> None:
        self._server = server
        self.url = url
        """The URL that the workers use."""

    def lock(self, seconds: float) -> None:
        import psycopg

        with suppress(psycopg.Error), psycopg.connect(self._server.url, connect_timeout=2) as connection:
            connection.execute("SET lock_timeout = '2s'")
            connection.execute("LOCK TABLE llm_stream_usage IN ACCESS EXCLUSIVE MODE")
            sleep(seconds)

    def restart(self, seconds: float) -> None:
        self._server.crash()
        sleep(seconds)
        self._server.start()

    def full(self, seconds: float) -> None:
        """Imitate a full disk. PostgreSQL exits when it cannot write its log, so lift the limit and start it again."""
        self._server.limit_files(SMALLEST)
        sleep(seconds)
        self._server.crash()
        self._server.start()


def _limit(pids: Sequence[int], size: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def contents(url: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        return {
            table: [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]
            for table in TABLES
        }
