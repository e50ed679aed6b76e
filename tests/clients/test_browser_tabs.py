"""llm-stream.js in many tabs of Chromium: one connection for all of them, each event once in each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import CHROMIUM_FLAGS
from ..conftest import PATIENCE_S
from ..conftest import Server
from .conftest import BLANK
from .test_browser_client import asked_for
from .test_browser_client import loaded
from .test_browser_client import numbers
from .test_browser_client import over
from .test_browser_client import reading
from .test_browser_client import said
from .test_browser_client import started

pytestmark = pytest.mark.browser

OpenTab = Callable[..., Page]


def tabs_that_read(open_tab: OpenTab, url: str, count: int) -> list[Page]:
    """Tabs that follow one stream, one after the other: the first one leads."""
    tabs = [loaded(open_tab()) for _ in range(count)]
    for tab in tabs:
        reading(tab, url)
        tab.wait_for_function("answer.text")
    return tabs


def test_tabs_share_one_connection(open_tab: OpenTab, upstream: Upstream) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    tabs = [loaded(open_tab()) for _ in range(3)]
    asked = [asked_for(tab) for tab in tabs]
    url = started(tabs[0])  # from here on a reader must come within the grace
    for tab in tabs:
        reading(tab, url)
        said(tab, "one ")
    gates[0].open()
    for tab in tabs:
        said(tab, "one two ")
    assert not asked[1] and not asked[2]
    gates[1].open()
    for tab in tabs:
        assert over(tab)["text"] == "one two three"
        assert numbers(tab) == list(range(1, 7))
        assert tab.evaluate("states") == ["connecting", "open"]


def test_a_tab_that_comes_late_gets_what_comes_after_its_own_number(open_tab: OpenTab, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", "two ", gate, "three")
    first, second = loaded(open_tab()), loaded(open_tab())
    url = started(first)
    reading(first, url)
    said(first, "one two ")
    reading(second, url, after=first.evaluate("events[1].id"))
    said(second, "two ")
    gate.open()
    assert over(first)["text"] == "one two three"
    assert over(second)["text"] == "two three"
    assert numbers(first) == list(range(1, 7))
    assert numbers(second) == list(range(3, 7))


LEAVING: dict[str, Callable[[Any], object]] = {
    "closed": lambda tab: tab.close(),
    "moves on": lambda tab: tab.goto("about:blank"),
    "reloaded": lambda tab: tab.reload(),
    "stops reading": lambda tab: tab.evaluate("giveUp.abort()"),
}


@pytest.mark.parametrize("way", LEAVING)
def test_the_next_tab_leads_when_the_leader_is(open_tab: OpenTab, upstream: Upstream, way: str) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    leader = loaded(open_tab())
    url = started(leader)
    leader.evaluate(
        "url => { window.giveUp = new AbortController(); read(url, { signal: giveUp.signal }).catch(() => {}); }", url
    )
    said(leader, "one ")
    tabs = tabs_that_read(open_tab, url, 2)
    gates[0].open()
    for tab in tabs:
        said(tab, "one two ")
    LEAVING[way](leader)
    gates[1].open()
    for tab in tabs:
        assert over(tab)["text"] == "one two three"
        assert numbers(tab) == list(range(1, 7))


def test_the_next_tab_leads_when_the_leader_crashes(context: Any, open_tab: OpenTab, upstream: Upstream) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    leader = loaded(open_tab())
    url = started(leader)
    reading(leader, url)
    said(leader, "one ")
    tabs = tabs_that_read(open_tab, url, 2)
    crash(context, leader)
    for gate in gates:
        gate.open()
    for tab in tabs:
        assert over(tab)["text"] == "one two three"
        assert numbers(tab) == list(range(1, 7))


def crash(context: Any, tab: Page) -> None:
    """Through the browser, as no answer to this command ever comes."""
    target = context.new_cdp_session(tab).send("Target.getTargetInfo")["targetInfo"]["targetId"]
    session = context.browser.new_browser_cdp_session()
    name = session.send("Target.attachToTarget", {"targetId": target, "flatten": False})["sessionId"]
    with tab.expect_event("crash"):
        message = json.dumps({"id": 1, "method": "Page.crash"})
        session.send("Target.sendMessageToTarget", {"sessionId": name, "message": message})


FAST = """() => {
    const then = Date.now(), { now } = Date, again = window.setInterval;
    Date.now = () => then + 20 * (now() - then);
    window.setInterval = (work, ms) => again(work, ms / 20);
}"""
"""Time goes twenty times as fast: nobody's patience lasts."""


def test_the_next_tab_leads_while_the_leader_hangs(context: Any, open_tab: OpenTab, upstream: Upstream) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    leader, other = loaded(open_tab()), loaded(open_tab())
    url = started(leader)
    reading(leader, url)
    said(leader, "one ")
    asked = asked_for(other)
    other.evaluate(FAST)
    reading(other, url)
    said(other, "one ")
    debugger = context.new_cdp_session(leader)
    debugger.send("Debugger.enable")
    debugger.send("Debugger.pause")  # with the next thing that it is told
    for gate in gates:
        gate.open()
    assert over(other)["text"] == "one two three"
    assert asked
    debugger.send("Debugger.disable")
    assert over(leader)["text"] == "one two three"
    assert numbers(other) == numbers(leader) == list(range(1, 7))


def test_a_tab_that_goes_lets_its_stream_go(open_tab: OpenTab, upstream: Upstream, server: Server) -> None:
    """The leader reads it for nobody any more: it must not keep the meter running."""
    gate = Gate()
    upstream.answer("one ", gate, "two")
    upstream.answer("ONE", Stall())
    leader, other = loaded(open_tab()), loaded(open_tab())
    reading(leader, started(leader))
    said(leader, "one ")
    reading(other, started(other))
    said(other, "ONE")
    stream_id = other.evaluate("answer.id")
    other.close()
    assert server.record(stream_id)["status"] == "abandoned"
    gate.open()
    assert over(leader)["text"] == "one two"


def test_tabs_of_other_users_share_nothing(open_tab: OpenTab, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    tabs = [loaded(open_tab()) for _ in range(3)]
    url = started(tabs[0])
    asked = [asked_for(tab) for tab in tabs]
    for tab, user in zip(tabs, ["a", "a", "b"], strict=True):
        reading(tab, url, headers={"Authorization": user})
        said(tab, "one ")
    gate.open()
    for tab in tabs:
        over(tab)
    assert asked[0] and not asked[1] and asked[2]


def nine_that_stream(tabs: list[Page], upstream: Upstream) -> None:
    """Each tab has a stream of its own; whichever moves on is seen to move on, and the site is still there."""
    gates = [[Gate(), Gate()] for _ in tabs]
    for number, (tab, (one, two)) in enumerate(zip(tabs, gates, strict=True)):
        upstream.answer(f"{number} one ", one, "two ", two, "three")
        reading(loaded(tab), started(tab))
        assert one.reached.wait(PATIENCE_S)  # the scripts are taken in this order
    for number, tab in enumerate(tabs):
        said(tab, f"{number} one ")
    for tab, (one, _) in reversed(list(zip(tabs, gates, strict=True))):
        one.open()
        tab.wait_for_function("answer.text.endsWith('two ')")
    assert tabs[0].evaluate("fetch('/worker').then(({ status }) => status)") == 200
    for _, two in gates:
        two.open()
    for number, tab in enumerate(tabs):
        assert over(tab)["text"] == f"{number} one two three"
        assert numbers(tab) == list(range(1, 7))


def test_nine_tabs_of_the_demo_page_all_move(context: Any, upstream: Upstream, server: Server) -> None:
    gates = [Gate() for _ in range(9)]
    tabs = []
    for number, gate in enumerate(gates):
        upstream.answer(f"{number} one ", gate, "two")
        tabs.append(context.new_page())
        tabs[-1].goto(server.url)
        tabs[-1].get_by_label("Message").fill("What is it?")
        tabs[-1].keyboard.press("Enter")
        assert gate.reached.wait(PATIENCE_S)
    for number, tab in enumerate(tabs):
        expect(tab.locator(".answer")).to_have_text(f"{number} one ")
    assert tabs[0].evaluate("fetch('/worker').then(({ status }) => status)") == 200  # the site is still there
    for number, gate in reversed(list(enumerate(gates))):
        gate.open()
        expect(tabs[number].locator(".answer")).to_have_text(f"{number} one two")
    for tab in tabs:
        expect(tab.locator(".state")).to_contain_text("tokens out")


@pytest.fixture
def open_plain_tab(browser: Any, server: Server) -> Iterator[OpenTab]:
    """A site by plain http that is not loopback: browsers give it no Web Locks."""
    plain = browser.browser_type.launch(
        executable_path=shutil.which("chromium"),
        args=[*CHROMIUM_FLAGS, "--host-resolver-rules=MAP plain.test 127.0.0.1"],
    )
    context = plain.new_context()

    def open_tab() -> Page:
        page: Page = context.new_page()
        page.goto(f"http://plain.test:{server.port}{BLANK}")
        return page

    yield open_tab
    plain.close()


def test_nine_tabs_without_web_locks_take_turns(open_plain_tab: OpenTab, upstream: Upstream) -> None:
    tabs = [open_plain_tab() for _ in range(9)]
    assert not tabs[0].evaluate("isSecureContext || Boolean(navigator.locks)")
    nine_that_stream(tabs, upstream)


def test_a_few_tabs_without_web_locks_keep_their_connections(open_plain_tab: OpenTab, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    first, second = loaded(open_plain_tab()), loaded(open_plain_tab())
    url = started(first)
    asked = [asked_for(first), asked_for(second)]
    for tab in (first, second):
        tab.evaluate(FAST)
        reading(tab, url)
        said(tab, "one ")
    first.wait_for_timeout(200)  # four turns
    gate.open()
    for tab in (first, second):
        assert over(tab)["text"] == "one two"
    assert [len(seen) for seen in asked] == [1, 1]
