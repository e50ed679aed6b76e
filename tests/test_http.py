"""The routes: who may call them, with what, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask import abort
from flask import redirect
from flask.testing import FlaskClient
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import text_of

MakeApp = Callable[..., Flask]


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app(models=["other"], max_output_tokens=100, max_request_bytes=2000).test_client()


BAD_BODIES: list[tuple[Any, int, str]] = [
    (b"{nonsense", 400, "JSON"),
    (b"\xff\xfe", 400, "JSON"),
    (b'"\\ud800"', 400, "JSON"),
    (b"[" * 1500, 400, "JSON"),
    ([], 400, "object"),
    ({}, 422, "prompt"),
    ({"prompt": ""}, 422, "prompt"),
    ({"prompt": 7}, 422, "prompt"),
    ({"prompt": "x", "messages": []}, 422, "messages"),
    ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, 422, "messages"),
    ({"messages": []}, 422, "messages"),
    ({"messages": "x"}, 422, "messages"),
    ({"messages": [{"role": "system", "content": "x"}]}, 422, "messages[0].role"),
    ({"messages": [{"role": "developer", "content": "x"}]}, 422, "messages[0].role"),
    ({"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]}, 422, "messages[1].role"),
    ({"messages": [{"role": "user"}]}, 422, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 1}]}, 422, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x", "tool_call_id": "x"}]}, 422, "messages[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, 422, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, 422, "messages[0].content[0].type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
        422,
        "messages[0].content[0].image_url.url",
    ),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]}, 422, "messages[0].tool_calls"),
    ({"prompt": "x", "model": "expensive"}, 422, "model"),
    ({"prompt": "x", "temperature": 3}, 422, "temperature"),
    ({"prompt": "x", "temperature": "hot"}, 422, "temperature"),
    ({"prompt": "x", "max_output_tokens": 101}, 422, "max_output_tokens"),
    ({"prompt": "x", "max_output_tokens": 0}, 422, "max_output_tokens"),
    ({"prompt": "x", "max_output_tokens": 1.5}, 422, "max_output_tokens"),
    ({"prompt": "x", "max_output_tokens": True}, 422, "max_output_tokens"),
    ({"prompt": "x", "tools": [{}]}, 422, "tools[0]"),
    ({"prompt": "x", "key": ""}, 422, "key"),
    ({"prompt": "x", "key": "a b"}, 422, "key"),
    ({"prompt": "x", "key": "a\n"}, 422, "key"),
    ({"prompt": "x", "key": "k" * 129}, 422, "key"),
    ({"prompt": "x", "max_tokens": 5}, 422, "max_output_tokens"),
    ({"prompt": "x" * 3000}, 413, "2000"),
]


@pytest.mark.parametrize(("body", "status", "names"), BAD_BODIES, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("path", ["/llm/chat", "/llm/streams"])
def test_wrong_body_is_refused_with_a_message_that_names_the_field(
    client: FlaskClient, upstream: Upstream, path: str, body: Any, status: int, names: str
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(path, data=data, content_type="application/json")
    assert response.status_code == status, response.text
    error = response.json["error"]
    assert names in error["message"]
    assert set(error) == {"code", "message", "retryable", "error_id"}
    assert not upstream.requests


@pytest.mark.parametrize(
    ("query", "names"),
    [("", "prompt"), ("?prompt=", "prompt"), ("?prompt=x&model=expensive", "model"), ("?prompt=x&key=", "key")],
)
def test_wrong_query_is_refused(client: FlaskClient, upstream: Upstream, query: str, names: str) -> None:
    response = client.get(f"/llm/chat{query}")
    assert response.status_code == 422
    assert names in response.json["error"]["message"]
    assert client.get("/llm/chat?prompt=x&format=xml").status_code == 422
    assert not upstream.requests


def test_body_that_is_not_json_is_refused(client: FlaskClient) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", None):
        response = client.post("/llm/chat", data=b'{"prompt": "x"}', content_type=content_type)
        assert (response.status_code, response.json["error"]["code"]) == (415, "not_json")


def test_oversized_body_is_refused_before_it_is_read(upstream: Upstream, serve: Callable[..., Server]) -> None:
    server = serve(upstream, max_request_bytes=1000)
    head = "POST /llm/chat HTTP/1.1\nHost: x\nContent-Type: application/json\n"
    assert " 413 " in Connection(server.port, f"{head}Content-Length: 1000000000\n\n").read_until("\r\n")
    chunked = Connection(server.port, f"{head}Transfer-Encoding: chunked\n\n7d0\n{'x' * 2000}\n")
    assert " 413 " in chunked.read_until("\r\n")


def test_everything_that_may_be_asked_goes_upstream(client: FlaskClient, upstream: Upstream) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "ü"}]},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "y"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    body = {"messages": messages, "model": "other", "temperature": 0.5, "max_output_tokens": 50, "tools": tools}
    assert client.post("/llm/chat", json=body).status_code == 200
    asked = upstream.request(0).json
    assert asked == {
        "messages": messages,
        "model": "other",
        "temperature": 0.5,
        "max_tokens": 50,
        "tools": tools,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_output_is_limited_upstream_even_if_nobody_asked_for_a_limit(client: FlaskClient, upstream: Upstream) -> None:
    client.post("/llm/chat", json={"prompt": "x"})
    assert upstream.request(0).json["max_tokens"] == 100


def test_native_stream_to_the_byte(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo")
    response = client.get("/llm/chat?prompt=x")
    start = read_events(response.data)[0][2]
    name = start["id"]
    assert set(start) == {"id", "model", "created"}
    assert response.text == (
        "retry: 1000\n"
        f'id: {name}-1\nevent: start\ndata: {{"id":"{name}","model":"scripted","created":{start["created"]}}}\n\n'
        f'id: {name}-2\nevent: delta\ndata: {{"text":"Hel"}}\n\n'
        f'id: {name}-3\nevent: delta\ndata: {{"text":"lo"}}\n\n'
        f'id: {name}-4\nevent: usage\ndata: {{"input_tokens":1,"output_tokens":2,"source":"provider"}}\n\n'
        f'id: {name}-5\nevent: done\ndata: {{"status":"completed","finish_reason":"stop"}}\n\n'
    )
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "Connection" not in response.headers


def test_start_is_sent_before_the_upstream_is_called(upstream: Upstream, serve: Callable[..., Server]) -> None:
    server = serve(upstream)
    upstream.answer(Stall(before_headers=True))
    Connection.get(server.port, "/llm/chat?prompt=hi").read_until("event: start")


def test_post_holds_back_its_status_and_answers_like_get(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    response = client.post("/llm/chat", json={"prompt": "x"})
    assert kinds_of(read_events(response.data)) == ["start", "delta", "usage", "done"]


def test_post_is_held_for_so_long_only(upstream: Upstream, serve: Callable[..., Server]) -> None:
    server = serve(upstream, status_hold_s=0.3, heartbeat_s=0.2, retries=0)
    gate = Gate()
    upstream.answer(gate, {"error": {"message": "x", "code": 500}}, finish_reason=None)
    body = '{"prompt": "hi"}'
    head = f"Content-Type: application/json\nContent-Length: {len(body)}"
    reading = Connection(server.port, f"POST /llm/chat HTTP/1.1\nHost: x\n{head}\n\n{body}")
    assert " 200 " in reading.read_until(": ping\n\n")
    gate.open()
    reading.read_until("event: done")


def test_json_answer_in_one_piece(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo")
    response = client.post("/llm/chat", json={"prompt": "x"}, headers={"Accept": "application/json"})
    answer = response.json
    assert answer == {
        "id": answer["id"],
        "model": "scripted",
        "status": "completed",
        "finish_reason": "stop",
        "text": "Hello",
        "usage": {"input_tokens": 1, "output_tokens": 2, "source": "provider"},
    }


def test_json_answer_that_fails_has_an_honest_status_and_keeps_its_text(
    client: FlaskClient, upstream: Upstream
) -> None:
    upstream.answer("Hello", finish_reason=None)
    response = client.post("/llm/chat", json={"prompt": "x"}, headers={"Accept": "application/json"})
    assert response.status_code == 502
    assert response.json["error"]["code"] == "upstream_cut"
    assert (response.json["status"], response.json["text"]) == ("failed", "Hello")
    assert set(response.json["error"]) == {"code", "message", "retryable", "error_id"}


def test_streams_are_started_without_reading_and_read_later(client: FlaskClient, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    started = client.post("/llm/streams", json={"prompt": "x"})
    assert started.status_code == 201
    assert started.json["url"] == started.headers["Location"] == f"/llm/streams/{started.json['id']}"
    assert gate.reached.wait(PATIENCE_S)
    as_json = {"Accept": "application/json"}
    running = eventually(lambda: (a := client.get(started.json["url"], headers=as_json).json)["text"] and a)
    assert (running["status"], running["text"], running["usage"]) == ("running", "Hel", None)
    gate.open()
    assert text_of(read_events(client.get(started.json["url"]).data)) == "Hello"
    assert client.get(started.json["url"], headers=as_json).json["status"] == "completed"


def test_stopping_twice_or_too_late_is_no_error(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    url = client.post("/llm/streams", json={"prompt": "x"}).json["url"]
    client.get(url, buffered=True)
    for _ in range(2):
        assert client.delete(url).status_code == 204
        assert client.post(f"{url}/cancel", data=b"beacon", content_type="text/plain").status_code == 204
    assert client.get(url, headers={"Accept": "application/json"}).json["status"] == "completed"


@pytest.mark.parametrize("path", ["/llm/streams/nonsense", "/llm/streams/nonsense/cancel"])
def test_unknown_stream_is_404(client: FlaskClient, path: str) -> None:
    response = client.post(path) if path.endswith("cancel") else client.get(path)
    assert (response.status_code, response.json["error"]["code"]) == (404, "unknown_stream")


def test_head_and_prefetch_buy_nothing(client: FlaskClient, upstream: Upstream) -> None:
    assert client.head("/llm/chat?prompt=x").status_code == 200
    assert client.get("/llm/chat?prompt=x", headers={"Sec-Purpose": "prefetch;prerender"}).status_code == 403
    assert not upstream.requests


SITES = [
    ({}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.name.behind.a.proxy"}, True),
    ({"Origin": "http://localhost"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Referer": "http://localhost/chat"}, True),
    ({"Referer": "http://evil.example/page"}, False),
    ({"Origin": "http://["}, False),
    ({"Referer": "http://["}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "http://localhost.evil.example"}, False),
    ({"Origin": "https://friend.example"}, True),
    ({"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}, True),
]


@pytest.mark.parametrize(("headers", "allowed"), SITES)
def test_pages_of_other_sites_are_refused(
    make_app: MakeApp, upstream: Upstream, headers: dict[str, str], allowed: bool
) -> None:
    client = make_app(origins=["https://friend.example"]).test_client()
    responses = [
        client.get("/llm/chat?prompt=x", headers=headers),
        client.post("/llm/chat", json={"prompt": "x"}, headers=headers),
        client.post("/llm/streams", json={"prompt": "x"}, headers=headers),
    ]
    assert [response.status_code for response in responses] == ([200, 200, 201] if allowed else [403] * 3)
    friend = "https://friend.example"
    for response in responses:
        expected = friend if headers.get("Origin") == friend else None
        assert response.headers.get("Access-Control-Allow-Origin") == expected
    assert bool(upstream.requests) is allowed
    eventually(lambda: upstream.open == 0)


def test_preflight_of_an_allowed_origin(make_app: MakeApp) -> None:
    client = make_app(origins=["https://friend.example"]).test_client()
    answer = client.options("/llm/chat", headers={"Origin": "https://friend.example"})
    assert "Last-Event-ID" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Headers" not in client.options("/llm/chat", headers={"Origin": "null"}).headers


def test_owner_comes_from_authorize(upstream: Upstream, make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="scripted", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    answers: list[Any] = [None]

    @llm.authorize
    def owner() -> Any:
        return answers[0] if answers[0] != "abort" else abort(401, "please sign in")

    app = make_app(llm, public=False)
    client = app.test_client()
    for nobody in (None, "", "abort"):
        answers[0] = nobody
        response = client.get("/llm/chat?prompt=x")
        assert (response.status_code, response.json["error"]["code"]) == (401, "unauthorized")
    assert response.json["error"]["message"] == "please sign in"
    assert not upstream.requests
    answers[0] = redirect("/login")
    assert client.get("/llm/chat?prompt=x").status_code == 302
    answers[0] = True  # all who are signed in would be one owner
    assert client.get("/llm/chat?prompt=x").status_code == 500
    assert not upstream.requests
    answers[0] = 42
    assert client.get("/llm/chat?prompt=x", buffered=True).status_code == 200
    assert [record.owner for record in app.extensions["records"]] == ["42"]


def test_too_many_streams_of_one_owner(client: FlaskClient, upstream: Upstream, make_app: MakeApp) -> None:
    client = make_app(max_streams_per_owner=1).test_client()
    gate = Gate()
    upstream.answer(gate)
    url = client.post("/llm/streams", json={"prompt": "x"}).json["url"]
    refused = client.post("/llm/chat", json={"prompt": "x"})
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "too_many_streams")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json["error"]["retryable"] is True
    gate.open()
    client.get(url, buffered=True)
    assert client.post("/llm/chat", json={"prompt": "x"}, buffered=True).status_code == 200


def test_static_files_are_served(client: FlaskClient) -> None:
    response = client.get("/llm/static/llm-stream.js")
    assert response.status_code == 200
    assert "javascript" in response.content_type
    response.close()
