"""In a host with the usual extensions: answers stream, are recorded once, and each extension does what it is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import text_of

FRIEND = "https://friend.example"
HI = [{"role": "user", "content": "hi"}]
TURN = {"id": "c1", "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}


@dataclass(frozen=True)
class Way:
    """A way to ask, and how its answer ends."""

    path: str
    body: Any = None
    end: str = "event: done"

    def asked(self) -> Any:
        """In a conversation of its own: the same words in the same one are the same answer."""
        return self.body | {"id": uuid4().hex} if self.body and "id" in self.body else self.body


WAYS = {
    "native, GET": Way("/llm/chat?prompt=hi"),
    "native, POST": Way("/llm/chat", {"prompt": "hi"}),
    "OpenAI's": Way("/llm/v1/chat/completions", {"messages": HI, "stream": True}, "[DONE]"),
    "useChat's": Way("/llm/ui/chat", TURN, "[DONE]"),
    "respond, of a model": Way("/ask", {"text": "hi"}),
    "respond, of a generator": Way("/report?of=May"),
}


class Host(Server):
    """The process, signed in to."""

    def __init__(self, upstream: Upstream, folder: Path, **settings: Any) -> None:
        self._files = {name: folder / f"{name.lower()}.jsonl" for name in ("SENTRY", "SPANS")}
        files = {name: str(file) for name, file in self._files.items()}
        command = [*GUNICORN[:-1], "tests.hosted:make_app()"]
        database = f"sqlite:///{folder / 'app.db'}"
        super().__init__(upstream, folder, command, DATABASE=database, **files, **settings)
        self.cookies = {name: self._sign_in(name) for name in ("ann", "banned")}
        self.forget()

    def _sign_in(self, name: str) -> str:
        return httpx2.post(f"{self.url}/sign-in/{name}", timeout=PATIENCE_S).headers["Set-Cookie"].partition(";")[0]

    def forget(self) -> None:
        eventually(self.at_rest)
        assert self.upstream
        self.upstream.requests.clear()
        for file in self._files.values():
            file.write_text("")

    def told(self, whom: str) -> list[dict[str, Any]]:
        lines = self._files[whom].read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def spans(self, of: str) -> list[dict[str, Any]]:
        """Those of a kind, but for what the test itself asks to look at the worker."""
        spans = [span for span in self.told("SPANS") if span["kind"] == f"SpanKind.{of}"]
        return [span for span in spans if span["name"] not in ("GET /worker", "GET /charges")]

    def charges(self) -> list[list[str]]:
        found: list[list[str]] = self.get("/charges").json()
        return found

    def wait_for_charges(self, number: int) -> None:
        eventually(lambda: len(self.charges()) == number, f"charge {number}")

    def ask(self, way: Way, who: str | None = "ann", **headers: str) -> httpx2.Response:
        headers |= {"Cookie": self.cookies[who]} if who else {}
        method = "GET" if way.body is None else "POST"
        url = self.url + way.path
        return httpx2.request(method, url, json=way.asked(), headers=headers, timeout=PATIENCE_S)

    def connect(self, way: Way, *headers: str) -> Connection:
        """As a browser of another origin does, which can decompress."""
        headers = (f"Cookie: {self.cookies['ann']}", f"Origin: {FRIEND}", *headers)
        headers = ("Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: de", "Connection: close", *headers)
        if way.body is None:
            return Connection.get(self.port, way.path, *headers)
        body = json.dumps(way.asked())
        sent = ("Content-Type: application/json", f"Content-Length: {len(body)}", f"Host: 127.0.0.1:{self.port}")
        return Connection(self.port, "\n".join([f"POST {way.path} HTTP/1.1", *sent, *headers, "", body]))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(upstream, tmp_path_factory.mktemp("host"))
    yield host
    host.stop()


@pytest.fixture
def host(running: Host) -> Host:
    running.forget()
    return running


def head_of(answer: str) -> list[tuple[str, str]]:
    lines = answer.partition("\r\n\r\n")[0].split("\r\n")[1:]
    return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def values_of(head: list[tuple[str, str]], name: str) -> list[str]:
    return [value for named, value in head if named == name]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_token_is_there_while_the_upstream_stands_still_and_every_extension_did_its_part(
    host: Host, upstream: Upstream, way: Way
) -> None:
    before, gate = len(host.charges()), Gate()
    upstream.answer("one ", gate, "two")
    reading = host.connect(way)
    head = head_of(reading.read_until("one "))
    gate.open()
    assert "two" in reading.read_until(way.end)
    reading.read_to_end()

    assert values_of(head, "content-type")[0].startswith("text/event-stream")
    assert not values_of(head, "content-encoding")  # Compress
    assert values_of(head, "x-content-type-options") == ["nosniff"]  # Talisman
    assert values_of(head, "content-security-policy")
    assert values_of(head, "x-ratelimit-remaining")  # Limiter
    assert values_of(head, "access-control-allow-origin") == [FRIEND]  # CORS
    assert values_of(head, "access-control-allow-credentials") == ["true"]
    assert len(values_of(head, "vary")) == 1
    assert [owner for _, owner in host.charges()[before:]] == ["ann"]  # SQLAlchemy
    assert host.told("SENTRY") == []
    (request,) = eventually(lambda: host.spans("SERVER"), "the request's span")  # OpenTelemetry
    (ours,) = [span for span in host.told("SPANS") if span["name"].split()[0] == "chat"]
    assert ours["parent_id"] == request["context"]["span_id"]
    assert ours["context"]["trace_id"] == request["context"]["trace_id"]


def test_generator_of_the_apps_sees_its_user_its_language_and_its_database(host: Host, upstream: Upstream) -> None:
    upstream.answer("answer")
    answer = host.ask(WAYS["respond, of a generator"], **{"Accept-Language": "de"})
    assert text_of(read_events(answer.content)) == "Ann 1.234,5 2 May answer"


@pytest.mark.parametrize("name", ["native, GET", "respond, of a model", "respond, of a generator"])
def test_answer_is_resumed_and_stopped(host: Host, upstream: Upstream, name: str) -> None:
    before, gate = len(host.charges()), Gate()
    upstream.answer("one ", gate, "two")
    first = host.connect(WAYS[name])
    events = read_events(first.read_until("one ").partition("\r\n\r\n")[2].encode())
    stream_id = events[0][2]["id"]
    first.close()
    second = host.connect(WAYS[name], f"Last-Event-ID: {stream_id}-1")
    second.read_until("one ")
    stopped = host.ask(Way(f"/llm/streams/{stream_id}/cancel", {}))
    assert stopped.status_code == 204
    gate.open()
    assert '"cancelled"' in second.read_until("event: done")
    second.read_to_end()
    assert host.charges()[before:] == [[stream_id, "ann"]]
    assert len(upstream.requests) == 1
    assert host.told("SENTRY") == []


def test_reader_that_leaves_is_no_error_for_sentry(upstream: Upstream, tmp_path: Path) -> None:
    host = Host(upstream, tmp_path, disconnect_grace_s=0.2)
    try:
        for number, way in enumerate(WAYS.values(), 1):
            upstream.answer("one ", Stall())
            reading = host.connect(way)
            reading.read_until("one ")
            reading.close()
            host.wait_for_charges(number)
        upstream.answer("one ", Stall())
        started = host.ask(Way("/llm/streams", {"prompt": "hi"}))
        reading = host.connect(Way(f"/llm/streams?after={started.json()['id']}-0"))
        reading.read_until("one ")
        reading.close()
        host.wait_for_charges(len(WAYS) + 1)
    finally:
        host.stop()
    assert host.told("SENTRY") == []


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.body])
def test_refusal_is_an_honest_status_and_nothing_for_sentry(host: Host, upstream: Upstream, name: str) -> None:
    upstream.answer(status=400)
    refused = host.ask(WAYS[name], Origin=FRIEND)
    assert refused.status_code == 400
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    assert refused.headers.get_list("Access-Control-Allow-Origin") == [FRIEND]
    assert host.told("SENTRY") == []


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_nobody_is_signed_in_and_nothing_is_bought(host: Host, upstream: Upstream, way: Way) -> None:
    before = host.charges()
    refused = host.ask(way, who=None, Origin=FRIEND)
    assert refused.status_code == 401
    assert refused.headers.get_list("Access-Control-Allow-Origin") == [FRIEND]
    assert (host.charges(), upstream.requests) == (before, [])


LIMITED = ["native, POST", "OpenAI's", "useChat's", "respond, of a model"]


def test_limit_refuses_before_anything_is_bought_in_the_form_of_each_client(host: Host, upstream: Upstream) -> None:
    before = host.charges()
    native, openai, ui, respond = (host.ask(WAYS[name], who="banned", Origin=FRIEND) for name in LIMITED)
    for refused in (native, openai, ui, respond):
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers.get_list("Access-Control-Allow-Origin") == [FRIEND]
    assert native.json()["error"]["code"] == "too_many_requests"
    assert native.json()["error"]["retryable"] is True
    assert openai.json()["error"]["type"]
    assert ui.headers["Content-Type"].startswith("text/plain") and not ui.text.startswith(("{", "<"))
    assert (host.charges(), upstream.requests) == (before, [])
    assert host.told("SENTRY") == []


def test_mistake_in_a_generator_of_the_apps_comes_to_sentry_once(host: Host, upstream: Upstream) -> None:
    upstream.answer("Hello")
    answer = host.ask(Way("/report?raise=1"))
    events = read_events(answer.content)
    assert (text_of(events)[-5:], events[-1][2]["status"]) == ("Hello", "failed")
    (event,) = eventually(lambda: host.told("SENTRY"), "Sentry's event")
    assert event["exception"]["values"][0]["value"] == "a mistake in a generator of the app's"
    assert event["request"]["url"].endswith("/report")
    assert event["user"]["id"] == "ann"


def test_mistake_in_a_view_of_the_apps_comes_to_sentry_once(host: Host) -> None:
    assert host.ask(Way("/broken")).status_code == 500
    (event,) = eventually(lambda: host.told("SENTRY"), "Sentry's event")
    assert event["exception"]["values"][0]["value"] == "a mistake in a view of the app's"


def test_compress_compresses_what_is_no_stream(host: Host) -> None:
    for path in ("/llm/usage", "/llm/static/llm-stream.js"):
        answer = host.ask(Way(path), **{"Accept-Encoding": "br"})
        assert (answer.status_code, answer.headers.get("Content-Encoding")) == (200, "br")


def test_preflight_goes_past_the_limit_and_the_sign_in(host: Host) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for path in ("/llm/chat", "/ask"):
        told = httpx2.request("OPTIONS", host.url + path, headers={"Origin": FRIEND, **asked}, timeout=PATIENCE_S)
        assert (told.status_code, told.headers["Access-Control-Allow-Methods"]) == (200, "POST")
        assert told.headers.get_list("Access-Control-Allow-Origin") == [FRIEND]
