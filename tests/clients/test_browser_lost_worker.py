"""llm-stream.js when a worker is lost: the end that another worker writes leaves numbers out, and each tab gets it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from llm_stream.testing import Gate

from ..conftest import eventually
from .scripted import ScriptedSite
from .scripted import event
from .test_browser_client import NO_WAITING
from .test_browser_client import loaded
from .test_browser_client import numbers
from .test_browser_client import over
from .test_browser_client import reading
from .test_browser_client import said

pytestmark = pytest.mark.browser

OpenTab = Callable[..., Page]

LOST = [900_000_000, 900_000_001, 900_000_002]
URL = "/llm/streams/abc"

STAY = """() => {
    const read = async () => { for await (const event of follow("/llm/streams/stays")); };
    read().catch(() => {});
}"""

FOLLOW_BOTH = """() => Promise.all(["abc", "def"].map(async (id) => {
    const ids = [];
    for await (const event of follow(`/llm/streams/${id}`)) ids.push(event.id);
    return ids;
}))"""

FOLLOW_TWICE = """async (hops) => {
    window.second = [];
    for await (const event of follow("/llm/streams/abc")) {
        if (event.data.text !== "one") continue;
        for (let hop = 0; hop < hops; hop++) await null;
        for await (const { id } of follow("/llm/streams/abc")) second.push(id);
        return second;
    }
}"""

EVENT_BY_EVENT = """() => {
    const whole = window.fetch;
    window.fetch = async (...request) => {
        const response = await whole(...request);
        const pieces = (await response.text()).match(/[^]*?\\n\\n/g).map((text) => new TextEncoder().encode(text));
        const body = new ReadableStream({ start(stream) {
            for (const piece of pieces) stream.enqueue(piece);
            stream.close();
        } });
        return new Response(body, response);
    };
}"""
"""Each read has one event, and the next one is ready at once."""

UNHEARD = """() => {
    const { postMessage } = BroadcastChannel.prototype;
    Object.assign(window, { held: [], heard: [] });
    const channel = new BroadcastChannel(`llm-stream ${location.origin}/llm/streams`);
    channel.onmessage = ({ data: { events = [] } }) => heard.push(...events.map(({ type }) => type));
    BroadcastChannel.prototype.postMessage = function (message) { held.push(() => postMessage.call(this, message)); };
    window.beHeard = () => {
        BroadcastChannel.prototype.postMessage = postMessage;
        for (const send of held) send();
    };
}"""
"""What this tab says to the others is held back until `beHeard()`; `heard` has what they say."""

IS_SHARING = "() => navigator.locks.query().then(({ pending }) => pending.length > 1)"
"""The other tab waits to lead, and the leader waits for the other tab to go."""


@pytest.fixture
def server() -> Iterator[ScriptedSite]:
    site = ScriptedSite()
    yield site
    site.close()


def start(stream: str = "abc") -> bytes:
    return event(f"{stream}-1", "start", id=stream)


def delta(number: int, text: str, stream: str = "abc") -> bytes:
    return event(f"{stream}-{number}", "delta", text=text)


def failure(number: int, code: str, stream: str = "abc") -> bytes:
    return event(f"{stream}-{number}", "failure", code=code, message="Please try again.", retryable=True, error_id="e")


def end_of_lost(stream: str = "abc") -> bytes:
    """What another worker writes at the end of a lost worker's stream."""
    usage = event(f"{stream}-{LOST[1]}", "usage", source="unknown")
    done = event(f"{stream}-{LOST[2]}", "done", status="interrupted")
    return failure(LOST[0], "worker_lost", stream) + usage + done


def ended_as_lost(tab: Page, text: str) -> None:
    answer = over(tab)
    assert tab.evaluate("failure") is None
    assert (answer["text"], answer["status"], answer["failure"]["code"]) == (text, "interrupted", "worker_lost")
    assert answer["failure"]["retryable"]
    assert answer["usage"] == {"source": "unknown"}


@pytest.mark.parametrize("share", [True, False])
def test_end_of_a_lost_worker_comes_on_the_open_connection(
    open_tab: OpenTab, server: ScriptedSite, share: bool
) -> None:
    server.answer(start() + delta(2, "one"), end_of_lost())
    tab = loaded(open_tab())
    reading(tab, URL, share=share)
    ended_as_lost(tab, "one")
    assert numbers(tab) == [1, 2, *LOST]


@pytest.mark.parametrize("share", [True, False])
def test_end_of_a_lost_worker_comes_to_a_reader_that_reconnects(
    open_tab: OpenTab, server: ScriptedSite, share: bool
) -> None:
    server.answer(start() + delta(2, "one"))
    server.answer(end_of_lost())
    tab = loaded(open_tab())
    tab.evaluate(NO_WAITING)
    reading(tab, URL, share=share)
    ended_as_lost(tab, "one")
    assert numbers(tab) == [1, 2, *LOST]
    assert server.asked == [[], ["abc-2"]]


@pytest.mark.parametrize("share", [True, False])
def test_end_of_a_lost_worker_comes_to_a_reader_that_knows_a_later_event(
    open_tab: OpenTab, server: ScriptedSite, share: bool
) -> None:
    server.answer(end_of_lost())
    tab = loaded(open_tab())
    reading(tab, URL, share=share, after="abc-7")
    ended_as_lost(tab, "")
    assert numbers(tab) == LOST
    assert server.asked == [["abc-7"]]


@pytest.mark.parametrize("share", [True, False])
def test_end_of_a_lost_worker_may_itself_be_interrupted(open_tab: OpenTab, server: ScriptedSite, share: bool) -> None:
    lost, usage, done = end_of_lost().split(b"\n\n")[:3]
    server.answer(start() + lost + b"\n\n")
    server.answer(usage + b"\n\n" + done + b"\n\n")
    tab = loaded(open_tab())
    tab.evaluate(NO_WAITING)
    reading(tab, URL, share=share)
    ended_as_lost(tab, "")
    assert numbers(tab) == [1, *LOST]
    assert server.asked == [[], [f"abc-{LOST[0]}"]]


def test_end_of_a_lost_worker_comes_for_several_streams_together(open_tab: OpenTab, server: ScriptedSite) -> None:
    server.answer(start() + start("def") + delta(2, "two", "def") + end_of_lost() + end_of_lost("def"))
    tab = loaded(open_tab())
    assert tab.evaluate(FOLLOW_BOTH) == [
        [f"abc-{number}" for number in [1, *LOST]],
        [f"def-{number}" for number in [1, 2, *LOST]],
    ]
    assert server.asked == [["abc-0", "def-0"]]


# Many tabs…


def leading(open_tab: OpenTab, server: ScriptedSite) -> Page:
    """A tab that leads for the whole test, because it also follows a stream that does not end."""
    server.answer(start("stays"), Gate())
    tab = loaded(open_tab())
    tab.evaluate(STAY)
    eventually(lambda: server.asked == [[]], "the leader's request")
    return tab


def test_end_of_a_lost_worker_comes_to_every_tab(open_tab: OpenTab, server: ScriptedSite) -> None:
    gate = Gate()
    tabs = [leading(open_tab, server), *(loaded(open_tab()) for _ in range(2))]
    for tab in tabs:
        server.answer(start() + delta(2, "one"), gate, end_of_lost(), Gate())
        reading(tab, URL)
        said(tab, "one")
    gate.open()
    for tab in tabs:
        ended_as_lost(tab, "one")
        assert numbers(tab) == [1, 2, *LOST]
    assert len(server.asked) == 4  # the leader's, and one for each tab that came


def test_end_of_a_lost_worker_comes_to_a_tab_that_is_ahead_of_the_leader(
    open_tab: OpenTab, server: ScriptedSite
) -> None:
    """It has events of the worker that no other worker got to know."""
    gate = Gate()
    leader, other = leading(open_tab, server), loaded(open_tab())
    server.answer(start() + delta(2, "one"), gate, end_of_lost(), Gate())
    reading(leader, URL)
    said(leader, "one")
    reading(other, URL, after="abc-7")
    eventually(lambda: leader.evaluate(IS_SHARING), "the other tab's wish")  # wait_for_function awaits no promise
    gate.open()
    ended_as_lost(leader, "one")
    ended_as_lost(other, "")
    assert numbers(leader) == [1, 2, *LOST]
    assert numbers(other) == LOST
    assert len(server.asked) == 2


def test_end_of_a_lost_worker_does_not_hide_events_from_a_tab_that_is_behind(
    open_tab: OpenTab, server: ScriptedSite
) -> None:
    """It asks for what it has missed, as it does after every other gap."""
    gate = Gate()
    leader, third, other = leading(open_tab, server), loaded(open_tab()), loaded(open_tab())
    for tab in (leader, third):
        server.answer(start() + delta(2, "one"), gate, end_of_lost(), Gate())
        reading(tab, URL)
        said(tab, "one")
    other.evaluate(UNHEARD)
    reading(other, URL)
    other.wait_for_function("held.length")
    gate.open()
    ended_as_lost(third, "one")
    other.wait_for_function("heard.includes('done')")
    assert other.evaluate("events") == []
    server.answer(start() + delta(2, "one") + end_of_lost(), Gate())
    other.evaluate("beHeard()")
    for tab in (leader, other):
        ended_as_lost(tab, "one")
        assert numbers(tab) == [1, 2, *LOST]
    assert len(server.asked) == 4  # the leader's, and one for each tab once it is heard


@pytest.mark.parametrize("hops", range(8))
def test_end_of_a_lost_worker_does_not_hide_events_that_are_asked_for_while_it_arrives(
    open_tab: OpenTab, server: ScriptedSite, hops: int
) -> None:
    """`hops` moves the second reader's request to each moment between two reads."""
    for _ in range(2):
        server.answer(start() + delta(2, "one") + delta(3, "two") + end_of_lost())
    tab = loaded(open_tab())
    tab.evaluate(EVENT_BY_EVENT)
    assert tab.evaluate(FOLLOW_TWICE, hops) == [f"abc-{number}" for number in [1, 2, 3, *LOST]]


# Every other gap…


@pytest.mark.parametrize(
    "beyond",
    [
        delta(9, "nine"),
        failure(LOST[0], "interrupted"),
        failure(9, "internal"),
        event(f"abc-{LOST[1]}", "usage", source="unknown"),
        event(f"abc-{LOST[2]}", "done", status="interrupted"),
    ],
    ids=["text", "another failure", "another failure soon", "usage", "done"],
)
def test_other_gaps_are_asked_for_again(open_tab: OpenTab, server: ScriptedSite, beyond: bytes) -> None:
    server.answer(start() + delta(2, "one") + beyond)
    server.answer(delta(3, " two") + event("abc-4", "done", status="completed"))
    tab = loaded(open_tab())
    tab.evaluate(NO_WAITING)
    reading(tab, URL)
    assert over(tab)["text"] == "one two"
    assert numbers(tab) == [1, 2, 3, 4]
    assert server.asked == [[], ["abc-2"]]


def test_gaps_after_the_failure_are_asked_for_again(open_tab: OpenTab, server: ScriptedSite) -> None:
    lost, usage, done = end_of_lost().split(b"\n\n")[:3]
    server.answer(start() + lost + b"\n\n" + done + b"\n\n")
    server.answer(usage + b"\n\n" + done + b"\n\n")
    tab = loaded(open_tab())
    tab.evaluate(NO_WAITING)
    reading(tab, URL)
    ended_as_lost(tab, "")
    assert numbers(tab) == [1, *LOST]


# A log that cannot be reached…


def whole() -> bytes:
    return start() + delta(2, "Hello") + event("abc-3", "done", status="completed")


@pytest.mark.parametrize("share", [True, False])
def test_a_log_that_is_unavailable_is_asked_again(open_tab: OpenTab, server: ScriptedSite, share: bool) -> None:
    server.refuse(503, "log_unavailable", **{"Retry-After": "7"})
    server.refuse(503, "log_unavailable")
    server.answer(whole())
    tab = loaded(open_tab())
    tab.evaluate(NO_WAITING)
    reading(tab, URL, share=share)
    assert over(tab)["text"] == "Hello"
    asked_to_wait, own = tab.evaluate("waits")
    assert asked_to_wait == 7000
    assert 1000 <= own <= 2000  # the second wait of its own


def test_a_log_that_is_unavailable_is_asked_again_for_several_streams(open_tab: OpenTab, server: ScriptedSite) -> None:
    gate = Gate()
    server.answer(start() + delta(2, "one"), gate)
    server.refuse(503, "log_unavailable", **{"Retry-After": "7"})
    ends = [event(f"{stream}-3", "done", status="completed") for stream in ("abc", "def")]
    server.answer(start("def") + delta(2, "two", "def") + b"".join(ends))
    first, second = loaded(open_tab()), loaded(open_tab())
    first.evaluate(NO_WAITING)
    reading(first, URL)
    said(first, "one")
    reading(second, "/llm/streams/def")
    assert (over(first)["text"], over(second)["text"]) == ("one", "two")
    assert 7000 in first.evaluate("waits")
    assert server.asked == [[], ["abc-2", "def-0"], ["abc-2", "def-0"]]


def test_a_log_that_is_unavailable_is_asked_again_for_a_start(open_tab: OpenTab, server: ScriptedSite) -> None:
    server.refuse(503, "log_unavailable", **{"Retry-After": "7"})
    server.refuse(429, "too_many_streams")
    tab = loaded(open_tab())
    tab.evaluate(NO_WAITING)
    refused: Any = tab.evaluate("start('/llm', { prompt: 'hi' }).catch((error) => ({ ...error }))")
    assert refused["status"] == 429  # the second answer
    assert tab.evaluate("waits") == [7000]
