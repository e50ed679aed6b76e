"""A SQLite file that another process locks at the moment when the ledger opens it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from llm_stream.ledger import database
from llm_stream.ledger.database import Database
from llm_stream.ledger.database import is_passing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
def let_go(file: Path) -> Iterator[Callable[[], object]]:
    """The file is new and locked, so SQLite refuses its write-ahead log at once. Calling this unlocks it."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield lambda: other.execute("ROLLBACK")
    other.close()


def test_new_file_that_another_process_locks_is_tried_again(
    file: Path, let_go: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "sleep", lambda _: let_go())
    opened = Database(f"sqlite:///{file}")
    assert opened.write(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"
    opened.close()


@pytest.mark.usefixtures("let_go")
def test_file_that_stays_locked_is_reported(file: Path) -> None:
    opened = Database(f"sqlite:///{file}")
    with pytest.raises(OperationalError, match="database is locked") as refused:
        opened.write(lambda connection: None)
    assert is_passing(refused.value)
