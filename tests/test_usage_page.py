"""What was spent, as a person and a program see it."""

from __future__ import annotations

import csv
import io
import os
import random
import re
from collections.abc import Callable
from collections.abc import Iterator
from datetime import date
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import markupsafe
import pytest
from flask import Flask
from flask import request
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream import LLMStream
from llm_stream.ledger import ledgers
from llm_stream.reports import days
from llm_stream.reports.page import rendered
from llm_stream.testing import Upstream

from . import usage_rows
from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import Server
from .databases import PostgreSQL
from .databases import PostgreSQLServer
from .databases import SQLite
from .usage_rows import MICRO
from .usage_rows import TODAY
from .usage_rows import period
from .usage_rows import row

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\"'><script>alert(2)</script>",
    '=HYPERLINK("http://evil")',
    "{{ 7*7 }}",
    "＝1",
]
# times that stay what they are when they are rounded for days that are over
ROWS = [
    row(days_ago=1),
    row(days_ago=1, owner="ben", model="anthropic/claude", cost=3000 * MICRO, was_read=False, ttft_s=1.5),
    row(days_ago=2, status="abandoned", cost=1000 * MICRO, ttft_s=2.4),
    row(days_ago=2, currency="INR", cost=84_000 * MICRO),
    row(days_ago=3, cost=None, currency=None, price_source=None),
    row(days_ago=3, source="none", status="failed", cost=None, currency=None, input_tokens=None, output_tokens=None),
    row(days_ago=40, cost=9000 * MICRO),
    *(row(days_ago=4, owner=name, model=name, cost=0) for name in HOSTILE),
]

MONTH, YEAR = period(30), period(365)

Make = Callable[..., Flask]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("usage")
    usage_rows.write(f"sqlite:///{folder}/usage.db", *ROWS)
    with Upstream() as upstream:
        served = Server(upstream, folder, ledger_url=f"sqlite:///{folder}/usage.db")
        yield served
        served.stop()


@pytest.fixture
def make(make_app: Make) -> Make:
    """An app whose `X-See` header says what `authorize_usage` returns."""

    def make(url: str, **settings: Any) -> Flask:
        llm = LLMStream("llm", __name__, model="scripted")

        @llm.authorize_usage
        def see() -> object:
            return {"all": True, "none": None, "no": False}.get(request.headers.get("X-See", "all"), "asha")

        return make_app(llm, ledger_url=url, **settings)

    return make


def report(app: Flask, query: str = MONTH, see: str = "all") -> dict[str, Any]:
    answer = app.test_client().get(f"/llm/usage.json?{query}", headers={"X-See": see})
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    return dict(answer.json)


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/usage.db"
    usage_rows.write(made, *ROWS)
    return made


# Who may see it


@pytest.mark.parametrize("path", ["usage", "usage.json", "usage.csv"])
def test_nobody_sees_it_before_somebody_is_let_in(make_app: Make, url: str, path: str) -> None:
    app = make_app(ledger_url=url)  # LLM_STREAM_PUBLIC lets everybody ask, not look
    answer = app.test_client().get(f"/llm/{path}")
    assert answer.status_code == 403
    assert answer.json["error"]["code"] == "usage_closed"
    assert "@llm.authorize_usage" in answer.json["error"]["message"]


def test_who_is_not_let_in_sees_nothing(make: Make, url: str) -> None:
    client = make(url).test_client()
    for see in ("none", "no"):
        assert client.get("/llm/usage", headers={"X-See": see}).status_code == 403


def test_an_owner_sees_no_other_owners_rows(make: Make, url: str) -> None:
    app = make(url)
    for query in ("", "owner=ben", "owner=ben&owner=asha&by=owner"):
        assert [group["owner"] for group in report(app, f"{MONTH}&{query}", see="asha")["owners"]] == ["asha"]
    client = app.test_client()
    for path in ("usage", "usage.csv"):
        seen = client.get(f"/llm/{path}?{MONTH}&owner=ben&by=owner", headers={"X-See": "asha"}).text
        assert "ben" not in seen and "claude" not in seen


def test_without_a_ledger_it_says_which_setting_makes_one(make_app: Make) -> None:
    llm = LLMStream("llm", __name__, model="scripted")
    llm.authorize_usage(lambda: True)
    answer = make_app(llm).test_client().get("/llm/usage")
    assert answer.status_code == 404
    assert "LLM_STREAM_LEDGER_URL" in answer.json["error"]["message"]


def test_the_demo_shows_it_to_this_machine_only(server: Server) -> None:
    assert server.get("/llm/usage").status_code == 200
    assert server.get("/llm/usage", **{"X-Forwarded-For": "203.0.113.9"}).status_code == 403


# The way back


@pytest.mark.parametrize("path", ["/", "/chat?a=1&b=%2F#top", "/a//b"])
def test_the_page_leads_back_to_a_path_of_its_site(make: Make, url: str, path: str) -> None:
    client = make(url).test_client()
    seen = client.get("/llm/usage", query_string={"back": path}).text
    assert f'<a href="{markupsafe.escape(path)}">← Back</a>' in seen
    assert f'name="back" value="{markupsafe.escape(path)}"' in seen
    assert "back=" not in "".join(re.findall(r'href="([^"]*usage\.(?:csv|json)[^"]*)"', seen))


@pytest.mark.parametrize(
    "elsewhere",
    [
        "",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example/",
        "/\n/evil.example/",
        " //evil.example/",
        "javascript:alert(1)",
        "evil.example",
        "/ü",
        "/\x00",
    ],
)
def test_the_page_leads_nowhere_else(make: Make, url: str, elsewhere: str) -> None:
    seen = make(url).test_client().get("/llm/usage", query_string={"back": elsewhere}).text
    assert "Back" not in seen and "back" not in seen and "evil" not in seen


# What it says


def test_sums_are_larger_than_what_a_database_adds_up(make: Make, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/usage.db"
    usage_rows.write(url, *[row(cost=900_000 * 10**12, currency="VND", source="provider") for _ in range(20)])
    assert report(make(url))["totals"]["spend"] == {"VND": "18000000"}


@pytest.mark.parametrize(
    ("query", "status"), [("since=0001-01-01&until=9990-01-01", 422), ("since=9999-06-01&until=9999-12-31", 200)]
)
def test_a_report_is_of_so_many_days(make: Make, url: str, query: str, status: int) -> None:
    assert make(url).test_client().get(f"/llm/usage?{query}", headers={"X-See": "all"}).status_code == status


def test_the_operators_workers_are_nobody_elses_business(make: Make, url: str) -> None:
    client = make(url).test_client()
    heads = [client.get("/llm/usage.csv", headers={"X-See": see}).text.partition("\r")[0] for see in ("all", "asha")]
    assert ["worker" in head.split(",") for head in heads] == [True, False]


def test_currencies_are_not_added_and_unknown_costs_are_counted(make: Make, url: str) -> None:
    totals = report(make(url))["totals"]
    assert totals["spend"] == {"INR": "0.084", "USD": "0.005"}
    assert totals["unread"] == {"INR": "0", "USD": "0.004"}
    assert totals["unread_share"] == {"INR": 0, "USD": 0.8}
    assert totals["unpriced"] == 1, "a stream that bought nothing has no cost that could be unknown"
    assert totals["streams"] == len(ROWS) - 1
    assert totals["ttft_s"] == {"p50": 0.5, "p95": 2.4}


def test_groups_come_to_the_totals(make: Make, url: str) -> None:
    said = report(make(url), YEAR)
    for name in ("days", "models", "owners", "statuses"):
        for figure in ("streams", "unpriced", "input_tokens", "output_tokens"):
            assert sum(group[figure] for group in said[name]) == said["totals"][figure]


@pytest.mark.parametrize(
    ("query", "streams"),
    [
        (period(1), 2),
        (f"since={usage_rows.day(3)}&until={usage_rows.day(2)}", 4),
        (f"{MONTH}&model=anthropic/claude", 1),
        (f"{MONTH}&owner=ben&owner=asha", 6),
        (f"{MONTH}&status=abandoned&status=failed", 2),
        (f"{MONTH}&owner=ben&status=failed", 0),
        (period(60), len(ROWS)),
    ],
)
def test_filters_are_in_the_query(make: Make, url: str, query: str, streams: int) -> None:
    assert report(make(url), query)["totals"]["streams"] == streams


@pytest.mark.parametrize("query", ["since=yesterday", "since=2026-02-30", "until=1h", "by=colour", "since=1d&until=9d"])
def test_a_wrong_filter_is_named(make: Make, url: str, query: str) -> None:
    answer = make(url).test_client().get(f"/llm/usage?{query}")
    assert answer.status_code == 422
    assert re.search(r"'(since|until|by)'", answer.json["error"]["message"])


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ("", date(2024, 1, 31), TODAY),
        ("since=1d", date(2024, 2, 29), TODAY),
        ("since=2w", date(2024, 2, 16), TODAY),
        ("since=1m", date(2024, 1, 31), TODAY),
        ("since=1y", date(2023, 3, 2), TODAY),
        ("until=1d", date(2024, 1, 30), date(2024, 2, 29)),
        ("since=2024-02-29&until=2024-02-29", date(2024, 2, 29), date(2024, 2, 29)),
    ],
)
def test_time_ago_is_counted_back_from_the_day_of_the_question(query: str, since: date, until: date) -> None:
    filters = usage_rows.filters_of(query)
    assert (filters.since, filters.until) == (since, until)


def test_page_knows_only_the_day_of_the_question(url: str) -> None:
    files = dict.fromkeys(("page", "css", "js", "csv", "json"), "")
    html = rendered(ledgers.of(url), usage_rows.filters_of(""), "day", files, is_for_all=True)
    assert re.search(f"since={usage_rows.day(7)}&amp;until={usage_rows.day(0)}[^>]*>7 days", html)
    assert 'aria-current="true">30 days' in html


def test_report_that_names_no_day_has_the_streams_of_now(make: Make, tmp_path: Path) -> None:
    app = make(f"sqlite:///{tmp_path}/usage.db")
    assert b'"status":"failed"' in app.test_client().get("/llm/chat?prompt=hi").data, "it has no upstream"
    assert report(app, "")["totals"]["streams"] == 1


def test_a_ledger_without_a_stream_is_no_error(make: Make, tmp_path: Path) -> None:
    app = make(f"sqlite:///{tmp_path}/new.db")
    assert report(app)["totals"]["streams"] == 0
    assert "No stream was started" in app.test_client().get("/llm/usage").text
    assert app.test_client().get("/llm/usage.csv").text.count("\n") == 1


def test_csv_has_every_row_and_no_formula(make: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_stream.reports.export.ROWS_AT_ONCE", 2)
    answer = make(url).test_client().get(f"/llm/usage.csv?{YEAR}")
    assert answer.mimetype == "text/csv" and "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {line["id"] for line in rows} == {line["id"] for line in ROWS} and len(rows) == len(ROWS)
    assert [line["cost"] for line in rows if line["owner"] == "ben"] == ["0.003"]
    starts = tuple("=+-@\t\r\n＝＋－＠")
    assert not [cell for line in rows for cell in line.values() if cell.startswith(starts)]


# Many rows


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQLServer]:
    server = PostgreSQLServer()
    yield server
    server.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("query", ["since=1y", "since=1y&status=completed&status=abandoned", "since=1y&owner=asha"])
def test_days_that_are_summed_ahead_say_the_same(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, query: str
) -> None:
    database = SQLite(tmp_path) if kind == "sqlite" else PostgreSQL(request.getfixturevalue("postgresql"))
    usage_rows.keep_alive(database.url, "alive")
    usage_rows.write(
        database.url, *ROWS, row(days_ago=0), row(days_ago=1, status="running", worker="alive", cost=None, source=None)
    )
    exact = usage_rows.report_of(database.url, query)
    monkeypatch.setattr(days, "FEW", 0)
    assert usage_rows.report_of(database.url, query) == exact
    if "owner" not in query:
        kept = "SELECT day FROM llm_stream_usage_days"
        over = {line["day"] for line in ROWS} - {usage_rows.day(1)}  # where one is running still
        assert {line["day"] for line in database.rows(kept)} == over
    assert usage_rows.report_of(database.url, query) == exact
    usage_rows.write(database.url, row(days_ago=2))
    assert usage_rows.report_of(database.url, query)["totals"]["streams"] == exact["totals"]["streams"] + 1, (
        "sums of a day that has changed"
    )


# As a person meets it


@pytest.fixture
def usage(page: Page, server: Server) -> Page:
    page.goto(f"{server.url}/llm/usage?{MONTH}")
    return page


@pytest.mark.browser
def test_page_shows_spend_filters_and_tables(usage: Page) -> None:
    expect(usage.locator("#spend")).to_contain_text("$0.0050")
    expect(usage.locator("#spend")).to_contain_text("₹0.084")
    expect(usage.locator(".totals .warn")).to_have_text("and 1 stream of unknown cost")
    usage.get_by_role("link", name="anthropic/claude").click()
    expect(usage.locator(".chips b")).to_have_text("anthropic/claude")
    expect(usage.locator("#spend")).to_have_text("$0.0030")
    usage.get_by_role("link", name="Owner", exact=True).click()
    expect(usage.locator("tbody th")).to_have_text(["ben"])
    usage.get_by_role("link", name="Remove the filter").click()
    expect(usage.locator("tbody th").first).to_have_text("asha")
    usage.get_by_label("Ending").fill("abandoned")
    usage.get_by_role("button", name="Show").click()
    expect(usage.locator("#unread")).to_have_text("$0.0010")
    assert "status=abandoned" in usage.url and "by=owner" in usage.url


@pytest.mark.browser
def test_plots_say_what_is_under_the_pointer_and_the_arrow_keys(usage: Page) -> None:
    plot, tip = usage.get_by_label("Spend in USD"), usage.locator("#tip")
    expect(tip).to_be_hidden()
    plot.locator(".place").nth(-2).hover()
    expect(tip).to_contain_text("anthropic/claude: ")
    expect(tip).to_contain_text("together: ")
    usage.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    plot.focus()
    usage.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text("nothing")  # today
    usage.keyboard.press("ArrowLeft")
    expect(tip).to_contain_text("together: ")
    usage.keyboard.press("Escape")
    expect(tip).to_be_hidden()


@pytest.mark.browser
@pytest.mark.parametrize("by", ["model", "owner"])
def test_names_are_only_ever_text(page: Page, server: Server, by: str) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    answer = page.goto(f"{server.url}/llm/usage?{MONTH}&by={by}")
    assert answer is not None and "default-src 'none'" in answer.headers["content-security-policy"]
    for name in HOSTILE:
        expect(page.locator("tbody th", has_text=name)).to_have_text(name)
    page.locator(".place").first.hover()
    expect(page.locator("#tip")).to_be_visible()
    assert page.locator("main img, main script").count() == 0
    page.get_by_role("link", name=HOSTILE[0]).click()
    expect(page.locator(".chips b")).to_have_text(HOSTILE[0])
    assert said == []


@pytest.mark.browser
def test_page_works_without_a_script_and_on_a_phone(browser: Any, server: Server) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(f"{server.url}/llm/usage?{MONTH}&by=day")
    expect(page.locator("tbody tr")).to_have_count(4)
    assert "nothing" in page.locator(".place title").first.text_content()
    context.close()
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(f"{server.url}/llm/usage?{MONTH}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


DOLLARS_A_MILLION = {"gpt-4o": (2.5, 10), "gpt-4o-mini": (0.15, 0.6), "claude-sonnet-4": (3, 15)}
"""Tokens in and out."""


def believable() -> Iterator[dict[str, Any]]:
    """A month of a small team, with quiet weekends."""
    dice = random.Random(3)
    for days_ago in range(30):
        is_weekend = (TODAY - timedelta(days=days_ago)).weekday() >= 5
        for _ in range(dice.randint(2, 6) if is_weekend else dice.randint(22, 34)):
            model = dice.choices(list(DOLLARS_A_MILLION), [3, 5, 2])[0]
            tokens_in, tokens_out = int(dice.lognormvariate(7.3, 0.7)), int(dice.lognormvariate(5.8, 0.6))
            price_in, price_out = DOLLARS_A_MILLION[model]
            ttft_s = dice.lognormvariate(-0.9 if model == "gpt-4o-mini" else -0.5, 0.3)
            status = dice.choices(["completed", "cancelled", "abandoned", "incomplete", "failed"], [90, 5, 2, 2, 1])[0]
            yield row(
                days_ago=days_ago,
                owner=dice.choices(["ann", "ben", "carla", "dev"], [5, 3, 2, 1])[0],
                model=model,
                status=status,
                source="provider" if status in ("completed", "incomplete") else "estimated",
                input_tokens=tokens_in,
                cached_tokens=tokens_in // 3,
                output_tokens=tokens_out,
                reasoning_tokens=0,
                cost=int((tokens_in * price_in + tokens_out * price_out) * MICRO),
                ttft_s=ttft_s,
                duration_s=ttft_s + tokens_out / dice.uniform(60, 110),
                was_read=status != "abandoned",
            )


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots_are_taken(browser: Any, tmp_path: Path, scheme: str) -> None:
    folder = ROOT / "docs" / "pictures" if os.environ.get("SCREENSHOTS") else tmp_path
    usage_rows.write(f"sqlite:///{tmp_path}/usage.db", *believable())
    with Upstream() as upstream:
        served = Server(upstream, tmp_path, ledger_url=f"sqlite:///{tmp_path}/usage.db")
        context = browser.new_context(viewport={"width": 1080, "height": 1020}, color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{served.url}/llm/usage?{MONTH}&by=model")
        page.screenshot(path=folder / f"usage-{scheme}.png", animations="disabled")
        context.close()
        served.stop()
    assert (folder / f"usage-{scheme}.png").stat().st_size < 150_000


CONTRASTS = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number)
            .map((part) => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (!colour.endsWith(", 0)")) return colour;
        }
    };
    return [...document.querySelectorAll("h1, a, dt, dd, th, td, label, li, p, span, button, figcaption")]
        .filter((element) => element.innerText?.trim() && element.checkVisibility())
        .map((element) => {
            const [one, other] = [getComputedStyle(element).color, ground(element)].map(light).sort((a, b) => b - a);
            return [(one + 0.05) / (other + 0.05), element.outerHTML.slice(0, 80)];
        })
        .filter(([contrast]) => contrast < 4.5);
}"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(usage: Page, scheme: Any) -> None:
    usage.emulate_media(color_scheme=scheme)
    assert usage.evaluate(CONTRASTS) == []


def test_nothing_of_the_page_is_written_into_it(server: Server) -> None:
    html = httpx2.get(f"{server.url}/llm/usage?{MONTH}", timeout=PATIENCE_S).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|<[^>&]*\son\w+=", html)
