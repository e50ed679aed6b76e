"""`flask llm usage`, in a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import date
from datetime import timedelta
from pathlib import Path

import pytest

from . import usage_rows
from .conftest import ROOT
from .usage_rows import MICRO
from .usage_rows import day
from .usage_rows import row

ROWS = [
    row(days_ago=1),
    row(days_ago=2, owner="ben", model="anthropic/claude", cost=3000 * MICRO, was_read=False),
    row(days_ago=2, status="cancelled", currency="INR", cost=84_000 * MICRO),
    row(days_ago=3, owner="\x1b[31mred", cost=None, currency=None),
    row(days_ago=20),
]

WEEK = ("--since", day(7), "--until", day(0))
MONTH = ("--since", day(30), "--until", day(0))


def run(url: str | None, *command: str) -> subprocess.CompletedProcess[str]:
    """`flask llm …` of the demo."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLM_STREAM_"))}
    environment["PYTHONUTF8"] = "1"
    app = "wsgi"
    if url:
        environment["LLM_STREAM_LEDGER_URL"] = url
    else:
        app = "wsgi:create_app({'LLM_STREAM_LEDGER_URL': None})"
    flask = str(Path(sys.executable).parent / "flask")
    return subprocess.run(
        [flask, "--app", app, "llm", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = f"sqlite:///{tmp_path_factory.mktemp('usage')}/usage.db"
    usage_rows.write(made, *ROWS)
    return made


def test_prints_a_line_for_each_model_and_their_sum(url: str) -> None:
    done = run(url, "usage", *WEEK, "--by", "model")
    assert done.returncode == 0, done.stderr
    head, mini, claude, together, _, period, unknown = done.stdout.splitlines()
    assert head.split()[:3] == ["model", "streams", "spend"]
    assert mini.startswith("openai/gpt-4o-mini ") and "₹0.084 + $0.0010 + 1 unknown" in mini
    assert claude.split()[:4] == ["anthropic/claude", "1", "$0.0030", "100.0"]
    assert together.startswith("all ") and "₹0.084 + $0.0040 + 1 unknown" in together
    assert period == f"{day(7)} to {day(0)}, UTC"
    assert unknown == "The cost of 1 stream is unknown and not included in the sums."


def test_time_ago_is_counted_back_from_today(url: str) -> None:
    done = run(url, "usage", "--since", "7d")
    since, _, until, _ = done.stdout.splitlines()[-1].replace(",", "").split()
    assert date.fromisoformat(until) - date.fromisoformat(since) == timedelta(days=7)


def test_what_the_terminal_would_obey_is_not_printed(url: str) -> None:
    done = run(url, "usage", *MONTH, "--by", "owner")
    assert "�[31mred" in done.stdout and "\x1b" not in done.stdout


def test_json_and_csv_are_the_pages_own(url: str) -> None:
    said = json.loads(run(url, "usage", *WEEK, "--owner", "ben", "--by", "status", "--json").stdout)
    assert said["totals"]["spend"] == {"USD": "0.003"}
    assert [group["status"] for group in said["groups"]] == ["completed"]
    rows = list(csv.DictReader(io.StringIO(run(url, "usage", *MONTH, "--csv").stdout)))
    assert [line["id"] for line in rows] == [line["id"] for line in sorted(ROWS, key=lambda line: str(line["started"]))]


def test_wrong_options_are_told(url: str) -> None:
    done = run(url, "usage", "--since", "soon")
    assert done.returncode == 2 and "'since' must be a day like" in done.stderr
    done = run(None, "usage")
    assert done.returncode == 2 and "LLM_STREAM_LEDGER_URL" in done.stderr
