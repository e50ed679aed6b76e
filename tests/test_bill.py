"""The ledger's sums are right when everything goes wrong at once; the long form is `benchmarks/bill.py`."""

from __future__ import annotations

from pathlib import Path
from time import sleep

from benchmarks import bill

from .databases import PostgreSQL
from .databases import PostgreSQLServer
from .databases import SQLite


def test_sums_are_right_on_sqlite(tmp_path: Path) -> None:
    found = bill.run(200, 50, SQLite(tmp_path).url, [])
    assert not bill.broken_promises(found), found


def test_sums_are_right_on_postgresql() -> None:
    server = PostgreSQLServer()
    database = PostgreSQL(server)

    def restart() -> None:
        database.take_away()
        sleep(bill.TROUBLE_S)
        database.give_back()

    try:
        found = bill.run(200, 50, database.url, [restart])
        assert not bill.broken_promises(found), found
    finally:
        server.close()
