"""The cases of web-platform-tests' `eventsource/` that a server can get wrong, through our encoder into Chromium.

https://github.com/web-platform-tests/wpt/tree/master/eventsource. What a payload there does to a parser, it must not do
as the text of an answer. Of the cases about the life of a connection, those that need a server are here, or in
`clients/test_event_source.py`; those about the interface of EventSource are the browser's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import Server
from .proxy import Proxy

pytestmark = pytest.mark.browser

Serve = Callable[..., Server]

LONG = "x" * 2048
PAYLOADS = {
    "event-data": "data:msg\ndata:msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
    "format-bom": "\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n",
    "format-bom-2": "\ufeff\ufeffdata:1\n\ndata:2\n\ndata:3\n\n",
    "format-comments": f"data:1\r:\0\n:\r\ndata:2\n:{LONG}\rdata:3\n:data:fail\r:{LONG}\ndata:4\n\n",
    "format-data-before-final-empty-line": "retry:1000\ndata:test1\n\nid:test\ndata:test2",
    "format-field-data": "data:\n\ndata\ndata\n\ndata:test\n\n",
    "format-field-event": "event:test\ndata:x\n\ndata:x\n\n",
    "format-field-event-empty": "event: \ndata:data\n\n",
    "format-field-id": "id: …\ndata: hello\n\n",
    "format-field-id-2": "id\ndata:1\n\ndata:2\n\nid:3\ndata:3\n\n",
    "format-field-id-3": "id: 1\ndata:1\n\nid\ndata:2\n\nid: 3\ndata:3\n\n",
    "format-field-id-null": "id: 1\n\nid: 1\0\ndata:hello\n\n",
    "format-field-parsing": (
        "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n"
    ),
    "format-field-retry": "retry:3000\ndata:x\n\n",
    "format-field-retry-bogus": "retry:3000\nretry:1000x\ndata:x\n\n",
    "format-field-retry-empty": "retry\ndata:test\n\n",
    "format-field-unknown": "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
    "format-leading-space": "data:\ttest\rdata: \ndata:test\n\n",
    "format-newlines": "data:test\r\ndata\ndata:test\r\n\r",
    "format-null-character": "data:\0\n\n\n\n",
    "format-utf-8": "data:okeyokey\n\ndata:okeyokey 🙂 é é\n\n",
}

LINE_END = re.compile(r"\r\n|\r|\n")

READ = """url => {
    window.seen = { texts: [], ids: [], plain: "", errors: 0, opened: 0 };
    window.source = new EventSource(url, { withCredentials: url.startsWith("http") });
    source.onopen = () => { seen.opened += 1; };
    source.onerror = () => { seen.errors += 1; };
    source.onmessage = ({ data }) => { if (data === "[DONE]") source.close(); else seen.plain += data; };
    for (const type of ["start", "delta", "failure", "usage", "done"])
        source.addEventListener(type, ({ data, lastEventId }) => {
            seen.ids.push(Number(lastEventId.split("-")[1]));
            if (type === "delta") seen.texts.push(JSON.parse(data).text);
            if (type === "done") source.close();
        });
}"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(upstream, tmp_path_factory.mktemp("server"))
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def at_server(page: Page, server: Server) -> Page:
    page.goto(f"{server.url}/worker")
    return page


def read(page: Page, url: str) -> Any:
    page.evaluate(READ, url)
    page.wait_for_function("source.readyState === EventSource.CLOSED")
    return page.evaluate("seen")


def test_format_payloads_are_nothing_but_text(at_server: Page, upstream: Upstream) -> None:
    upstream.answer(*PAYLOADS.values())
    seen = read(at_server, "/llm/chat?prompt=hi")
    assert dict(zip(PAYLOADS, seen["texts"], strict=True)) == PAYLOADS
    assert seen["ids"] == list(range(1, len(PAYLOADS) + 4))


def test_format_payloads_are_nothing_but_lines_in_the_plain_form(at_server: Page, upstream: Upstream) -> None:
    upstream.answer(*PAYLOADS.values())
    seen = read(at_server, "/llm/chat?prompt=hi&format=text")
    assert seen["plain"] == LINE_END.sub("\n", "".join(PAYLOADS.values()))


class CuttingProxy(Proxy):
    """Loses its connections in the middle of an event: before each of the words, once."""

    def __init__(self, target: int, *words: bytes) -> None:
        self._words = list(words)
        super().__init__(target)

    def passed(self, data: bytes) -> bytes:
        if not self._words or self._words[0] not in data:
            return data
        return data[: data.index(self._words.pop(0))]


def test_format_data_before_final_empty_line(page: Page, upstream: Upstream, server: Server) -> None:
    """An event that a lost connection has cut is dropped, and comes whole afterwards."""
    upstream.answer("one ", "two ", "three")
    stream_id = read_events(server.get("/llm/chat?prompt=hi").content)[0][2]["id"]
    with CuttingProxy(server.port, b"two ", b"completed") as proxy:
        page.goto(f"{proxy.url}/worker")
        seen = read(page, f"/llm/streams/{stream_id}")
    assert seen["texts"] == ["one ", "two ", "three"]
    assert seen["ids"] == [1, 2, 3, 4, 5, 6]
    assert (seen["opened"], seen["errors"]) == (3, 2)


def test_format_mime_type(server: Server, upstream: Upstream) -> None:
    upstream.answer("Hello")
    assert server.get("/llm/chat?prompt=hi").headers["Content-Type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    ("status", "path"),
    [
        (204, "/llm/streams/{ended}?after=4"),
        (404, "/llm/streams/0123"),
        (409, "/llm/chat?prompt=other&key=409"),
        (422, "/llm/chat"),
    ],
)
def test_request_status_error(at_server: Page, upstream: Upstream, server: Server, status: int, path: str) -> None:
    """Each of them is final: the browser does not ask again."""
    upstream.answer("Hello")
    ended = read_events(server.get(f"/llm/chat?prompt=hi&key={status}").content)[0][2]["id"]
    asked: list[int] = []
    at_server.on("response", lambda response: asked.append(response.status))
    seen = read(at_server, path.format(ended=ended))
    assert (seen["errors"], seen["opened"], asked) == (1, 0, [status])


def test_eventsource_cross_origin_and_its_reconnect(
    at_server: Page, upstream: Upstream, serve: Serve, server: Server
) -> None:
    """An id of ours is safe to send across origins: the reconnect needs no preflight."""
    gate = Gate()
    upstream.answer("one ", gate, "two", Cut())
    other = serve(upstream, origins=[server.url])
    with Proxy(other.port) as proxy:
        at_server.evaluate(READ, f"{proxy.url}/llm/chat?prompt=hi")
        at_server.wait_for_function("seen.texts.length === 1")
        proxy.cut()
        gate.open()
        at_server.wait_for_function("source.readyState === EventSource.CLOSED")
    seen = at_server.evaluate("seen")
    assert seen["texts"] == ["one ", "two"]
    assert seen["ids"] == [1, 2, 3, 4, 5, 6]
