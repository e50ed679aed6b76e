"""The databases that a ledger may be in, as real as they come: a file, and a PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from .conftest import PATIENCE_S
from .conftest import eventually
from .conftest import missing
from .ports import free_port


class SQLite:
    """A file. `hold` and `let_go` do what a backup does, or a person with a shell: they keep everybody from writing."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid4().hex}.db"
        self.url = f"sqlite:///{self.path}"
        self._holder: sqlite3.Connection | None = None

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with sqlite3.connect(self.path) as connection:
            connection.row_factory = sqlite3.Row
            try:
                found = connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                found = []
        connection.close()
        return [dict(row) for row in found]

    def take_away(self) -> None:
        self._holder = sqlite3.connect(self.path, isolation_level=None, timeout=10)
        self._holder.execute("BEGIN EXCLUSIVE")

    def give_back(self) -> None:
        assert self._holder is not None
        self._holder.execute("ROLLBACK")
        self._holder.close()

    def close(self) -> None:
        pass


class PostgreSQL:
    """A database of its own on a server that the tests share, and stop and start as they like."""

    def __init__(self, server: PostgreSQLServer) -> None:
        self._server = server
        self._name = f"t{uuid4().hex}"
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self._name}")
        self.url = server.url(self._name)

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            try:
                return connection.execute(sql.replace("?", "%s"), values).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def take_away(self) -> None:
        self._server.stop()

    def give_back(self) -> None:
        self._server.start()

    def close(self) -> None:
        pass


class PostgreSQLServer:
    """It refuses to run as root, so it is run as the user that Debian's package makes."""

    def __init__(self) -> None:
        self._bin = _folder_of_programs()
        self._user = "postgres" if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="llm-stream-postgresql-"))
        if self._user:
            shutil.chown(self.folder, "postgres")
        self._data = self.folder / "data"
        self.port = free_port()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"]
        command += ["-k", str(self.folder), "-c", "max_connections=200", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, user=self._user)
        eventually(self._answers, "PostgreSQL's first answer")

    def stop(self) -> None:
        """At once, as when it crashes: connections break in the middle."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments], capture_output=True, text=True, cwd=self.folder, user=self._user
        )
        assert done.returncode == 0, done.stderr


def _folder_of_programs() -> Path:
    """Debian keeps them out of the PATH, by version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if found:
        return found[-1]
    path = shutil.which("postgres")
    if path is None:
        missing("postgres is missing: apt-get install postgresql")
    assert path is not None
    return Path(path).resolve().parent
