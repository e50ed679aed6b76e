"""The guide on budgets and prices: its app keeps records, reports them and refuses, as its transcripts say."""

from __future__ import annotations

from datetime import UTC
from datetime import datetime
from pathlib import Path

import pytest

from llm_stream.settings import Price
from llm_stream.testing import Upstream

from ..pages import Running
from ..pages import page
from .consoles import commands_of
from .consoles import extras_that_are_missing
from .consoles import without_what_varies

PAGE = "docs/guides/budgets_and_prices.md"
RUNS = {PAGE: ["python", "console", "bash"]}
GUNICORN = "gunicorn -k gevent --bind 127.0.0.1:8000"
FIGURES = {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}


@pytest.mark.usefixtures("one_day")
def test_transcripts_are_what_the_apps_of_the_page_answer(upstream: Upstream, tmp_path: Path) -> None:
    folder, today = page(PAGE).write(tmp_path), datetime.now(UTC).date()
    (folder / "export.csv").write_text(f"request_id,date,input_tokens,output_tokens\nreq-1,{today},8,1\n")
    upstream.answer("Hello", usage=FIGURES, headers={"x-request-id": "req-1"})
    (ask, told), (usage, spent), (refused, why), (reconcile, compared) = commands_of(page(PAGE))
    with Running(f"{GUNICORN} app:app", folder, OPENAI_BASE_URL=upstream.base_url) as server:
        assert without_what_varies(server.shell(ask)) == without_what_varies(told)
        server.line("ann spent 0.00017 INR")
        assert without_what_varies(server.shell(usage)) == without_what_varies(spent)
        assert without_what_varies(server.shell(reconcile)) == without_what_varies(compared)
        assert "ann" in server.get("/llm/usage.csv", **{"X-User": "admin"}).text
        assert "ann" not in server.get("/llm/usage.csv", **{"X-User": "ben"}).text
    with Running(f"{GUNICORN} own_budgets:app", folder, OPENAI_BASE_URL=upstream.base_url) as server:
        assert without_what_varies(server.shell(refused)) == without_what_varies(why)
        assert server.request("POST", "/llm/chat", json={"prompt": "hi"}, headers={"X-User": "admin"}).is_success
    assert len(upstream.requests) == 2


def test_every_field_of_a_price_is_in_the_table() -> None:
    table = page(PAGE).text.partition("| field | meaning |")[2].partition("\n\n")[0]
    assert all(f"`{name}`" in table for name in Price.__dataclass_fields__)


def test_install_line_names_extras_that_exist() -> None:
    assert extras_that_are_missing(page(PAGE)) == set()
