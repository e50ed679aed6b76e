"""docs/reference/routes.md: the table has every route with its statuses, and the transcripts are what curl prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llm_stream import LLMStream
from llm_stream.requests.native import FIELDS
from llm_stream.testing import Script
from llm_stream.testing import Upstream

from ..conftest import require
from ..pages import Running
from ..pages import page
from ..test_openapi import MakeApp
from . import transcripts

RUNS = {"docs/reference/routes.md": ["python", "console"]}

ROUTES = page("docs/reference/routes.md")
COMMAND = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"


def section(heading: str) -> str:
    return ROUTES.text.partition(f"\n{heading}\n")[2].partition("\n#")[0]


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def described(make_app: MakeApp, tmp_path: Path) -> dict[str, Any]:
    """The operations of the app's own description, as `GET /chat`."""
    app = make_app(ledger_url=f"sqlite:///{tmp_path / 'usage.db'}")
    llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]
    llm.authorize_usage(lambda: True)
    paths = app.test_client().get("/llm/openapi.json").json["paths"]
    return {
        f"{method.upper()} {re.sub(r'{.*?}', '<>', path.removeprefix('/llm'))}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method != "parameters"
    }


def test_table_has_every_route_with_its_statuses(described: dict[str, Any]) -> None:
    groups = {row[0]: set(row[1].split(", ")) for row in rows_of(section("## All routes")) if len(row) == 3}
    shown = {}
    for route, _, answers, refusals, _ in (row for row in rows_of(section("## All routes")) if len(row) == 5):
        if found := re.search(r"`([A-Z]+ [^`]*)`", route):
            statuses = set(answers.split(", "))
            for each in filter(None, refusals.split(", ")):
                statuses |= groups.get(each, {each})
            shown[re.sub(r"<\w+>", "<>", found[1])] = statuses
    del shown["GET /static/<>"]  # Flask's own
    assert shown == {route: set(operation["responses"]) for route, operation in described.items()}


@pytest.mark.parametrize(
    "heading, route",
    [("## `GET /chat`", "GET /chat"), ("## `GET /streams/<id>`", "GET /streams/<>"), ("## Usage", "GET /usage")],
)
def test_tables_of_parameters_are_complete(heading: str, route: str, described: dict[str, Any]) -> None:
    named = set(re.findall(r"`([\w-]+)`", " ".join(row[0] for row in rows_of(section(heading)))))
    assert named == {parameter["name"] for parameter in described[route]["parameters"]}


def test_table_of_the_body_has_every_field() -> None:
    rows = rows_of(section("## `POST /chat`"))
    assert {row[0].strip("`") for row in rows if row[0].startswith("`")} == set(FIELDS)


def test_transcripts_are_what_curl_prints(tmp_path: Path) -> None:
    require("curl", "curl")
    with (
        Upstream(lambda request: Script(("Hello",))) as upstream,
        Running(COMMAND, ROUTES.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server,
    ):
        transcripts.check(ROUTES, server.shell)
