"""docs/guides/browser.md: the page's templates and its React components in Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..clients.test_ai_sdk import AI_SDKS
from ..conftest import eventually
from ..conftest import require
from ..node import node
from ..node import node_folder
from ..pages import Running
from ..pages import page as page_of
from ..test_htmx import HTMX
from . import transcripts

RUNS = {"docs/guides/browser.md": ["python", "html", "jsx", "console"]}

BROWSER = page_of("docs/guides/browser.md")
COMMAND = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"
REACT = (
    '<!doctype html><meta charset="utf-8"><div id="root"></div><script type="module" src="/static/{name}.js"></script>'
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = BROWSER.write(tmp_path_factory.mktemp("browser"))
    packages = node_folder("htmx", HTMX) / "node_modules"
    shutil.copy(packages / "htmx.org/dist/htmx.min.js", folder / "static/htmx.js")
    shutil.copy(packages / "htmx-ext-sse/sse.js", folder / "static/sse.js")
    settings = {"LLM_STREAM_RETRIES": "0", "LLM_STREAM_ORIGINS": '["https://app.example.com"]'}
    with Running(COMMAND, folder, OPENAI_BASE_URL=upstream.base_url, **settings) as server:
        bundle(folder, "chat")
        bundle(folder, "hook")
        yield server


def bundle(folder: Path, name: str) -> None:
    """Put a component and what it imports into one file, and give it a page."""
    packages = node_folder("ai-7", AI_SDKS["ai-7"]) / "node_modules"
    command = [str(node()), str(packages / "esbuild/bin/esbuild"), f"static/{name}.jsx", f"--outfile=static/{name}.js"]
    options = ["--bundle", "--format=esm", "--jsx=automatic", "--external:/llm/*", "--log-level=error"]
    subprocess.run(
        [*command, *options, '--define:process.env.NODE_ENV="production"'],
        cwd=folder,
        env=os.environ | {"NODE_PATH": str(packages)},
        check=True,
        timeout=60,
    )
    (folder / f"templates/{name}.html").write_text(REACT.format(name=name))


@pytest.mark.parametrize("name", ["module", "event_source", "fetch"])
def test_page_shows_the_answer_and_a_failure(name: str, server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("A web", Cut())
    page.goto(f"{server.url}/{name}.html")
    expect(page.locator("#answer")).to_have_text("A web")
    expect(page.locator("#problem")).not_to_be_empty()


def test_module_goes_on_after_a_reload(server: Running, upstream: Upstream, page: Tab) -> None:
    gate = Gate()
    upstream.answer("A web", gate, " framework.")
    page.goto(f"{server.url}/module.html")
    expect(page.locator("#answer")).to_have_text("A web")
    page.reload()
    expect(page.locator("#answer")).to_have_text("A web")
    gate.open()
    expect(page.locator("#answer")).to_have_text("A web framework.")


def test_module_asks_the_next_question_with_the_conversation(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("A web framework.")
    upstream.answer("In 2010.")
    page.goto(f"{server.url}/module.html")
    expect(page.locator("#answer")).to_have_text("A web framework.")
    page.get_by_role("textbox").fill("Since when?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#answer")).to_have_text("In 2010.")
    asked = [message["content"] for message in upstream.requests[-1].json["messages"]]
    assert asked == ["What is Flask?", "A web framework.", "Since when?"]


def test_page_of_an_own_view_shows_a_refusal(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer(status=400)
    page.goto(f"{server.url}/summary.html")
    expect(page.locator("#problem")).not_to_be_empty()


def test_module_stops_the_model(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("A web", Stall())
    page.goto(f"{server.url}/module.html")
    expect(page.locator("#answer")).to_have_text("A web")
    cancelled = server.log.count("status=cancelled")
    page.get_by_role("button", name="Stop").click()
    eventually(lambda: server.log.count("status=cancelled") == cancelled + 1, "the line about this answer")
    eventually(lambda: upstream.open == 0, "the end of the upstream's request")


def test_module_says_that_an_old_answer_is_gone(server: Running, page: Tab) -> None:
    page.goto(f"{server.url}/llm/static/llm-stream.d.ts")
    page.evaluate("sessionStorage.setItem('stream', '/llm/streams/00000000000000000000')")
    page.goto(f"{server.url}/module.html")
    expect(page.locator("#problem")).to_have_text("There is no such stream.")


def test_page_of_an_own_view_stops_its_answer(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("A web", Stall())
    page.goto(f"{server.url}/summary.html")
    expect(page.locator("#answer")).to_have_text("A web")
    cancelled = server.log.count("status=cancelled")
    page.get_by_role("button", name="Stop").click()
    eventually(lambda: upstream.open == 0, "the end of the upstream's request")
    eventually(lambda: server.log.count("status=cancelled") == cancelled + 1, "the line about this answer")


def test_own_view_is_read_by_the_module(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("A framework.")
    page.goto(f"{server.url}/summary.html")
    expect(page.locator("#answer")).to_have_text("A framework.")
    assert upstream.requests[-1].json["messages"][0]["role"] == "system"


def test_htmx_shows_the_answer(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("<b>A web", " framework.")
    page.goto(f"{server.url}/htmx.html")
    expect(page.locator("div")).to_have_text("<b>A web framework.")


def test_use_chat_shows_the_answer_and_stops_it(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("A web framework.", Stall())
    page.goto(f"{server.url}/chat.html")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("p").last).to_have_text("A web framework.")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    eventually(lambda: upstream.open == 0, "the end of the upstream's request")


def test_hook_shows_the_answer(server: Running, upstream: Upstream, page: Tab) -> None:
    upstream.answer("A web framework.")
    page.goto(f"{server.url}/hook.html")
    expect(page.locator("p.completed")).to_have_text("A web framework.")


def test_other_origin_may_call_where_the_page_says_so(server: Running) -> None:
    require("curl", "curl")
    transcripts.check(BROWSER, server.shell)
    announced = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    for path in ("/llm/streams", "/summarise"):
        allowed = server.request("OPTIONS", path, headers=announced).headers
        assert allowed["Access-Control-Allow-Origin"] == "https://app.example.com"
    refused = server.request("POST", "/llm/chat", json={"prompt": "hi"}, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
