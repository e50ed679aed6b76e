"""`x-llm-stream-id` on every response that belongs to a stream, whatever wire it is written in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import of_kind
from .here import MEMORY
from .here import sharing
from .keeping import asking
from .keeping import llm_of

MakeApp = Callable[..., Flask]

FRIEND = "https://friend.example"
JSON = {"Accept": "application/json"}
MESSAGES = [{"role": "user", "content": "hi"}]
UI = {"id": "c1", "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}
AGUI = {
    "threadId": "t", "runId": "r", "state": {}, "tools": [], "context": [], "forwardedProps": {},
    "messages": [{"id": "m1", "role": "user", "content": "hi"}],
}  # fmt: skip
ASKED: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "GET, native": ("GET", "/llm/chat?prompt=hi", None, {}),
    "GET, text": ("GET", "/llm/chat?prompt=hi&format=text", None, {}),
    "GET, JSON": ("GET", "/llm/chat?prompt=hi", None, JSON),
    "POST, native": ("POST", "/llm/chat", {"prompt": "hi"}, {}),
    "POST, text": ("POST", "/llm/chat?format=text", {"prompt": "hi"}, {}),
    "POST, JSON": ("POST", "/llm/chat", {"prompt": "hi"}, JSON),
    "without reading": ("POST", "/llm/streams", {"prompt": "hi"}, {}),
    "OpenAI's, streaming": ("POST", "/llm/v1/chat/completions", {"messages": MESSAGES, "stream": True}, {}),
    "OpenAI's, whole": ("POST", "/llm/v1/chat/completions", {"messages": MESSAGES}, {}),
    "useChat's": ("POST", "/llm/ui/chat", UI, {}),
    "AG-UI's": ("POST", "/llm/agui", AGUI, {}),
    "respond(), GET": ("GET", "/ask", None, {}),
    "respond(), POST": ("POST", "/ask", {}, {}),
    "respond(), JSON": ("GET", "/ask", None, JSON),
    "respond(), of a generator": ("GET", "/report", None, {}),
}
FAILING = [name for name, (method, path, _, headers) in ASKED.items() if method == "POST" and "streams" not in path]


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    app = make_app(origins=[FRIEND], retries=0)
    asking(app)
    app.add_url_rule("/report", view_func=lambda: llm_of(app).respond(["Hello"]))
    return app.test_client()


def id_of(client: FlaskClient, answer: Any) -> str:
    """The id in the header, which names the stream that the app has a record of."""
    answer.get_data()
    (stream_id,) = answer.headers.getlist("x-llm-stream-id")
    assert client.get(f"/llm/streams/{stream_id}", headers=JSON).json["id"] == stream_id
    return str(stream_id)


def asked(client: FlaskClient, name: str) -> Any:
    method, path, body, headers = ASKED[name]
    return client.open(path, method=method, json=body, headers={**headers, "Origin": FRIEND})


@pytest.mark.parametrize("name", ASKED)
def test_every_way_to_ask_names_the_stream_and_pages_of_friends_may_read_it(
    client: FlaskClient, upstream: Upstream, name: str
) -> None:
    upstream.answer("Hello")
    answer = asked(client, name)
    assert answer.status_code in (200, 201)
    id_of(client, answer)
    exposed = [value.strip() for value in answer.headers["Access-Control-Expose-Headers"].split(",")]
    assert "x-llm-stream-id" in exposed


@pytest.mark.parametrize("name", FAILING)
def test_failure_with_a_status_of_its_own_names_the_stream(client: FlaskClient, upstream: Upstream, name: str) -> None:
    upstream.answer(status=500)
    answer = asked(client, name)
    assert answer.status_code >= 500
    id_of(client, answer)


def test_every_way_to_come_back_names_the_stream(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    stream_id = id_of(client, client.get("/llm/chat?prompt=hi&key=k"))
    last = {"Last-Event-ID": f"{stream_id}-1"}
    for path, headers in (
        (f"/llm/streams/{stream_id}", {}),
        (f"/llm/streams/{stream_id}?format=text", {}),
        (f"/llm/streams/{stream_id}", JSON),
        ("/llm/chat?prompt=hi", last),
        ("/llm/chat?prompt=hi&key=k", {}),
        ("/ask", last),
    ):
        assert id_of(client, client.get(path, headers=headers)) == stream_id
    for path, headers in (
        (f"/llm/streams/{stream_id}?after=99", {}),
        ("/ask", {"Last-Event-ID": f"{stream_id}-99"}),
    ):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 204
        assert answer.headers["x-llm-stream-id"] == stream_id


def test_chat_that_is_resumed_names_the_stream() -> None:
    gate = Gate()
    with sharing(MEMORY) as pair, pair.a.client_of("ann") as client:
        pair.upstream.answer("one ", gate, "two")
        with (
            client.stream("POST", "/llm/ui/chat", json=UI) as first,
            client.stream("GET", "/llm/ui/chat/c1/stream") as again,
        ):
            gate.open()
            assert "two" in "".join(again.iter_text())
            assert "two" in "".join(first.iter_text())
    assert first.headers["x-llm-stream-id"] == again.headers["x-llm-stream-id"]


def test_refused_request_names_no_stream(client: FlaskClient) -> None:
    for answer in (client.get("/llm/chat"), client.get("/llm/streams/unknown"), client.head("/llm/chat?prompt=hi")):
        assert "x-llm-stream-id" not in answer.headers


def test_id_is_the_one_in_the_start_event(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    answer = client.get("/ask")
    assert of_kind(read_events(answer.data), "start")["id"] == answer.headers["x-llm-stream-id"]
