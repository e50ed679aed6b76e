"""The browser's own EventSource, on the native wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..agent_events import DATA
from ..agent_events import RESULT
from ..agent_events import SOURCE
from ..agent_events import STEP
from ..conftest import ROOT
from ..conftest import SOON_S
from ..conftest import Server
from ..conftest import eventually
from ..proxy import Proxy
from .scripts import AWKWARD
from .scripts import CALLED
from .scripts import TOOLS
from .scripts import USAGE
from .scripts import USED
from .scripts import reasoning

pytestmark = pytest.mark.browser

OpenTab = Callable[..., Page]

READ = (Path(__file__).parent / "event_source.js").read_text()
URL = "/llm/chat?prompt=hi"


def seen(tab: Page, url: str = URL) -> Any:
    """All that an EventSource was told when it is closed."""
    tab.evaluate(READ, url)
    tab.wait_for_function("source.readyState === EventSource.CLOSED")
    return tab.evaluate("seen")


def test_text_is_exact(tab: Page, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD)
    whole = seen(tab)
    assert whole["text"] == "".join(AWKWARD)
    assert whole["ids"] == list(range(1, len(AWKWARD) + 4))
    assert whole["errors"] == 0


def test_tools_come_in_fragments(tab: Page, upstream: Upstream) -> None:
    upstream.answer(*TOOLS, finish_reason="tool_calls")
    calls = seen(tab)["tools"].values()
    assert [(call["id"], call["name"], call["arguments"]) for call in calls] == CALLED


def test_reasoning_has_its_own_event(tab: Page, upstream: Upstream) -> None:
    upstream.answer(reasoning("Let me "), reasoning("see."), "Yes.")
    whole = seen(tab)
    assert (whole["reasoning"], whole["text"]) == ("Let me see.", "Yes.")


def test_usage_has_tokens_and_cost(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hello", usage=USAGE)
    assert seen(tab)["usage"] == USED


def test_error_in_the_middle_is_an_event(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    whole = seen(tab)
    assert (whole["text"], whole["status"], whole["failure"]["code"]) == ("Hel", "failed", "upstream_cut")


def test_error_of_the_upstream_is_an_event_too(tab: Page, upstream: Upstream) -> None:
    """EventSource cannot see a status, so a GET has none but 200 where the question itself is in order."""
    upstream.answer(status=401)
    whole = seen(tab)
    assert (whole["status"], whole["failure"]["code"]) == ("failed", "upstream_refused")
    assert whole["usage"] == {"source": "none"}


def test_error_in_the_request_closes_it_and_it_cannot_see_why(tab: Page) -> None:
    whole = seen(tab, "/llm/chat?prompt=")
    assert whole["errors"] == 1
    assert whole["ids"] == []


def test_stop_by_a_request_of_its_own(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hello", Stall())
    tab.evaluate(READ, URL)
    tab.wait_for_function("seen.text === 'Hello'")
    tab.evaluate("fetch(`/llm/streams/${seen.id}`, { method: 'DELETE' })")
    tab.wait_for_function("seen.status")
    assert tab.evaluate("seen.status") == "cancelled"
    assert upstream.requests[-1].left.wait(SOON_S)


def test_stop_by_closing_it(tab: Page, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    tab.evaluate(READ, URL)
    tab.wait_for_function("seen.text === 'Hello'")
    tab.evaluate("source.close()")
    assert server.record(tab.evaluate("seen.id"))["status"] == "abandoned"


def test_resume_gets_every_event_once(open_tab: OpenTab, upstream: Upstream, server: Server) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    before = len(upstream.requests)
    with Proxy(server.port) as proxy:
        tab = open_tab(proxy.url)
        tab.evaluate(READ, URL)
        for text, gate in zip(["one ", "one two "], gates, strict=True):
            tab.wait_for_function("text => seen.text === text", arg=text)
            proxy.cut()
            gate.open()
        tab.wait_for_function("seen.status")
        whole = tab.evaluate("seen")
    assert whole["text"] == "one two three"
    assert whole["ids"] == list(range(1, 7))
    assert whole["errors"] == 2
    assert len(upstream.requests) == before + 1


def test_resume_after_the_end_is_204_which_closes_it(tab: Page, upstream: Upstream) -> None:
    """A page that forgets to close its source at `done` asks once more, and buys nothing."""
    upstream.answer("Hello")
    before = len(upstream.requests)
    whole = seen_by_one_that_forgets(tab)
    assert (whole["text"], whole["errors"]) == ("Hello", 2)  # the end of the response, and the 204
    assert len(upstream.requests) == before + 1


def seen_by_one_that_forgets(tab: Page) -> Any:
    tab.evaluate(READ.replace("source.close();", ""), URL)
    tab.wait_for_function("source.readyState === EventSource.CLOSED")
    return tab.evaluate("seen")


def test_text_of_the_example(context: Any, upstream: Upstream, server: Server) -> None:
    """examples/event_source.html, as it stands, at the blueprint's own address."""
    page = context.new_page()
    html = (ROOT / "examples" / "event_source.html").read_text()
    page.route("**/example", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{server.url}/example")
    upstream.answer("Hello ", "<b>world</b>")
    page.get_by_role("textbox").fill("What is it?")
    page.keyboard.press("Enter")
    eventually(lambda: page.locator("output").inner_text() == "Hello <b>world</b>", "the answer")
    upstream.answer("Hel", Cut())
    page.keyboard.press("Enter")
    eventually(lambda: "broke off" in page.locator("output").inner_text(), "the failure")
    assert upstream.requests[-1].json["messages"] == [{"role": "user", "content": "What is it?"}]


def test_tool_results_are_events(tab: Page) -> None:
    assert seen(tab, "/agent")["others"]["tool_result"] == RESULT


def test_steps_are_events(tab: Page) -> None:
    assert seen(tab, "/agent")["others"]["step"] == STEP


def test_sources_are_events(tab: Page) -> None:
    assert seen(tab, "/agent")["others"]["source"] == SOURCE


def test_data_is_an_event(tab: Page) -> None:
    assert seen(tab, "/agent")["others"]["data"] == DATA
