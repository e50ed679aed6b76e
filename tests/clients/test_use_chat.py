"""The example with React and `useChat`, in Chromium, with the AI SDK of three major versions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import ROOT
from ..conftest import SOON_S
from ..conftest import Server
from ..node import node
from ..node import node_folder
from .scripts import PRICES
from .scripts import reasoning
from .test_ai_sdk import AI_SDKS

pytestmark = pytest.mark.browser

SETTINGS = {"prices": PRICES, "retries": 0}

PAGE = (
    '<!doctype html><meta charset="utf-8"><div id="root"></div><script type="module" src="/example/main.js"></script>'
)


@pytest.fixture(scope="module", params=AI_SDKS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The example, with all that it imports, in one file."""
    packages = node_folder(request.param, AI_SDKS[request.param]) / "node_modules"
    made = tmp_path_factory.mktemp("bundle") / "main.js"
    options = ["--bundle", "--format=esm", "--jsx=automatic", '--define:process.env.NODE_ENV="production"']
    command = [str(node()), str(packages / "esbuild" / "bin" / "esbuild"), "examples/use_chat/main.jsx", *options]
    environment = os.environ | {"NODE_PATH": str(packages)}
    subprocess.run(
        [*command, f"--outfile={made}", "--log-level=error"], cwd=ROOT, env=environment, check=True, timeout=60
    )
    return made.read_text()


@pytest.fixture
def page(browser: Any, bundle: str, server: Server) -> Iterator[Page]:
    """At the server's own origin, as if it came from there."""
    context = browser.new_context()
    context.route("**/example/", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    context.route("**/example/main.js", lambda route: route.fulfill(body=bundle, content_type="text/javascript"))
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{server.url}/example/")
    yield page
    context.close()
    assert not problems


def ask(page: Page, text: str = "What is it?") -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_text_reasoning_and_usage_are_shown(page: Page, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer(
        reasoning("hm"), "Hello ", gate, "<b>you</b>", usage={"prompt_tokens": 1000, "completion_tokens": 200}
    )
    ask(page)
    answer = page.locator("article.assistant")
    expect(answer.locator("p")).to_have_text("Hello ", use_inner_text=True)
    gate.open()
    expect(answer.locator("p")).to_have_text("Hello <b>you</b>")
    expect(answer.locator("details")).to_contain_text("hm")
    expect(answer.locator("small")).to_have_text("200 tokens, 0.0256 INR")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_resume_after_a_reload(page: Page, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hello ", gate, "world")
    ask(page)
    answer = page.locator("article.assistant p")
    expect(answer).to_have_text("Hello ", use_inner_text=True)
    page.reload()
    expect(page.locator("article.user p")).to_have_text("What is it?")
    expect(answer).to_have_text("Hello ", use_inner_text=True)
    gate.open()
    expect(answer).to_have_text("Hello world")
    expect(page.locator("main")).to_have_attribute("data-status", "ready")
    assert len(upstream.requests) == 1


def test_stop_is_felt_upstream_at_once(page: Page, upstream: Upstream) -> None:
    upstream.answer("Hello", Stall())
    ask(page)
    expect(page.locator("article.assistant p")).to_have_text("Hello")
    page.get_by_role("button", name="Stop").click()
    assert upstream.requests[0].left.wait(SOON_S)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.locator("main")).to_have_attribute("data-status", "ready")


def test_error_is_shown_and_mended(page: Page, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    upstream.answer("Hello")
    ask(page)
    expect(page.get_by_role("alert")).to_contain_text("The answer broke off. Please try again.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("article.assistant p")).to_have_text("Hello")
    expect(page.get_by_role("alert")).to_have_count(0)
