"""llm-stream.js in Chromium."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page
from playwright.sync_api import Route

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import SOON_S
from ..conftest import Server
from ..proxy import Proxy
from .scripts import AWKWARD
from .scripts import CALLED
from .scripts import TOOLS
from .scripts import USAGE
from .scripts import USED
from .scripts import reasoning

pytestmark = pytest.mark.browser

Serve = Callable[..., Server]
OpenTab = Callable[..., Page]

LOAD = """async () => {
    Object.assign(window, await import("/llm/static/llm-stream.js"));
    window.read = async (url, options = {}) => {
        Object.assign(window, { events: [], states: [], answer: new Answer(), failure: null, isOver: false });
        options.onState = (state) => states.push(state);
        try {
            for await (const event of follow(url, options)) { events.push(event); answer.take(event); }
        } catch (error) { failure = { ...error, name: error.name, message: error.message }; }
        isOver = true;
    };
}"""

START = "async (options) => (await start('/llm', { prompt: 'hi' }, options)).url"
READ = "([url, options]) => { read(url, options); }"
ASK = """async () => {
    const answer = new Answer();
    for await (const event of await start("/llm", { prompt: "hi" })) answer.take(event);
    return answer;
}"""

NO_WAITING = """() => {
    window.waits = [];
    const later = window.setTimeout;
    window.setTimeout = (then, ms) => { if (ms > 1) waits.push(ms); return later(then, ms > 1 ? 1 : ms); };
}"""
"""What is waited for is written down, and is over at once."""


def loaded(page: Page) -> Page:
    page.evaluate(LOAD)
    return page


def started(page: Page, **options: Any) -> str:
    url: str = page.evaluate(START, options)
    return url


def reading(page: Page, url: str, **options: Any) -> None:
    page.evaluate(READ, [url, options])


def over(page: Page) -> Any:
    """What there is of the answer when reading has come to its end."""
    page.wait_for_function("isOver")
    return page.evaluate("answer")


def said(page: Page, text: str) -> None:
    page.wait_for_function("text => answer.text === text", arg=text)


def numbers(page: Page) -> list[int]:
    return [int(event["id"].rpartition("-")[2]) for event in page.evaluate("events")]


def asked_for(page: Page) -> list[str]:
    """The requests for events that a tab sends from now on."""
    seen: list[str] = []
    page.on("request", lambda r: seen.append(r.url) if r.method == "GET" and "/llm/streams" in r.url else None)
    return seen


# One tab…

IN_PIECES = """size => {
    const whole = window.fetch;
    window.fetch = async (...request) => {
        const response = await whole(...request);
        const pieces = new TransformStream({ transform(bytes, piece) {
            for (let at = 0; at < bytes.length; at += size) piece.enqueue(bytes.slice(at, at + size));
        } });
        return new Response(response.body.pipeThrough(pieces), response);
    };
}"""


@pytest.mark.parametrize("size", [1, 7])
def test_text_is_exact_wherever_its_bytes_are_split(tab: Page, upstream: Upstream, size: int) -> None:
    upstream.answer(*AWKWARD)
    loaded(tab).evaluate(IN_PIECES, size)
    assert tab.evaluate(ASK)["text"] == "".join(AWKWARD)


def test_text_before_a_reset_is_void(open_tab: OpenTab, upstream: Upstream, serve: Serve) -> None:
    tab = loaded(open_tab(serve(upstream, retry_after_content=True).url))
    upstream.answer(reasoning("hm"), "Hel", *TOOLS, Cut())
    upstream.answer("Hello")
    answer = tab.evaluate(ASK)
    assert (answer["text"], answer["reasoning"], answer["toolCalls"]) == ("Hello", "", [])


def test_tools_are_put_together(tab: Page, upstream: Upstream) -> None:
    upstream.answer(*TOOLS, finish_reason="tool_calls")
    answer = loaded(tab).evaluate(ASK)
    assert [(call["id"], call["name"], call["arguments"]) for call in answer["toolCalls"]] == CALLED
    assert answer["finishReason"] == "tool_calls"


def test_reasoning_is_beside_the_text(tab: Page, upstream: Upstream) -> None:
    upstream.answer(reasoning("Let me "), reasoning("see."), "Yes.")
    answer = loaded(tab).evaluate(ASK)
    assert (answer["reasoning"], answer["text"]) == ("Let me see.", "Yes.")


def test_usage_has_tokens_and_cost(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hello", usage=USAGE)
    answer = loaded(tab).evaluate(ASK)
    assert answer["usage"] == USED
    assert (answer["status"], answer["finishReason"]) == ("completed", "stop")


def test_error_in_the_middle_is_told_after_the_text(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    answer = loaded(tab).evaluate(ASK)
    assert (answer["text"], answer["status"], answer["failure"]["code"]) == ("Hel", "failed", "upstream_cut")
    assert answer["failure"]["retryable"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"prompt": ""}, 422, "invalid_field"),
        ({"messages": [{"role": "system", "content": "x"}]}, 422, "invalid_field"),
    ],
)
def test_error_in_the_request_is_thrown(tab: Page, request_: Any, status: int, code: str) -> None:
    refused = loaded(tab).evaluate("request => start('/llm', request).catch((error) => ({ ...error }))", request_)
    assert (refused["status"], refused["code"], refused["retryable"]) == (status, code, False)
    assert refused["errorId"]


def test_error_of_an_unknown_stream_is_thrown(tab: Page) -> None:
    reading(loaded(tab), "/llm/streams/0123")
    over(tab)
    assert tab.evaluate("[failure.name, failure.status, failure.code]") == ["StreamError", 404, "unknown_stream"]


def test_error_of_one_stream_does_not_end_the_others(tab: Page, open_tab: OpenTab, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    reading(tab, started(loaded(tab)))
    said(tab, "Hel")
    other = loaded(open_tab())
    reading(other, "/llm/streams/0123")
    over(other)
    assert other.evaluate("failure.status") == 404
    gate.open()
    assert over(tab)["text"] == "Hello"


def test_error_of_the_upstream_is_thrown_and_not_asked_for_again(tab: Page, upstream: Upstream) -> None:
    """A 502 that is the blueprint's own, not a proxy's: the upstream would be asked again and again."""
    before = len(upstream.requests)
    upstream.answer(status=401)
    headers = {"Content-Type": "application/json"}
    reading(loaded(tab), "/llm/chat", body=json.dumps({"prompt": "hi"}), headers=headers)
    over(tab)
    assert tab.evaluate("[failure.status, failure.code, failure.retryable]") == [502, "upstream_refused", False]
    assert len(upstream.requests) == before + 1


def test_error_in_a_callback_is_not_taken_for_a_lost_connection(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hello")
    answer = loaded(tab).evaluate(
        """async () => {
            window.onerror = () => { window.thrown = (window.thrown ?? 0) + 1; return true; };
            const { url } = await start("/llm", { prompt: "hi" });
            const answer = new Answer(), onState = () => { throw new Error("mine"); };
            for await (const event of follow(url, { onState })) answer.take(event);
            return { text: answer.text, thrown };
        }"""
    )
    assert answer == {"text": "Hello", "thrown": 2}


def test_error_of_a_login_page_is_thrown(tab: Page) -> None:
    """It is 200, too, after a redirect; asking it again and again would help nobody."""
    reading(loaded(tab), "/")
    over(tab)
    assert tab.evaluate("failure.code") == "not_a_stream"


def test_stop_closes_the_upstream(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hello", Stall())
    reading(tab, started(loaded(tab)))
    said(tab, "Hello")
    tab.evaluate("stop('/llm/streams/' + answer.id)")
    assert over(tab)["status"] == "cancelled"
    assert upstream.requests[-1].left.wait(SOON_S)


def test_stop_sends_the_headers_that_a_beacon_could_not(tab: Page, upstream: Upstream) -> None:
    upstream.answer("Hello", Stall())
    headers = {"Authorization": "Bearer token"}
    url = started(loaded(tab), headers=headers)
    reading(tab, url, headers=headers)
    said(tab, "Hello")
    with tab.expect_request(lambda request: request.method == "DELETE") as stopping:
        tab.evaluate("([url, headers]) => stop(url, { headers })", [url, headers])
    assert stopping.value.headers["authorization"] == "Bearer token"
    assert over(tab)["status"] == "cancelled"


@pytest.mark.parametrize(("stop_on_leave", "status"), [(True, "cancelled"), (False, "abandoned")])
def test_stop_when_the_page_goes_is_a_wish(
    tab: Page, upstream: Upstream, server: Server, stop_on_leave: bool, status: str
) -> None:
    upstream.answer("Hello", Stall())
    reading(tab, started(loaded(tab)), stopOnLeave=stop_on_leave)
    said(tab, "Hello")
    stream_id = tab.evaluate("answer.id")
    tab.goto("about:blank")
    assert server.record(stream_id)["status"] == status


def test_stop_reading_leaves_the_stream_to_the_grace(tab: Page, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    url = started(loaded(tab))
    tab.evaluate(
        """(url) => {
            window.giveUp = new AbortController();
            window.reading = (async () => {
                const { signal } = giveUp;
                for await (const { type } of follow(url, { signal })) if (type === "delta") giveUp.abort();
            })().catch((error) => error.name);
        }""",
        url,
    )
    assert tab.evaluate("reading") == "AbortError"
    assert server.record(url.rpartition("/")[2])["status"] == "abandoned"


def test_resume_gets_every_event_once(open_tab: OpenTab, upstream: Upstream, server: Server) -> None:
    gates = [Gate() for _ in range(3)]
    upstream.answer("one ", gates[0], "two ", gates[1], "three ", gates[2], "four")
    before = len(upstream.requests)
    with Proxy(server.port) as proxy:
        tab = loaded(open_tab(proxy.url))
        tab.evaluate(NO_WAITING)
        reading(tab, started(tab))
        for text, gate in zip(["one ", "one two ", "one two three "], gates, strict=True):
            said(tab, text)
            proxy.cut()
            gate.open()
        assert over(tab)["text"] == "one two three four"
        assert numbers(tab) == list(range(1, 8))
        assert "reconnecting" in tab.evaluate("states")
    assert len(upstream.requests) == before + 1


def test_resume_from_an_event_that_is_known(tab: Page, upstream: Upstream) -> None:
    upstream.answer("one ", "two ")
    url = started(loaded(tab))
    reading(tab, url)
    over(tab)
    reading(tab, url, after=tab.evaluate("events[1].id"))
    over(tab)
    assert numbers(tab) == [3, 4, 5]
    reading(tab, url, after=tab.evaluate("events[2].id"))
    over(tab)
    assert tab.evaluate("[events, failure]") == [[], None]  # 204


def test_resume_on_a_worker_that_has_forgotten_is_an_error(open_tab: OpenTab, upstream: Upstream, serve: Serve) -> None:
    """A log in memory dies with its worker; the page is told as soon as the next worker answers."""
    upstream.answer("Hello", Stall())
    server = serve(upstream)
    tab = loaded(open_tab(server.url))
    reading(tab, started(tab))
    said(tab, "Hello")
    tab.evaluate(NO_WAITING)
    os.kill(server.worker()["pid"], signal.SIGKILL)
    assert over(tab)["status"] == "running"
    assert tab.evaluate("[failure.status, failure.code]") == [404, "unknown_stream"]
    assert "reconnecting" in tab.evaluate("states")


def test_resume_of_a_view_of_ones_own(open_tab: OpenTab, upstream: Upstream, server: Server) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    before = len(upstream.requests)
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "key": "c0ffee"})
    with Proxy(server.port) as proxy:
        tab = loaded(open_tab(proxy.url))
        tab.evaluate(NO_WAITING)
        reading(tab, "/llm/chat", body=body, headers={"Content-Type": "application/json"})
        said(tab, "one ")
        proxy.cut()
        gate.open()
        assert over(tab)["text"] == "one two"
    assert numbers(tab) == [1, 2, 3, 4, 5]
    assert len(upstream.requests) == before + 1


@pytest.mark.parametrize(("key", "bought"), [("&key=c0ffee2", True), ("", False)])
def test_resume_before_the_first_event_wants_a_key(tab: Page, upstream: Upstream, key: str, bought: bool) -> None:
    """Without one nobody knows whether the answer was bought, and asking again might buy it twice."""
    before = len(upstream.requests)
    losses = [1]

    def lose_first(route: Route) -> None:
        if losses:
            losses.pop()
            route.abort("connectionreset")
        else:
            route.continue_()

    tab.route("**/llm/chat**", lose_first)
    if bought:
        upstream.answer("Hello")
    loaded(tab).evaluate(NO_WAITING)
    reading(tab, f"/llm/chat?prompt=hi{key}")
    assert over(tab)["text"] == ("Hello" if bought else "")
    assert tab.evaluate("failure?.name") == (None if bought else "TypeError")
    assert len(upstream.requests) == before + bought


# Back-off…


def test_back_off_doubles_with_jitter(tab: Page, upstream: Upstream) -> None:
    attempts = []

    def fail(route: Route) -> None:
        attempts.append(route)
        if len(attempts) <= 8:
            route.abort("connectionrefused")
        else:
            route.continue_()

    upstream.answer("Hello")
    url = started(loaded(tab))
    tab.evaluate(NO_WAITING)
    tab.route("**/llm/streams/*", fail)
    reading(tab, url)
    assert over(tab)["text"] == "Hello"
    waits = tab.evaluate("waits")
    assert len(waits) == 8
    for wait, most in zip(waits, [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000], strict=True):
        assert most / 2 <= wait <= most
    assert len({wait % 1 for wait in waits}) > 1


def test_back_off_begins_with_what_retry_says(tab: Page, upstream: Upstream) -> None:
    lines = [
        "retry: 4000\nid: abc-1\nevent: start\ndata: {}\n\n",
        'id: abc-2\nevent: done\ndata: {"status": "failed"}\n\n',
    ]
    loaded(tab).evaluate(NO_WAITING)
    tab.route("**/llm/streams/abc", lambda route: route.fulfill(body=lines.pop(0), content_type="text/event-stream"))
    reading(tab, "/llm/streams/abc")
    assert over(tab)["status"] == "failed"
    (wait,) = tab.evaluate("waits")
    assert 2000 <= wait <= 4000


@pytest.mark.parametrize("status", [429, 503])
def test_back_off_is_as_long_as_retry_after_says(tab: Page, upstream: Upstream, status: int) -> None:
    upstream.answer("Hello")
    url = started(loaded(tab))
    refusals = [1]

    def refuse(route: Route) -> None:
        if refusals:
            refusals.pop()
            route.fulfill(status=status, headers={"Retry-After": "7"}, body="<h1>Busy</h1>")
        else:
            route.continue_()

    tab.evaluate(NO_WAITING)
    tab.route("**/llm/streams/*", refuse)
    reading(tab, url)
    assert over(tab)["text"] == "Hello"
    assert tab.evaluate("waits") == [7000]


def test_back_off_ends_when_the_network_is_back(tab: Page, context: Any, upstream: Upstream) -> None:
    upstream.answer("Hello")
    url = started(loaded(tab))
    context.set_offline(True)
    tab.evaluate("window.setTimeout = () => 0")  # for ever
    reading(tab, url)
    tab.wait_for_function("states.at(-1) === 'reconnecting'")
    context.set_offline(False)
    assert over(tab)["text"] == "Hello"


def test_back_off_of_start_buys_one_answer(tab: Page, upstream: Upstream) -> None:
    before = len(upstream.requests)
    losses = [1, 2]

    def lose_answer(route: Route) -> None:
        response = route.fetch()
        if losses:
            losses.pop()
            route.abort("connectionreset")  # the server has begun all the same
        else:
            route.fulfill(response=response)

    upstream.answer("Hello")
    loaded(tab).evaluate(NO_WAITING)
    tab.route("**/llm/streams", lose_answer)
    assert tab.evaluate(ASK)["text"] == "Hello"
    assert len(upstream.requests) == before + 1


def test_back_off_is_not_for_an_owner_who_has_too_many(tab: Page) -> None:
    error = {"code": "too_many_streams", "message": "Too many.", "retryable": True, "error_id": "e"}
    body = json.dumps({"error": error})
    tab.route("**/llm/streams", lambda route: route.fulfill(status=429, headers={"Retry-After": "5"}, body=body))
    refused = loaded(tab).evaluate("start('/llm', { prompt: 'hi' }).catch((error) => ({ ...error }))")
    assert (refused["status"], refused["retryable"], refused["retryAfter"]) == (429, True, 5)
