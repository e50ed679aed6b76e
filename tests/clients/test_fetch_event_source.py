"""@microsoft/fetch-event-source 2.0.1 in Chromium, on the native wire.

It sends its POST again whenever its tab is shown again, and whenever a connection is lost. With what it has read, its
`Last-Event-ID` says which answer it has; before that only a `key` in its body can.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from playwright.sync_api import Route

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..agent_events import DATA
from ..agent_events import RESULT
from ..agent_events import SOURCE
from ..agent_events import STEP
from ..conftest import PATIENCE_S
from ..conftest import SOON_S
from ..conftest import Server
from ..conftest import eventually
from ..node import node_folder
from ..proxy import Proxy
from .scripts import AWKWARD
from .scripts import CALLED
from .scripts import TOOLS
from .scripts import USAGE
from .scripts import USED
from .scripts import reasoning

pytestmark = pytest.mark.browser

OpenTab = Callable[..., Page]

ASK = (Path(__file__).parent / "fetch_event_source.js").read_text()
HIDE = """isHidden => {
    Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def package() -> Path:
    folder = node_folder("fetch-event-source", ["@microsoft/fetch-event-source@2.0.1"])
    return folder / "node_modules" / "@microsoft" / "fetch-event-source" / "lib" / "esm"


@pytest.fixture(autouse=True)
def package_is_served(context: Any, package: Path) -> None:
    def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        route.fulfill(body=(package / f"{name}.js").read_text(), content_type="text/javascript")

    context.route("**/fetch-event-source/*", serve)


def ask(tab: Page, **options: Any) -> None:
    tab.evaluate(ASK, [{"prompt": "hi"} | options])


def seen(tab: Page, **options: Any) -> Any:
    ask(tab, **options)
    return over(tab)


def seen_at(tab: Page, url: str) -> Any:
    tab.evaluate(ASK, [{}, {"url": url}])
    return over(tab)


def over(tab: Page) -> Any:
    tab.wait_for_function("seen.isOver")
    return tab.evaluate("seen")


def test_text_is_exact(tab: Page, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD)
    whole = seen(tab)
    assert whole["text"] == "".join(AWKWARD)
    assert whole["ids"] == list(range(1, len(AWKWARD) + 4))


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


def test_error_before_the_first_event_is_a_status(tab: Page, upstream: Upstream) -> None:
    before = len(upstream.requests)
    upstream.answer(status=401)
    assert seen(tab)["status"] == 502
    assert len(upstream.requests) == before + 1


def test_stop_by_a_request_of_its_own(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hello", Stall())
    ask(tab)
    tab.wait_for_function("seen.text === 'Hello'")
    tab.evaluate("fetch(`/llm/streams/${seen.id}`, { method: 'DELETE' })")
    assert over(tab)["status"] == "cancelled"


def test_stop_by_aborting_it(tab: Page, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    ask(tab)
    tab.wait_for_function("seen.text === 'Hello'")
    tab.evaluate("controller.abort()")
    assert server.record(over(tab)["id"])["status"] == "abandoned"


def test_resume_after_a_lost_connection(open_tab: OpenTab, upstream: Upstream, server: Server) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    before = len(upstream.requests)
    with Proxy(server.port) as proxy:
        tab = open_tab(proxy.url)
        ask(tab)
        tab.wait_for_function("seen.text === 'one '")
        proxy.cut()
        gate.open()
        whole = over(tab)
    assert (whole["text"], whole["ids"]) == ("one two", [1, 2, 3, 4, 5])
    assert len(upstream.requests) == before + 1


def test_resume_when_the_tab_is_shown_again(tab: Page, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    before = len(upstream.requests)
    ask(tab)
    tab.wait_for_function("seen.text === 'one '")
    tab.evaluate(HIDE, True)
    gate.open()
    tab.evaluate(HIDE, False)
    whole = over(tab)
    assert (whole["text"], whole["ids"], whole["opened"]) == ("one two", [1, 2, 3, 4, 5], 2)
    assert len(upstream.requests) == before + 1


def test_resume_before_the_first_event_by_a_key(tab: Page, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer(gate, "Hello")
    before = len(upstream.requests)
    ask(tab, key="c0ffee-1")
    assert gate.reached.wait(PATIENCE_S)
    tab.evaluate(HIDE, True)
    tab.evaluate(HIDE, False)
    gate.open()
    assert over(tab)["text"] == "Hello"
    assert len(upstream.requests) == before + 1


def test_resume_before_the_first_event_without_a_key_buys_twice(tab: Page, upstream: Upstream) -> None:
    """Nothing in the second request says that there was a first; that one is stopped, as nobody reads it."""
    gate = Gate()
    upstream.answer(gate, "Hello")
    upstream.answer("Hello again")
    before = len(upstream.requests)
    ask(tab)
    assert gate.reached.wait(PATIENCE_S)
    tab.evaluate(HIDE, True)
    tab.evaluate(HIDE, False)
    assert over(tab)["text"] == "Hello again"
    assert len(upstream.requests) == before + 2
    assert upstream.requests[before].left.wait(SOON_S)
    eventually(lambda: upstream.open == 0, "the end of the first")


def test_tool_results_are_events(tab: Page) -> None:
    assert seen_at(tab, "/agent")["others"]["tool_result"] == RESULT


def test_steps_are_events(tab: Page) -> None:
    assert seen_at(tab, "/agent")["others"]["step"] == STEP


def test_sources_are_events(tab: Page) -> None:
    assert seen_at(tab, "/agent")["others"]["source"] == SOURCE


def test_data_is_an_event(tab: Page) -> None:
    assert seen_at(tab, "/agent")["others"]["data"] == DATA
