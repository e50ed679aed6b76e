"""A report comes to the sum of its rows, to the last digit: for whatever amounts, of whatever days."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from decimal import Decimal
from decimal import localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from openai import OpenAI
from sqlalchemy import Connection
from sqlalchemy import delete
from sqlalchemy import insert
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy import update

from llm_stream import LLMStream
from llm_stream import UsageRecord
from llm_stream.ledger import ledgers
from llm_stream.ledger import schema
from llm_stream.ledger.database import Database
from llm_stream.ledger.rows import LARGEST
from llm_stream.reports import days
from llm_stream.reports.export import csv_of
from llm_stream.reports.receipts import Receipt
from llm_stream.reports.reconcile import compare
from llm_stream.testing import Upstream
from llm_stream.upstream.figures import usage_of
from llm_stream.usage.record import FRACTIONS
from llm_stream.usage.record import money

from . import usage_rows
from .databases import PostgreSQL
from .databases import PostgreSQLServer
from .databases import SQLite
from .test_usage_cli import run
from .usage_rows import day
from .usage_rows import report_of
from .usage_rows import row

MONTH = usage_rows.period(30)
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
GROUPS = {"days": "day", "models": "model", "owners": "owner", "statuses": "status"}

AMOUNTS = st.integers(0, 3 * 10**6) | st.integers(0, FRACTIONS) | st.integers(0, LARGEST)
COUNTS = st.none() | st.integers(0, 2000) | st.integers(0, LARGEST)
COLUMNS = {
    "days_ago": st.integers(0, 3),
    "model": st.sampled_from(("one", "two")),
    "owner": st.sampled_from(("asha", "ben")),
    "status": st.sampled_from(("completed", "cancelled", "abandoned", schema.RUNNING)),
    "was_read": st.none() | st.booleans(),
    "price": st.none() | st.tuples(AMOUNTS, st.sampled_from(("INR", "USD", "VND"))),
    **dict.fromkeys(TOKENS, COUNTS),
}
ROWS = st.lists(st.fixed_dictionaries(COLUMNS), max_size=30)
FILTERS = st.sampled_from(
    ("", "&model=one", "&owner=ben", "&status=cancelled&status=abandoned", "&model=two&owner=asha")
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield SQLite(tmp_path_factory.mktemp("ledger")).url
        return
    server = PostgreSQLServer()
    yield PostgreSQL(server).url
    server.close()


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any row is one too many to be summed as it is: what days that are over come to is kept."""
    monkeypatch.setattr(days, "FEW", 0)


def fill(url: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """With these rows and nothing else."""

    def work(connection: Connection) -> None:
        connection.execute(delete(schema.usage))
        connection.execute(delete(schema.usage_days))
        if rows:
            connection.execute(insert(schema.usage), list(rows))

    database = Database(url)
    database.write(work)
    database.close()


def written(price: tuple[int, str] | None, **columns: Any) -> dict[str, Any]:
    if price is None or columns["status"] == schema.RUNNING:
        return row(**columns, cost=None, currency=None)
    return row(**columns, cost=price[0], currency=price[1])


def summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What these rows come to, by the book."""
    spend: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for line in rows:
        if line["currency"]:
            spend[line["currency"]] += line["cost"]
            is_unread = line["was_read"] is False or line["status"] in ("cancelled", "abandoned")
            unread[line["currency"]] += line["cost"] if is_unread else 0
    tokens = {name: sum(line[name] or 0 for line in rows) for name in TOKENS}
    return {"streams": len(rows), "spend": dict(spend), "unread": dict(unread), **tokens}


def said(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as a report says it."""
    amounts = {name: {c: FRACTIONS * Fraction(a) for c, a in figures[name].items()} for name in ("spend", "unread")}
    return amounts | {name: figures[name] for name in ("streams", *TOKENS)}


@settings(max_examples=30)
@given(drawn=ROWS, filters=FILTERS)
def test_report_is_the_sum_of_its_rows_in_every_group(url: str, drawn: list[dict[str, Any]], filters: str) -> None:
    rows = [written(**columns) for columns in drawn]
    fill(url, rows)
    asked = parse_qs(filters)
    found = [line for line in rows if all(line[name] in values for name, values in asked.items())]
    for few in (days.FEW, 0, 0):  # as they are; summed and kept; as they were kept
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(days, "FEW", few)
            report = report_of(url, MONTH + filters)
        assert said(report["totals"]) == summed(found)
        for groups, name in GROUPS.items():
            by_value = {value: [line for line in found if line[name] == value] for value in {f[name] for f in found}}
            assert {group[name]: said(group) for group in report[groups]} == {
                value: summed(lines) for value, lines in by_value.items()
            }


@settings(max_examples=10)
@given(drawn=ROWS, filters=FILTERS)
def test_csv_comes_to_the_report(url: str, drawn: list[dict[str, Any]], filters: str) -> None:
    fill(url, [written(**columns) for columns in drawn])
    exported = b"".join(csv_of(ledgers.of(url), usage_rows.filters_of(MONTH + filters))).decode()
    spend: Counter[str] = Counter()
    for line in csv.DictReader(io.StringIO(exported, newline="")):
        if line["currency"]:
            spend[line["currency"]] += FRACTIONS * Fraction(line["cost"])
    assert said(report_of(url, MONTH + filters)["totals"])["spend"] == dict(spend)


def test_page_data_csv_and_terminal_say_the_same_of_sixty_streams(
    upstream: Upstream, make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    url = SQLite(tmp_path).url
    client = OpenAI(base_url=upstream.base_url, api_key="sk-secret")
    llm = LLMStream("llm", __name__, model="scripted", client=client)
    llm.authorize_usage(lambda: True)
    app = make_app(llm, ledger_url=url, prices={"scripted": {"input": "0.3", "output": "0.07", "currency": "INR"}})
    for n in range(60):
        upstream.answer("Hi", usage={"prompt_tokens": 1 + n % 7, "completion_tokens": 1 + n % 5})
        assert b"completed" in app.test_client().get("/llm/chat?prompt=hi").data
    spent = Decimal("0.0000828")
    assert sum(record.cost for record in app.extensions["records"]) == spent
    totals = app.test_client().get("/llm/usage.json").json["totals"]
    assert totals["spend"] == {"INR": f"{spent:f}"}
    assert f'value="{spent:f}"' in app.test_client().get("/llm/usage").text
    lines = csv.DictReader(io.StringIO(app.test_client().get("/llm/usage.csv").text, newline=""))
    assert sum(Decimal(line["cost"]) for line in lines) == spent
    assert json.loads(run(url, "usage", "--json").stdout)["totals"] == totals
    assert "₹0.000083" in run(url, "usage").stdout.splitlines()[2]


# What is kept of days that are over


@pytest.mark.usefixtures("many")
def test_sums_that_an_older_version_kept_are_not_believed(url: str) -> None:
    fill(url, [row(days_ago=1, cost=370_000)])
    exact = report_of(url, MONTH)
    assert exact["totals"]["spend"] == {"USD": "0.00000037"}
    database = Database(url)

    def as_version_1(connection: Connection) -> None:
        sums = connection.scalar(select(schema.usage_days.c.sums))
        connection.execute(text("DROP TABLE llm_stream_usage_days"))
        columns = "day TEXT PRIMARY KEY, streams BIGINT NOT NULL, sums TEXT NOT NULL"
        connection.execute(text(f"CREATE TABLE llm_stream_usage_days ({columns})"))
        wrong = {"day": day(1), "streams": 1, "sums": str(sums).replace("370000", "740000")}
        connection.execute(text("INSERT INTO llm_stream_usage_days VALUES (:day, :streams, :sums)"), wrong)
        connection.execute(update(schema.schema).values(version=1))

    database.write(as_version_1)
    database.close()
    for _ in range(2):  # before anything was written, and then with days that are kept anew
        assert report_of(url, MONTH) == exact
    database.write(lambda connection: None)
    kept = database.read(lambda connection: connection.execute(select(schema.usage_days)).one())
    database.close()
    assert (kept.day, kept.streams) == (day(1), 1) and "740000" not in kept.sums


@pytest.mark.usefixtures("many")
def test_row_that_its_worker_corrects_is_in_the_sum_of_its_day(url: str) -> None:
    lost = row(days_ago=1, status="interrupted", source="unknown", cost=None, currency=None)
    fill(url, [row(days_ago=1), lost])
    assert report_of(url, MONTH)["totals"]["spend"] == {"USD": "0.001"}
    nothing: dict[str, Any] = dict.fromkeys(UsageRecord.__dataclass_fields__)
    known = {name: lost[name] for name in ("id", "owner", "model", "started", "ended", "duration_s")}
    known |= {"status": "completed", "source": "provider", "cost": Decimal("0.25"), "currency": "USD"}
    assert not ledgers.of(url).settle(UsageRecord(**(nothing | known)))
    for _ in range(2):
        assert report_of(url, MONTH)["totals"]["spend"] == {"USD": "0.251"}


# Whatever precision the host app has set


def test_host_apps_precision_rounds_no_amount(url: str) -> None:
    costs = [123_456_789_012, 1, 999_999_999_999_999]
    fill(url, [row(days_ago=1, cost=cost, request_id=f"gen-{n}") for n, cost in enumerate(costs)])
    said = [Decimal(cost) / FRACTIONS for cost in costs]
    receipts = [
        Receipt(f"gen-{n}", day(1), None, None, None, None, cost, "USD")
        for n, whole in enumerate(said)
        for cost in (whole - Decimal("1e-12"), Decimal("1e-12"))  # billed in two lines
    ]
    with localcontext(prec=3):
        compared = compare(ledgers.of(url), receipts)
        assert compared.is_equal
        here, there = compared.days[day(1)]
        assert here.cost == there.cost == {"USD": Decimal("1000.123456789012")}
        assert money(Decimal("1000.123456789012"), "USD") == "$1000.123456789012"
        told = usage_of({"cost": "1000.123456789012"}), usage_of({"cost_in_usd_ticks": 12_345_678_901})
    assert [usage.cost for usage in told if usage] == [Decimal("1000.123456789012"), Decimal("1.2345678901")]
