"""docs/quickstart.md: its files stream in a browser, run by its command."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from ..conftest import eventually
from ..pages import Running
from ..pages import page

RUNS = {"docs/quickstart.md": ["python", "html"]}

QUICKSTART = page("docs/quickstart.md")


def test_page_shows_tokens_as_they_come_and_a_closed_tab_stops_the_model(
    upstream: Upstream, tmp_path: Path, page: Tab
) -> None:
    (command,) = [line for line in QUICKSTART.block("bash", "gunicorn --").splitlines() if line.startswith("gunicorn")]
    gate = Gate()
    upstream.answer("Hello", gate, " there")
    with Running(command, QUICKSTART.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server:
        page.goto(server.url)
        page.get_by_role("textbox").fill("Hello?")
        page.get_by_role("button").click()
        expect(page.locator("#answer")).to_have_text("Hello")
        page.goto("about:blank")
        assert "owner='me'" in server.line("status=abandoned")
        eventually(lambda: upstream.open == 0, "the close of the upstream request")
        gate.open()
