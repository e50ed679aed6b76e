"""docs/guides/structured_output.md: the page's app and its template in Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from ..pages import Running
from ..pages import page

RUNS = {"docs/guides/structured_output.md": ["python", "html", "bash", "console"]}

STRUCTURED = page("docs/guides/structured_output.md")

pytestmark = pytest.mark.browser


def test_page_shows_the_json_while_it_grows(upstream: Upstream, tmp_path: Path, page: Tab) -> None:
    command, gate = STRUCTURED.block("bash"), Gate()
    upstream.answer('{"number": 12, "items": [{"name": "tea", ', gate, '"price": 2.5}]}')
    with Running(command, STRUCTURED.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server:
        page.goto(server.url)
        page.get_by_role("button").click()
        expect(page.locator("li")).to_have_text("tea")
        gate.open()
        expect(page.locator("li")).to_have_text("tea 2.5")


def test_whole_answer_is_one_json_object(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer('{"number": 12, "items": [{"name": "tea", "price": 2.5}]}')
    command, _, shown = STRUCTURED.block("console").partition("\n")
    with Running(STRUCTURED.block("bash"), STRUCTURED.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server:
        assert server.shell(command.removeprefix("$ ")) == shown


def test_hook_gets_json_that_was_checked(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with STRUCTURED.imported(tmp_path) as module:
        upstream.answer('{"number": 12, "items": [{"name": "tea", "price": 2.5}]}')
        upstream.answer("{}")
        for _ in range(2):
            module.app.test_client().post("/invoices", data={"text": "One tea."}).get_data()
        module.llm.close()
        assert [invoice.items[0].price for invoice in module.INVOICES] == [2.5]
