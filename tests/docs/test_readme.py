"""README.md: its program answers as it shows, and its page streams in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from llm_stream.testing import Upstream

from ..conftest import ROOT
from ..pages import Running
from ..pages import page

RUNS = {"README.md": ["python", "html", "console"]}

README = page("README.md")


@pytest.fixture
def app(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with README.imported(tmp_path) as module:
        yield module.app
        module.llm.close()


def test_its_views_answer_and_store(app: Flask, upstream: Upstream) -> None:
    client = app.test_client()
    upstream.answer("Short.")
    assert '"text":"Short."' in client.post("/summarise", data={"text": "A long text."}).text
    assert [message["role"] for message in upstream.requests[0].json["messages"]] == ["system", "user"]
    assert '"text":"up."' in client.get("/report").text


def test_curl_shows_what_the_page_shows(upstream: Upstream, tmp_path: Path) -> None:
    gunicorn, curl, *shown = README.block("console").splitlines()
    upstream.answer("Hello", usage={"prompt_tokens": 8, "completion_tokens": 1})
    with Running(gunicorn.removeprefix("$ "), README.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server:
        sent = server.shell(curl.removeprefix("$ "))
        logged = server.line("status=completed")
    assert without_times(sent) == without_times("\n".join(shown))
    assert without_times(logged).endswith(without_times(README.block("text", "status=completed")))


def without_times(text: str) -> str:
    return re.sub(r'[0-9a-f]{20}|"created":\d+|=\d+\.\d{3}s', "", text).strip()


def test_its_page_shows_the_answer_in_a_browser(app: Flask, upstream: Upstream, tmp_path: Path, page: Tab) -> None:
    upstream.answer("Hello", " there")
    (tmp_path / "page.html").write_text("<!doctype html>" + README.block("html"))
    (tmp_path / "served.py").write_text(
        "from app import app\n\n\n@app.get('/')\ndef page():\n    return open('page.html').read()\n"
    )
    command = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 served:app"
    with Running(command, tmp_path, OPENAI_BASE_URL=upstream.base_url) as server:
        page.goto(server.url)
        expect(page.locator("#answer")).to_have_text("Hello there")


def test_readme_fits_on_a_screen_and_a_half() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140
