"""What a person sees: the demo page and the platform's own clients, in Chromium."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Server
from .conftest import eventually
from .conftest import require
from .conftest import text_of
from .proxy import Proxy

pytestmark = pytest.mark.browser

Serve = Callable[..., Server]

AWKWARD = [
    " leading",
    "  ",
    "two\nlines",
    "cr\rlf\ncrlf\r\nend",
    "half\r",
    "\nof one",
    "\n\n",
    "\u2028\u2029\u0085\x0b\x0c\x1c",
    "🧠漢字é\u0301👩‍👩‍👧",
    "data: ",
    "data: [DONE]",
    "\n[DONE]\n",
    "[DONE]",
    "id: 7\nevent: done\nretry: 1",
    ": ping",
    "\ufeff",
    '"quotes" \\ \\n \\u0041 </script>',
    "trailing ",
    "\n",
]

LINE_END = re.compile(r"\r\n|\r|\n")

EVENT_SOURCE = """url => new Promise((resolve) => {
    let text = "";
    const source = new EventSource(url);
    source.addEventListener("delta", (event) => { text += JSON.parse(event.data).text; });
    source.addEventListener("done", () => { source.close(); resolve(text); });
})"""

TEXT_EVENT_SOURCE = """url => new Promise((resolve) => {
    let text = "";
    const source = new EventSource(url);
    source.onmessage = (event) => {
        if (event.data === "[DONE]") { source.close(); resolve(text); } else text += event.data;
    };
})"""

FETCH = """async url => {
    const { start, follow } = await import("/llm/static/llm-stream.js");
    const stream = await start("/llm", { prompt: "hi" });
    let text = "";
    for await (const { type, data } of follow(stream.url)) if (type === "delta") text += data.text;
    return text;
}"""

CLASSIC = """async url => {
    const response = await fetch(url);
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = "", buffer = "";
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return text;
        buffer += decoder.decode(value, { stream: true });
        const lines = buffer.split("\\n");
        buffer = lines.pop();
        for (const line of lines)
            if (line.startsWith("data: ") && line !== "data: [DONE]") text += line.slice(6);
    }
}"""


@pytest.mark.parametrize("segment", [None, 1, 7])
def test_every_client_gets_the_same_text(page: Page, upstream: Upstream, serve: Serve, segment: int | None) -> None:
    curl = require("curl", "curl")
    server = serve(upstream)
    page.goto(server.url)

    def ask(client: Callable[[str], str], path: str) -> str:
        upstream.answer(*AWKWARD, segment=segment)
        return client(path)

    def by_curl(path: str) -> str:
        body = subprocess.run(
            [curl, "-sN", server.url + path], capture_output=True, check=True, timeout=PATIENCE_S
        ).stdout
        return text_of(read_events(body))

    whole = "".join(AWKWARD)
    native = "/llm/chat?prompt=hi"
    assert ask(lambda path: page.evaluate(EVENT_SOURCE, path), native) == whole
    assert ask(lambda path: page.evaluate(FETCH, path), native) == whole
    assert ask(by_curl, native) == whole
    # the plain form has one kind of line end only, and the classic consumer takes none
    text = ask(lambda path: page.evaluate(TEXT_EVENT_SOURCE, path), native + "&format=text")
    assert text == LINE_END.sub("\n", whole)
    assert ask(lambda path: page.evaluate(CLASSIC, path), "/chat?prompt=hi") == LINE_END.sub("", whole)


OPEN_FOR_EVER = """url => {
    window.seen = [];
    window.opened = 0;
    window.source = new EventSource(url);
    source.onopen = () => { opened += 1; };
    for (const type of ["start", "delta", "usage", "done"])
        source.addEventListener(type, (event) => seen.push([event.lastEventId, type]));
}"""


@pytest.mark.parametrize("lost_first", [False, True])
def test_lost_connections_a_reload_and_an_open_tab_cost_one_upstream_call(
    page: Page, upstream: Upstream, serve: Serve, lost_first: bool
) -> None:
    server = serve(upstream, disconnect_grace_s=20)
    gates = [Gate() for _ in range(5)]
    upstream.answer(gates[0], "zero ", *[step for n, gate in enumerate(gates[1:], 1) for step in (f"{n} ", gate)])
    url = "/llm/chat?prompt=hi&key=c0ffee"
    with Proxy(server.port) as proxy:
        page.goto(f"{proxy.url}/worker")  # any page of this origin
        page.evaluate(OPEN_FOR_EVER, url)
        assert gates[0].reached.wait(PATIENCE_S)
        if lost_first:
            proxy.cut()
        gates[0].open()
        for count, gate in enumerate(gates[1:4], 1):
            page.wait_for_function("count => seen.length >= 2 + count", arg=count)
            proxy.cut()
            gate.open()
            page.wait_for_function("count => opened >= count + 1", arg=count)
        page.wait_for_function("seen.length >= 6")
        before = page.evaluate("seen")
        page.reload()
        page.evaluate(OPEN_FOR_EVER, url)
        page.wait_for_function("seen.length >= 6")
        gates[4].open()
        page.wait_for_function("seen.length == 8")
        # the stream has ended, the page has not closed its EventSource: the browser asks again and is told to stop
        page.wait_for_function("source.readyState == EventSource.CLOSED")
        after = page.evaluate("seen")
    name = after[0][0].rpartition("-")[0]
    expected = [[f"{name}-{n}", kind] for n, kind in enumerate(["start", *["delta"] * 5, "usage", "done"], 1)]
    assert after == expected
    assert before == expected[:6]
    assert len(upstream.requests) == 1
    assert len(server.records()) == 1


def test_page_shows_the_answer_and_what_it_cost(page: Page, upstream: Upstream, serve: Serve) -> None:
    prices = {"openai/gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}
    server = serve(upstream, prices=prices)
    gates = [Gate(), Gate()]
    upstream.answer(
        gates[0], "Hello ", gates[1], "<b>world</b>", usage={"prompt_tokens": 1000, "completion_tokens": 200}
    )
    page.goto(server.url)
    page.get_by_label("Message").fill("What is it?")
    page.keyboard.press("Enter")
    turn = page.locator(".turn")
    expect(turn.locator(".state")).to_have_text("Thinking…")
    gates[0].open()
    expect(turn.locator(".state")).to_have_text("Writing…")
    expect(turn.locator(".answer")).to_have_text("Hello ", use_inner_text=True)
    gates[1].open()
    expect(turn.locator(".state")).to_contain_text("1000 tokens in")
    expect(turn.locator(".state")).to_contain_text("200 tokens out")
    expect(turn.locator(".state")).to_contain_text("₹0.0256")
    expect(turn.locator(".state")).to_contain_text("first token after")
    expect(turn.locator(".answer")).to_have_text("Hello <b>world</b>")
    upstream.answer("Yes.")
    page.get_by_label("Message").fill("Really?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn").nth(1).locator(".answer")).to_have_text("Yes.")
    assert [message["role"] for message in upstream.request(1).json["messages"]] == ["user", "assistant", "user"]


def test_page_stops_an_answer(page: Page, upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream)
    upstream.answer("Hello", Stall())
    page.goto(server.url)
    page.get_by_label("Message").fill("What is it?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_text("Hello")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state")).to_contain_text("Stopped")
    assert upstream.request(0).left.wait(SOON_S)
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_page_survives_a_reload_in_the_middle_of_an_answer(page: Page, upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream)
    gate = Gate()
    upstream.answer("Hello ", gate, "world")
    page.goto(server.url)
    page.get_by_label("Message").fill("What is it?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_text("Hello ")
    page.reload()
    expect(page.locator(".question")).to_have_text("What is it?")
    expect(page.locator(".answer")).to_have_text("Hello ")
    gate.open()
    expect(page.locator(".answer")).to_have_text("Hello world")
    expect(page.locator(".state")).to_contain_text("tokens out")
    assert len(upstream.requests) == 1


def test_page_tells_the_state_of_its_connection(page: Page, upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream)
    gate = Gate()
    upstream.answer("Hello ", gate, "world")
    with Proxy(server.port) as proxy:
        page.goto(proxy.url)
        page.get_by_label("Message").fill("What is it?")
        page.keyboard.press("Enter")
        expect(page.locator(".answer")).to_have_text("Hello ")
        states = page.evaluate_handle(
            """() => {
                const seen = [], turn = document.querySelector(".turn");
                new MutationObserver(() => seen.push(turn.dataset.state)).observe(turn, { attributes: true });
                return seen;
            }"""
        )
        proxy.cut()
        eventually(lambda: page.evaluate("document.querySelector('.turn').dataset.state") == "writing")
        gate.open()
        expect(page.locator(".answer")).to_have_text("Hello world")
        assert "reconnecting" in states.json_value()


def test_page_shows_a_failure_and_offers_another_try(page: Page, upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream)
    upstream.answer("Hello", finish_reason=None)
    upstream.answer("Better")
    page.goto(server.url)
    page.get_by_label("Message").fill("What is it?")
    page.keyboard.press("Enter")
    expect(page.locator(".state")).to_contain_text("The answer broke off. Please try again.")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer")).to_have_text("Better")  # in its place


def test_page_fits_a_phone_and_works_by_keyboard(page: Page, upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream)
    page.set_viewport_size({"width": 320, "height": 568})
    upstream.answer("word " * 200 + "x" * 300)
    page.goto(server.url)
    page.keyboard.type("What is it?")  # the field has the focus from the start
    page.keyboard.press("Enter")
    expect(page.locator(".state")).to_contain_text("tokens out")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelector('main').scrollWidth <= innerWidth")
    upstream.answer("Hello", Stall())
    page.keyboard.type("Again")
    page.keyboard.press("Enter")
    expect(page.locator(".answer").nth(1)).to_have_text("Hello")
    page.keyboard.press("Escape")
    expect(page.locator(".state").nth(1)).to_contain_text("Stopped")


def test_page_says_that_a_stand_in_answers(page: Page, serve: Serve) -> None:
    server = serve(None)
    page.goto(server.url)
    expect(page.locator(".notice")).to_contain_text("No model is connected")
    page.get_by_label("Message").fill("What is it?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_contain_text("You asked: “What is it?”")
    expect(page.locator(".state")).to_contain_text("tokens out")


def test_stand_in_shows_tools_and_asks_before_it_deletes(page: Page, serve: Serve) -> None:
    server = serve(None)
    page.goto(server.url)
    page.get_by_label("Message").fill("What is the weather?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn").last).to_have_attribute("data-state", "completed")
    expect(page.locator(".turn").last).to_contain_text("weather")
    expect(page.locator(".answer").last).to_contain_text('"celsius":21')
    page.get_by_label("Message").fill("Delete my note.")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Allow").click()
    expect(page.locator(".answer").last).to_contain_text("Note 1 would be gone now.")


def test_no_file_comes_from_elsewhere(page: Page, serve: Serve) -> None:
    server = serve(None)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    assert asked and all(url.startswith((server.url, "data:")) for url in asked)
