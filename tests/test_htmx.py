"""The example with htmx, in Chromium: an answer on a page that has no JavaScript of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Locator
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import Server
from .conftest import eventually
from .node import node_folder
from .proxy import Proxy

pytestmark = pytest.mark.browser

HTMX = ["htmx.org@2.0.11", "htmx-ext-sse@2.2.4"]


class HtmxServer(Server):
    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return httpx2.get(self.url, timeout=PATIENCE_S).status_code == 200
        except httpx2.TransportError:
            return False


class Noting(Proxy):
    """Notes each request for an answer: the number that it goes on after."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.port)
        self.asked: list[str] = []

    def passed(self, data: bytes) -> bytes:
        if data.startswith(b"GET /llm/chat"):
            last = re.search(rb"\r\nlast-event-id: \w+-(\d+)", data, re.IGNORECASE)
            self.asked.append(last[1].decode() if last else "")
        return data


Serve = Callable[..., Noting]


@pytest.fixture
def serve(tmp_path: Path, upstream: Upstream) -> Iterator[Serve]:
    """Start the example, behind a proxy: `serve(retries=1)`."""
    started: list[tuple[HtmxServer, Noting]] = []
    packages = node_folder("htmx", HTMX) / "node_modules"
    command = [*GUNICORN[:-1], "examples.htmx.app:app"]

    def start(**settings: Any) -> Noting:
        settings = {"retries": 0, "disconnect_grace_s": 20, "NODE_MODULES": str(packages), **settings}
        server = HtmxServer(upstream, tmp_path, command, **settings)
        started.append((server, Noting(server)))
        return started[-1][1]

    yield start
    for server, proxy in started:
        server.process.kill()
        server.process.wait()
        proxy.__exit__()


@pytest.fixture
def console(page: Page) -> list[str]:
    """What htmx and the browser complain about."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    return said


def ask(page: Page, question: str = "What is it?") -> Locator:
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask").click()
    return page.locator(".answer").last


def test_answer_is_shown_while_it_is_written(page: Page, upstream: Upstream, serve: Serve, console: list[str]) -> None:
    page.goto(serve().url)
    gate = Gate()
    upstream.answer("Hello ", "you,\n\n  two", " \r", "\nlines ", gate, "and the rest")
    answer = ask(page, "What's “it” & <b>why</b>?")
    expect(answer).to_have_text("Hello you,\n\n  two \nlines ", use_inner_text=True)
    gate.open()
    expect(answer).to_contain_text("and the rest")
    assert answer.evaluate("element => element.textContent") == "Hello you,\n\n  two \nlines and the rest"
    assert upstream.request(0).json["messages"][0]["content"] == "What's “it” & <b>why</b>?"
    assert not console


def test_connection_is_closed_at_the_end_so_there_is_no_second_request(
    page: Page, upstream: Upstream, serve: Serve
) -> None:
    proxy = serve()
    page.goto(proxy.url)
    closed = page.evaluate_handle(
        """() => { const seen = []; addEventListener("htmx:sseClose", ({ detail }) => {
            detail.source.addEventListener("error", () => seen.push("error"));
            setTimeout(() => seen.push(detail.source.readyState), 2500); }); return seen; }"""
    )
    upstream.answer("Hello")
    expect(ask(page)).to_have_text("Hello")
    eventually(closed.json_value)
    assert closed.json_value() == [2], "it is closed, and stays so for longer than the extension or the browser waits"
    assert proxy.asked == [""]
    assert len(upstream.requests) == 1


def test_markup_in_an_answer_is_text(page: Page, upstream: Upstream, serve: Serve) -> None:
    page.goto(serve().url)
    attempts = Path(__file__).with_name("xss_payloads.txt").read_text().splitlines()
    said = "\n".join(["<script>pwned = 1</script>", "<div hx-get='/x' hx-trigger='load'>", "</span>", *attempts])
    upstream.answer(*(said[at : at + 7] for at in range(0, len(said), 7)))
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    answer = ask(page)
    expect(answer).to_contain_text(said[-20:])
    assert answer.evaluate("element => element.textContent") == said
    assert set(answer.evaluate("element => [...element.querySelectorAll('*')].map(({ tagName }) => tagName)")) == {
        "SPAN"
    }
    assert page.evaluate("typeof pwned") == "undefined"
    assert [url.rpartition("/")[2].partition("?")[0] for url in urls] == ["ask", "chat"]


def test_failure_is_shown_after_the_text_and_ends_it(page: Page, upstream: Upstream, serve: Serve) -> None:
    proxy = serve()
    page.goto(proxy.url)
    gate = Gate()
    upstream.answer("Hel", gate, Cut())
    answer = ask(page)
    expect(answer).to_have_text("Hel")
    gate.open()
    expect(answer.get_by_role("alert")).to_have_text("The answer broke off. Please try again.")
    expect(answer).to_have_text("HelThe answer broke off. Please try again.")
    assert proxy.asked == [""]


def test_lost_connection_is_resumed_where_it_was(page: Page, upstream: Upstream, serve: Serve) -> None:
    proxy = serve()
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    page.goto(proxy.url)
    answer = ask(page)
    expect(answer).to_have_text("one ", use_inner_text=True)
    proxy.cut()
    gates[0].open()
    expect(answer).to_have_text("one two ", use_inner_text=True)
    gates[1].open()
    expect(answer).to_have_text("one two three")
    assert proxy.asked == ["", "2"]
    assert len(upstream.requests) == 1


def test_page_that_has_to_ask_anew_shows_and_buys_the_answer_once(page: Page, upstream: Upstream, serve: Serve) -> None:
    """A proxy that answers with an error makes the browser give up. The extension then begins again, without an id."""
    proxy = serve()
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    page.goto(proxy.url)
    answer = ask(page)
    expect(answer).to_have_text("one ", use_inner_text=True)
    page.route("**/llm/chat?*", lambda route: route.fulfill(status=502), times=1)
    proxy.cut()
    gates[0].open()
    expect(answer).to_have_text("one two ", use_inner_text=True)
    gates[1].open()
    expect(answer).to_have_text("one two three")
    expect(answer.locator("*")).to_have_count(3)
    assert proxy.asked == ["", ""]
    assert len(upstream.requests) == 1


def test_answer_that_starts_again_replaces_what_there_was(
    page: Page, upstream: Upstream, serve: Serve, console: list[str]
) -> None:
    page.goto(serve(retry_after_content=True).url)
    gates = [Gate(), Gate()]
    upstream.answer("Wro", gates[0], "ng", Cut())
    upstream.answer("Right", gates[1], "!")
    answer = ask(page)
    expect(answer).to_have_text("Wro")
    gates[0].open()
    expect(answer).to_have_text("Right")
    gates[1].open()
    expect(answer).to_have_text("Right!")
    expect(answer.locator("*")).to_have_count(2)
    assert not console


def test_two_answers_on_a_page_do_not_touch_each_other(page: Page, upstream: Upstream, serve: Serve) -> None:
    page.goto(serve(retry_after_content=True).url)
    upstream.answer("First")
    expect(ask(page)).to_have_text("First")
    upstream.answer("Wrong", Cut())
    upstream.answer("Second")
    expect(ask(page)).to_have_text("Second")
    expect(page.locator(".answer").first).to_have_text("First")


def test_key_keeps_a_page_that_does_not_close_its_connection_from_buying_again(
    page: Page, upstream: Upstream, serve: Serve
) -> None:
    """Without `sse-close` the browser asks once more and gets its 204, and then the extension begins again."""
    proxy = serve()
    page.goto(proxy.url)
    upstream.answer("Hello")
    page.evaluate(
        """() => {
            const url = "/llm/chat?prompt=hi&key=k&format=html";
            const html = `<div class="answer" sse-connect="${url}" sse-swap="message"></div>`;
            htmx.swap("#conversation", html, { swapStyle: "innerHTML" });
        }"""
    )
    answer = page.locator(".answer")
    eventually(lambda: len(proxy.asked) >= 4)
    assert proxy.asked[:4] == ["", "4", "", "4"]
    expect(answer).to_have_text("Hello")
    page.goto("about:blank")
    assert len(upstream.requests) == 1
