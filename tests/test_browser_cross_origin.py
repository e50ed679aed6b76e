"""Chromium at a page of one origin, and the app on another."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import GUNICORN
from .conftest import Server
from .conftest import kinds_of
from .conftest import text_of
from .proxy import Proxy

pytestmark = pytest.mark.browser

ASK = """async ([url, init]) => {
    try {
        const response = await fetch(url, { credentials: "include", ...init });
        return { status: response.status, text: await response.text(), id: response.headers.get("x-request-id") };
    } catch (error) {
        return { status: 0, text: String(error) };
    }
}"""

JSON = {"Content-Type": "application/json"}

WATCH = """url => {
    window.seen = { text: "", ids: [], errors: 0 };
    window.source = new EventSource(url, { withCredentials: true });
    source.onerror = () => { seen.errors += 1; };
    for (const type of ["start", "delta", "usage", "done"])
        source.addEventListener(type, ({ data, lastEventId }) => {
            seen.ids.push(Number(lastEventId.split("-")[1]));
            if (type === "delta") seen.text += JSON.parse(data).text;
            if (type === "done") source.close();
        });
}"""

USE_MODULE = """async ([api, view]) => {
    const { Answer, follow, start } = await import(`${api}/static/llm-stream.js`);
    const read = async (events) => {
        const answer = new Answer();
        for await (const event of events) answer.take(event);
        return answer;
    };
    const options = { credentials: "include" };
    const stream = await start(api, { prompt: "hi" }, options);
    const first = await read(stream);
    const again = await read(follow(stream.url, options));
    const body = JSON.stringify({ text: "hi" });
    const headers = { "Content-Type": "application/json" };
    const ofView = await read(follow(view, { ...options, body, headers }));
    return [first.text, again.text, ofView.text];
}"""

Asked = Callable[..., Any]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Where the page comes from."""
    server = Server(None, tmp_path_factory.mktemp("home"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def api(home: Server, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    command = [*GUNICORN[:-1], "tests.tenants:app"]
    server = Server(upstream, tmp_path_factory.mktemp("api"), command, origins=[site_of(home)])
    yield server
    server.stop()


def site_of(server: Server) -> str:
    """By another name, so that it is another site and not only another origin."""
    return f"http://localhost:{server.port}"


@pytest.fixture
def ask(page: Page, home: Server) -> Asked:
    """`fetch` with cookies, in the page."""
    page.goto(f"{site_of(home)}/worker")
    return lambda url, **init: page.evaluate(ASK, [url, init])


READABLE = [
    ("/llm/chat?prompt=hi", {}, 200),
    ("/chat?prompt=hi", {}, 200),
    ("/report?name=Ann", {}, 200),
    ("/llm/chat?prompt=hi&who=nobody", {}, 401),
    ("/chat?prompt=hi&who=nobody", {}, 401),
    ("/llm/chat?prompt=", {}, 422),
    ("/chat?prompt=", {}, 422),
    ("/llm/nothing", {}, 404),
    ("/t/acme/llm/nothing", {"method": "POST", "headers": JSON, "body": "{}"}, 404),
    ("/llm/chat", {"method": "PUT", "headers": JSON, "body": "{}"}, 405),
    ("/llm/chat", {"method": "POST", "headers": JSON, "body": '{"prompt": "hi"}'}, 200),
    ("/t/acme/llm/chat", {"method": "POST", "headers": JSON, "body": '{"prompt": "hi"}'}, 200),
    ("/summarise", {"method": "POST", "headers": JSON, "body": '{"text": "hi"}'}, 200),
    ("/summarise", {"method": "POST", "headers": JSON, "body": '{"text": ""}'}, 422),
    ("/summarise", {"method": "POST", "headers": JSON, "body": "nonsense"}, 400),
]


@pytest.mark.parametrize(("path", "init", "status"), READABLE, ids=str)
def test_page_of_another_site_reads_every_answer_and_sees_no_network_error(
    ask: Asked, api: Server, upstream: Upstream, path: str, init: dict[str, Any], status: int
) -> None:
    if status == 200 and not path.startswith("/report"):
        upstream.answer("Hello")
    answer = ask(api.url + path, **init)
    assert answer["status"] == status, answer["text"]
    assert answer["text"]


@pytest.mark.parametrize("path", ["/llm/chat", "/summarise"])
def test_page_of_another_site_resumes_and_is_told_by_204_that_it_has_everything(
    ask: Asked, api: Server, upstream: Upstream, path: str
) -> None:
    upstream.answer("one ", "two")
    init = {"method": "POST", "body": '{"text": "hi"}' if path == "/summarise" else '{"prompt": "hi"}'}
    events = read_events(ask(api.url + path, headers=JSON, **init)["text"].encode())
    assert text_of(events) == "one two"
    for at, status in ((2, 200), (len(events), 204)):
        again = ask(api.url + path, headers=JSON | {"Last-Event-ID": events[at - 1][0]}, **init)
        assert again["status"] == status
        assert read_events(again["text"].encode()) == events[at:]


def test_event_source_of_another_site_resumes_a_view_of_the_app(
    page: Page, ask: Asked, api: Server, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    with Proxy(api.port) as proxy:
        page.evaluate(WATCH, f"{proxy.url}/watch?prompt=hi")
        page.wait_for_function("seen.text === 'one '")
        proxy.cut()
        gate.open()
        page.wait_for_function("source.readyState === EventSource.CLOSED")
    seen = page.evaluate("seen")
    assert (seen["text"], seen["ids"]) == ("one two", [1, 2, 3, 4, 5])


def test_view_of_the_app_that_is_not_decorated_cannot_be_sent_json(ask: Asked, api: Server, upstream: Upstream) -> None:
    before = len(upstream.requests)
    assert ask(f"{api.url}/closed", method="POST", headers=JSON, body='{"text": "hi"}')["status"] == 0
    assert len(upstream.requests) == before


def test_page_of_an_origin_that_is_not_allowed_reads_nothing(
    page: Page, ask: Asked, home: Server, api: Server, upstream: Upstream
) -> None:
    before = len(upstream.requests)
    page.goto(f"{home.url}/worker")
    assert ask(f"{api.url}/llm/chat?prompt=hi")["status"] == 0
    assert ask(f"{api.url}/chat?prompt=hi")["status"] == 0
    assert len(upstream.requests) == before


def test_page_of_another_site_sees_the_headers_that_clients_need(ask: Asked, api: Server, upstream: Upstream) -> None:
    upstream.answer("Hello")
    body = '{"messages": [{"role": "user", "content": "hi"}], "stream": true}'
    answer = ask(f"{api.url}/llm/v1/chat/completions", method="POST", headers=JSON, body=body)
    assert (answer["status"], bool(answer["id"])) == (200, True)


def test_module_works_from_another_site_below_a_variable(
    page: Page, ask: Asked, api: Server, upstream: Upstream
) -> None:
    upstream.answer("one")
    upstream.answer("two")
    assert page.evaluate(USE_MODULE, [f"{api.url}/t/acme/llm", f"{api.url}/summarise"]) == ["one", "one", "two"]


def test_module_works_below_a_variable_on_a_page_of_its_own_origin(page: Page, api: Server, upstream: Upstream) -> None:
    upstream.answer("one")
    upstream.answer("two")
    page.goto(f"{api.url}/worker")
    assert page.evaluate(USE_MODULE, ["/t/acme/llm", "/summarise"]) == ["one", "one", "two"]
    assert kinds_of(api.events("/t/acme/llm/chat?prompt=hi&key=k"))[0] == "start"
