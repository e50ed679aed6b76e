"""Exactly one row per stream, opened before the call and settled at its end, whatever happens in between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import pytest
import sqlalchemy
from flask import Flask
from openai import OpenAI
from sqlalchemy import func
from sqlalchemy import select

from llm_stream import ConfigError
from llm_stream import LLMStream
from llm_stream import UsageRecord
from llm_stream.errors import OverBudget
from llm_stream.ledger import ledgers
from llm_stream.ledger import schema
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Step
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.usage.budget import Period
from llm_stream.usage.budget import Reservation
from llm_stream.usage.record import FRACTIONS

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import of_kind
from .databases import PostgreSQL
from .databases import PostgreSQLServer
from .databases import SQLite

Serve = Callable[..., Server]
Database = SQLite | PostgreSQL

PRICES = {"openai/gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}
ROWS = "SELECT * FROM llm_stream_usage ORDER BY started"
LEASES = "SELECT * FROM llm_stream_workers"
FIGURES = ("status", "source", "input_tokens", "output_tokens", "error_code", "request_id", "model", "owner")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQLServer]:
    server = PostgreSQLServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return SQLite(tmp_path)
    return PostgreSQL(request.getfixturevalue("postgresql"))


def settled(database: Database, count: int) -> list[dict[str, Any]]:
    """All rows, once there are so many and none is running."""

    def found() -> list[dict[str, Any]]:
        rows = database.rows(ROWS)
        return rows if len(rows) == count and all(row["status"] != schema.RUNNING for row in rows) else []

    rows = eventually(found, f"{count} settled rows")
    assert len({row["id"] for row in rows}) == count
    return list(rows)


def test_row_is_there_before_the_upstream_is_called(upstream: Upstream, serve: Serve, database: Database) -> None:
    server = serve(upstream, ledger_url=database.url, prices=PRICES)
    eventually(lambda: database.rows(LEASES), "the worker's lease: a stream waits 5 s for a ledger that is new")
    gate = Gate()
    upstream.answer(gate, "Hello", headers={"x-request-id": "req-1"})
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    assert gate.reached.wait(PATIENCE_S)
    (row,) = database.rows(ROWS)
    assert (row["status"], row["source"], row["ended"], row["llm"]) == ("running", None, None, "llm")
    assert row["owner"] == "127.0.0.1" and row["day"] == str(row["started"])[:10]
    gate.open()
    reading.read_until("event: done")
    (row,) = database.rows(ROWS)  # whoever has seen `done` finds it settled
    (record,) = server.records()
    assert {name: record[name] for name in FIGURES} == {
        name: row[name] if row[name] is None else str(row[name]) for name in FIGURES
    }
    assert (row["status"], row["request_id"], row["finish_reason"]) == ("completed", "req-1", "stop")
    assert Decimal(row["cost"]) / FRACTIONS == Decimal(record["cost"]) and row["currency"] == "INR"
    assert row["was_read"] in (1, True) and row["ttft_s"] <= row["duration_s"]


def test_every_ending_settles_its_row(upstream: Upstream, serve: Serve, database: Database) -> None:
    server = serve(upstream, ledger_url=database.url, prices=PRICES, disconnect_grace_s=0.1, idle_s=1, retries=0)
    slowly: list[Step] = [Pause(0.05), "."] * 500
    upstream.answer("Hello")
    assert server.post().status_code == 200
    upstream.answer(status=400, headers={"x-request-id": "req-2"})
    assert server.post().status_code == 400
    upstream.answer("Hello", Cut())
    server.events()
    upstream.answer("Hello", Stall())
    server.events()
    upstream.answer("Hello", *slowly)
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    stream_id = reading.read_until("Hello").partition("\nid: ")[2].partition("-")[0]
    server.post(f"/llm/streams/{stream_id}/cancel")
    reading.read_until("event: done")
    upstream.answer("Hello", *slowly)
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    reading.close()
    rows = settled(database, 6)
    assert [row["status"] for row in rows] == ["completed", "failed", "failed", "timed_out", "cancelled", "abandoned"]
    assert [bool(row["was_read"]) for row in rows] == [True, True, True, True, True, False]
    assert (rows[1]["source"], rows[1]["cost"], rows[1]["request_id"]) == ("none", None, "req-2")
    eventually(lambda: len(server.records()) == len(rows), "the last hook")
    assert [record["id"] for record in server.records()] == [row["id"] for row in rows]


def test_two_workers_share_a_ledger(upstream: Upstream, serve: Serve, database: Database) -> None:
    servers = [serve(upstream, ledger_url=database.url, max_streams_per_owner=100) for _ in range(2)]
    for _ in range(60):
        upstream.answer("Hello", " world")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: servers[n % 2].post(), range(60)))
    assert [answer.status_code for answer in answers] == [200] * 60
    rows = settled(database, 60)
    assert len({row["worker"] for row in rows}) == 2
    told = [record["id"] for server in servers for record in server.records()]
    assert sorted(told) == sorted(row["id"] for row in rows)


def test_killed_workers_streams_are_settled_by_another(upstream: Upstream, serve: Serve, tmp_path: Path) -> None:
    database = SQLite(tmp_path)
    other = serve(upstream, ledger_url=database.url)
    server = serve(upstream, ledger_url=database.url)
    upstream.answer("Hello", Stall())
    upstream.answer("Hello", Stall())
    for _ in range(2):
        Connection.get(server.port, "/llm/chat?prompt=hi").read_until("Hello")
    server_worker = int(database.rows(ROWS)[0]["worker"].split(":")[1])
    server.process.kill()
    subprocess.run(["kill", "-9", str(server_worker)], check=False)
    rows = settled(database, 2)
    assert {(row["status"], row["source"], row["error_code"]) for row in rows} == {
        ("interrupted", "unknown", "interrupted")
    }
    assert {row["cost"] for row in rows} == {None}
    records = eventually(lambda: other.records() if len(other.records()) == 2 else None)
    assert {record["id"] for record in records} == {row["id"] for row in rows}
    assert {(record["status"], record["owner"]) for record in records} == {("interrupted", "127.0.0.1")}


def test_row_of_a_dead_worker_is_settled_although_its_clock_was_ahead(
    upstream: Upstream, serve: Serve, tmp_path: Path
) -> None:
    database = SQLite(tmp_path)
    ledger = ledgers.of(database.url)
    ledger.worker = "gone"
    ledger.open(id="lost", llm="llm", owner="o", model="m", started=datetime.now(UTC))
    ledger.close(10)
    with sqlite3.connect(database.path) as connection:
        connection.execute("INSERT INTO llm_stream_workers VALUES ('gone', '2999-01-01 00:00:00.000000')")
    connection.close()
    serve(upstream, ledger_url=database.url)
    assert {row["status"] for row in settled(database, 1)} == {"interrupted"}


def test_each_abandoned_row_is_swept_by_one_worker(upstream: Upstream, serve: Serve, database: Database) -> None:
    ledger = ledgers.of(database.url)
    ledger.worker = "gone"
    for n in range(40):
        ledger.open(id=f"lost-{n}", llm="llm", owner="o", model="m", started=datetime.now(UTC))
    ledger.close(10)
    servers = [serve(upstream, ledger_url=database.url) for _ in range(2)]
    rows = settled(database, 40)
    assert {row["status"] for row in rows} == {"interrupted"}
    eventually(lambda: sum(len(server.records()) for server in servers) >= 40)
    told = [record["id"] for server in servers for record in server.records()]
    assert sorted(told) == sorted(row["id"] for row in rows)


def test_database_that_is_away_refuses_new_streams_and_loses_none(
    upstream: Upstream, serve: Serve, database: Database
) -> None:
    server = serve(upstream, ledger_url=database.url, max_streams_per_owner=2)
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    database.take_away()
    try:
        gate.open()
        reading.read_until('"status":"completed"')  # its readers do not wait for the database
        with ThreadPoolExecutor(2) as pool:  # the second attaches to the first, which is refused
            refused = list(pool.map(lambda key: server.post(prompt="hi", key=key), ["a", "a"]))
        for answer in [*refused, server.post(), server.post()]:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
        assert refused[0].headers["Retry-After"] == "5"
        assert len(upstream.requests) == 1  # nothing was bought
    finally:
        database.give_back()
    eventually(lambda: server.post(prompt="hi", key="a").status_code == 200)
    eventually(server.at_rest)
    rows = settled(database, 2)
    assert {row["status"] for row in rows} == {"completed"}


def test_stream_whose_row_is_refused_never_was_although_a_reader_came_and_left(
    upstream: Upstream, serve: Serve, tmp_path: Path
) -> None:
    """A second request with the same key finds the stream while its row is being written."""
    database = SQLite(tmp_path)
    server = serve(upstream, ledger_url=database.url, disconnect_grace_s=0.0)
    server.events()
    database.take_away()
    try:
        first = Connection.get(server.port, "/llm/chat?prompt=hi&key=a", "Connection: close")
        second = Connection.get(server.port, "/llm/chat?prompt=hi&key=a")
        second.read_until("event: start")
        second.close()
        assert "ledger_unavailable" in first.read_to_end()
    finally:
        database.give_back()
    eventually(lambda: "event: done" in server.get("/llm/chat?prompt=hi&key=a").text)
    eventually(lambda: len(server.records()) == 2)
    assert [record["status"] for record in server.records()] == ["completed", "completed"]
    assert [row["status"] for row in settled(database, 2)] == ["completed", "completed"]


def test_stopping_worker_settles_and_gives_up_its_lease(upstream: Upstream, serve: Serve, database: Database) -> None:
    server = serve(upstream, command=[*GUNICORN, "--graceful-timeout", "2"], ledger_url=database.url)
    upstream.answer("Hello", Stall())
    Connection.get(server.port, "/llm/chat?prompt=hi").read_until("Hello")
    server.stop()
    (row,) = settled(database, 1)
    assert (row["status"], row["source"]) == ("interrupted", "estimated")
    assert database.rows("SELECT * FROM llm_stream_workers") == []


def test_outage_is_noticed_without_traffic(upstream: Upstream, serve: Serve, database: Database) -> None:
    server = serve(upstream, ledger_url=database.url)
    eventually(lambda: database.rows(LEASES))
    database.take_away()
    try:
        eventually(lambda: "the ledger is unavailable: OperationalError" in server.log)
        assert server.get("/llm/readyz").json()["ledger"] == "away"
    finally:
        database.give_back()
    eventually(lambda: "the ledger is available again, after" in server.log)
    eventually(lambda: server.get("/llm/readyz").json()["ledger"] == "ok")


def test_stopping_worker_waits_for_a_database_that_comes_back(
    upstream: Upstream, serve: Serve, database: Database
) -> None:
    server = answer_that_ends_during_an_outage(upstream, serve, database, grace_s=30)
    database.give_back()
    server.process.wait(PATIENCE_S)
    (row,) = settled(database, 1)
    assert (row["status"], row["output_tokens"]) == ("completed", 2)


def test_record_that_a_stopping_worker_cannot_write_is_told(upstream: Upstream, serve: Serve, tmp_path: Path) -> None:
    database = SQLite(tmp_path)
    server = answer_that_ends_during_an_outage(upstream, serve, database, grace_s=5)
    server.process.wait(PATIENCE_S)
    database.give_back()
    assert "this process ends: 1 records are only in this log" in server.log


def answer_that_ends_during_an_outage(upstream: Upstream, serve: Serve, database: Database, grace_s: int) -> Server:
    """The worker has had TERM, and its only answer is complete."""
    server = serve(upstream, command=[*GUNICORN, "--graceful-timeout", str(grace_s)], ledger_url=database.url)
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    reading = Connection.get(server.port, "/llm/chat?prompt=hi", "Connection: close")
    reading.read_until("Hello")
    database.take_away()
    server.process.terminate()
    gate.open()
    reading.read_until('"status":"completed"')
    eventually(lambda: "is not in the ledger yet" in server.log)
    return server


@pytest.mark.parametrize(
    "command",
    [
        [*GUNICORN, "--worker-class", "gthread", "--threads", "20", "--preload"],
        ["{bin}/flask", "--app", "tests.served:app", "run", "--port", "{port}"],
    ],
    ids=["gthread, forked from one that has the app", "flask run"],
)
def test_other_servers_keep_a_ledger(upstream: Upstream, serve: Serve, tmp_path: Path, command: list[str]) -> None:
    database = SQLite(tmp_path)
    server = serve(upstream, command=command, ledger_url=database.url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.post().status_code, range(16)))
    rows = settled(database, 16)
    assert {row["status"] for row in rows} == {"completed"}


# In this process…


def app_with(upstream: Upstream, name: str, url: str) -> Flask:
    app = Flask(name)
    app.config.update(LLM_STREAM_PUBLIC=True, LLM_STREAM_LEDGER_URL=url)
    for llm_name in ("first", "second"):
        client = OpenAI(base_url=upstream.base_url, api_key="none")
        app.register_blueprint(LLMStream(llm_name, __name__, model="m", client=client), url_prefix=f"/{llm_name}")
    return app


def close(*apps: Flask) -> None:
    for app in apps:
        for llm in app.blueprints.values():
            if isinstance(llm, LLMStream):
                llm.close()
    for ledger in ledgers.every():
        assert ledger.close(10)


def test_apps_and_blueprints_share_a_ledger_or_have_their_own(upstream: Upstream, tmp_path: Path) -> None:
    shared, own = SQLite(tmp_path), SQLite(tmp_path)
    apps = [app_with(upstream, name, url) for name, url in (("a", shared.url), ("b", shared.url), ("c", own.url))]
    for app in apps:
        for path in ("first", "second"):
            upstream.answer("Hello")
            assert of_kind(read_events(app.test_client().get(f"/{path}/chat?prompt=hi").data), "done")
    close(*apps)
    assert [row["llm"] for row in shared.rows(ROWS)] == ["first", "second"] * 2
    assert [row["llm"] for row in own.rows(ROWS)] == ["first", "second"]


def record_of(ledger: Any, id: str, *, limit: int | None = None, **figures: Any) -> UsageRecord:
    """Of a row that is open; with a `limit`, it holds 8 of its owner's budget."""
    now = datetime.now(UTC)
    held = None if limit is None else Reservation("o", "INR", 8, (Period("2026-11-22", "day", limit, now),))
    ledger.open(id=id, llm="llm", owner=figures.get("owner", "o"), model="m", started=now, reservation=held)
    nothing: dict[str, Any] = dict.fromkeys(UsageRecord.__dataclass_fields__)
    known = {"id": id, "owner": "o", "model": "m", "status": "completed", "source": "provider"}
    return UsageRecord(**(nothing | known | {"duration_s": 1.0, "started": now, "ended": now} | figures))


def test_what_no_database_keeps_harms_no_row(database: Database) -> None:
    ledger = ledgers.of(database.url)
    odd: dict[str, Any] = {
        "owner": "o\0\ud800",
        "upstream_model": "m\0",
        "input_tokens": 10**30,
        "cost": Decimal(10) ** 20,
    }
    ledger.settle(record_of(ledger, "odd", **odd))
    ledger.settle(record_of(ledger, "exact", cost=Decimal("0.000000000001"), currency="USD"))
    close()
    exact, found = sorted(database.rows(ROWS), key=lambda row: str(row["id"]))
    assert (found["status"], found["owner"], found["upstream_model"]) == ("completed", "o�?", "m�")
    assert (found["input_tokens"], found["cost"], exact["cost"]) == (None, None, 1)


def test_row_is_settled_once(database: Database) -> None:
    ledger = ledgers.of(database.url)
    record = record_of(ledger, "once", limit=10)
    ledger.settle(replace(record, cost=Decimal(1)), charge=3)
    ledger.settle(replace(record, cost=Decimal(2), status="failed"), charge=4)
    close()
    (row,) = database.rows(ROWS)
    assert (row["status"], row["cost"]) == ("completed", FRACTIONS)
    (budget,) = database.rows("SELECT spent, reserved FROM llm_stream_budgets")
    assert (budget["spent"], budget["reserved"]) == (3, 0)


def test_worker_that_was_taken_for_gone_corrects_its_row_and_is_not_told_of_again(database: Database) -> None:
    ledger = ledgers.of(database.url)
    record = record_of(ledger, "swept")
    lost = replace(record, status="interrupted", source="unknown", cost=None, currency=None, error_id=None)
    assert ledger.settle(lost)
    assert not ledger.settle(replace(record, cost=Decimal(1), currency="INR"))
    close()
    (row,) = database.rows(ROWS)
    assert (row["status"], row["source"], row["cost"]) == ("completed", record.source, FRACTIONS)


def test_who_only_writes_sums_has_a_lease_with_its_first_row(tmp_path: Path) -> None:
    database = SQLite(tmp_path)
    ledger = ledgers.of(database.url)
    ledger.write_soon(lambda connection: None)
    record_of(ledger, "one")
    assert [row["worker"] for row in database.rows("SELECT * FROM llm_stream_workers")] == [ledger.worker]
    close()


def test_owner_too_long_for_an_index_stops_nobody(database: Database) -> None:
    ledger = ledgers.of(database.url)
    for owner in (token_urlsafe(4500), "somebody"):
        ledger.open(id=owner[:9], llm="llm", owner=owner, model="m", started=datetime.now(UTC))
    close()
    assert len(database.rows(ROWS)) == 2


def test_what_no_budget_covers_opens_no_row(database: Database) -> None:
    ledger = ledgers.of(database.url)
    record_of(ledger, "covered", limit=10)
    with pytest.raises(OverBudget):
        record_of(ledger, "refused", limit=9)
    close()
    assert [row["id"] for row in database.rows(ROWS)] == ["covered"]


def test_what_is_read_is_of_one_moment(database: Database) -> None:
    """A report asks several times, and its groups come to the same although streams end in between."""
    ledger = ledgers.of(database.url)
    record_of(ledger, "first")
    count = select(func.count()).select_from(schema.usage)

    def read(connection: sqlalchemy.Connection) -> tuple[int | None, int | None]:
        before = connection.scalar(count)
        record_of(ledger, "second")
        return before, connection.scalar(count)

    assert ledger.read(read) == (1, 1)
    close()
    assert len(database.rows(ROWS)) == 2


def test_tables_of_a_newer_version_are_left_alone(database: Database) -> None:
    ledger = ledgers.of(database.url)
    record_of(ledger, "one")
    with pytest.raises(ConfigError, match=f"version {len(schema.STEPS)}, and this library knows 0"):
        ledger._database.write(lambda connection: schema.migrate(connection, steps=()))
    close()


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", "postgresql+psycopg2://x"]
)
def test_wrong_url_is_named(url: str) -> None:
    app = Flask("x")
    app.config.update(LLM_STREAM_PUBLIC=True, LLM_STREAM_LEDGER_URL=url)
    with pytest.raises(ConfigError, match="LLM_STREAM_LEDGER_URL"):
        app.register_blueprint(LLMStream("llm", __name__, model="m"))


PROGRAM = """
import sys
{before}
from flask import Flask
from llm_stream import LLMStream
app = Flask("x")
app.config.update(LLM_STREAM_PUBLIC=True, LLM_STREAM_LEDGER_URL={url!r})
app.register_blueprint(LLMStream("llm", "x", model="m"))
print("sqlalchemy" in sys.modules, "psycopg" in sys.modules)
"""


def test_nothing_is_imported_without_the_setting_and_the_extra_is_named(tmp_path: Path) -> None:
    def run(before: str, url: str | None) -> Any:
        program = PROGRAM.format(before=before, url=url)
        return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    assert run("", None).stdout.split() == ["False", "False"]
    assert run("", SQLite(tmp_path).url).stdout.split() == ["True", "False"]
    missing = run("sys.modules['sqlalchemy'] = None", SQLite(tmp_path).url)
    assert "needs sqlalchemy: pip install 'flask-llm-stream[ledger]'" in missing.stderr
    missing = run("sys.modules['psycopg'] = None", "postgresql://localhost/x")
    assert "needs psycopg: pip install 'flask-llm-stream[ledger]'" in missing.stderr
