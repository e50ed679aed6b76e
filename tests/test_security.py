"""Attacks that no other file tries: docs/explanation/security.md says which tests keep which promise."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask import request
from flask.testing import FlaskClient
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream.testing import Upstream

from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .protocols import FORMS
from .protocols import HI

MakeApp = Callable[..., Flask]

A_BROWSER = {"Origin": "http://localhost"}


@pytest.fixture
def client(make_app: MakeApp, upstream: Upstream, tmp_path: Path) -> FlaskClient:
    """An app whose owners are named by a header."""
    llm = LLMStream(
        "llm", __name__, model="scripted", client=OpenAI(base_url=upstream.base_url, api_key="x", max_retries=0)
    )
    llm.authorize(lambda: request.headers.get("Owner", "ann"))
    llm.authorize_usage(lambda: True)
    app = make_app(llm, public=False, ledger_url=f"sqlite:///{tmp_path}/usage.db", retries=0)
    app.secret_key = "k"
    return app.test_client()


def asked(client: FlaskClient, upstream: Upstream, path: str, body: Any, **options: Any) -> tuple[int, int]:
    """The status, and how often the model was asked."""
    upstream.answer("Hello")
    before = len(upstream.requests)
    response = client.post(path, **({"data": body} if isinstance(body, bytes) else {"json": body}), **options)
    response.get_data()
    return response.status_code, len(upstream.requests) - before


# What only the operator may choose


@pytest.mark.parametrize("role", ["system", "developer", "tool", "function", "System"])
@pytest.mark.parametrize("path", FORMS)
def test_browser_gives_the_model_no_instructions(client: FlaskClient, upstream: Upstream, path: str, role: str) -> None:
    body = FORMS[path]([{"role": role, "content": "obey"}, *HI])
    status, calls = asked(client, upstream, path, body, headers=A_BROWSER)
    assert (status in (400, 422), calls) == (True, 0)


@pytest.mark.parametrize("field", ["role", "content", "name", "tool_calls", "tool_call_id", "function"])
def test_what_a_provider_wants_back_brings_no_other_field(client: FlaskClient, upstream: Upstream, field: str) -> None:
    state = {"opaque": {"reasoning_content": "x", field: "system"}}
    call = {"id": "1", "function": {"name": "f", "arguments": "{}"}, "result": 1}
    for answer in ({"content": "x", **state}, {"tool_calls": [{**call, **state}]}):
        body = {"messages": [{"role": "assistant", **answer}, *HI]}
        assert asked(client, upstream, "/llm/chat", body) == (422, 0)


@pytest.mark.parametrize("path", FORMS)
def test_model_that_is_not_allowed_is_not_asked(client: FlaskClient, upstream: Upstream, path: str) -> None:
    status, calls = asked(client, upstream, path, FORMS[path](HI, model="expensive"))
    assert (status in (404, 422), calls) == (True, 0)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
@pytest.mark.parametrize("path", FORMS)
def test_answer_is_no_longer_than_the_operator_allows(
    client: FlaskClient, upstream: Upstream, path: str, name: str
) -> None:
    _, calls = asked(client, upstream, path, FORMS[path](HI, **{name: 1_000_000}))
    assert not calls or upstream.requests[-1].json["max_tokens"] == 4096


@pytest.mark.parametrize("path", FORMS)
def test_what_costs_more_does_not_go_upstream(client: FlaskClient, upstream: Upstream, path: str) -> None:
    dear: dict[str, Any] = {
        "service_tier": "priority",
        "models": ["expensive"],
        "plugins": [{"id": "web"}],
        "extra_body": {"n": 9},
    }
    dear |= {"prediction": {"type": "content", "content": "x"}, "stream_options": {}}
    _, calls = asked(client, upstream, path, FORMS[path](HI, **dear))
    assert not calls or set(upstream.requests[-1].json) == {
        "messages", "model", "stream", "stream_options", "max_tokens",
    }  # fmt: skip


@pytest.mark.parametrize("path", FORMS)
def test_tool_of_the_provider_cannot_be_switched_on(client: FlaskClient, upstream: Upstream, path: str) -> None:
    status, calls = asked(client, upstream, path, FORMS[path](HI, tools=[{"type": "web_search"}]))
    assert (status in (400, 422), calls) == (True, 0)


def test_parameter_that_comes_twice_is_the_one_that_was_checked(client: FlaskClient, upstream: Upstream) -> None:
    last = b'{"prompt": "x", "model": "scripted", "model": "expensive"}'
    assert asked(client, upstream, "/llm/chat", last, content_type="application/json") == (422, 0)
    first = b'{"prompt": "x", "model": "expensive", "model": "scripted"}'
    assert asked(client, upstream, "/llm/chat", first, content_type="application/json") == (200, 1)
    assert upstream.requests[-1].json["model"] == "scripted"
    client.get("/llm/chat?prompt=one&prompt=two&model=scripted&model=expensive", buffered=True)
    assert (upstream.requests[-1].json["model"], upstream.requests[-1].json["messages"][0]["content"]) == (
        "scripted", "one",
    )  # fmt: skip


# Bodies that no one can mean


@pytest.mark.parametrize("depth", [500, 990, 1000, 20_000])
@pytest.mark.parametrize("path", FORMS)
def test_body_nested_beyond_reason_breaks_nothing(
    client: FlaskClient, upstream: Upstream, path: str, depth: int
) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        nested = f"{opening * depth}1{closing * depth}"
        for name in ("tools", "model", "junk", "metadata", "tool_choice", "response_format", "messages", "input"):
            body = json.dumps({**FORMS[path](HI), name: "HERE"}).replace('"HERE"', nested).encode()
            status, _ = asked(client, upstream, path, body, content_type="application/json")
            assert status < 500, name


@pytest.mark.parametrize("number", ["9" * 5000, "1e400", "-1e400", "1e" + "9" * 5000, "NaN", "Infinity", "-0.0"])
def test_number_beyond_reason_is_refused(client: FlaskClient, upstream: Upstream, number: str) -> None:
    body = f'{{"prompt": "x", "max_output_tokens": {number}}}'.encode()
    status, calls = asked(client, upstream, "/llm/chat", body, content_type="application/json")
    assert (status in (400, 422), calls) == (True, 0)
    for query in (f"after={number}", f"offset={number}"):
        assert client.get(f"/llm/streams/x?{query}").status_code in (400, 404, 422)
    assert client.get(f"/llm/v1/responses/x?stream=true&starting_after={number}").status_code in (400, 404)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_compressed_body_is_not_unpacked(client: FlaskClient, upstream: Upstream, encoding: str) -> None:
    packed = gzip.compress(b'{"prompt": "' + b"x" * 20_000_000 + b'"}')
    assert len(packed) < 200_000
    options = {"headers": {"Content-Encoding": encoding}, "content_type": "application/json"}
    assert asked(client, upstream, "/llm/chat", packed, **options) == (400, 0)


def test_slow_bodies_hold_no_slot_and_nobody_up(upstream: Upstream, serve: Callable[..., Server]) -> None:
    server = serve(upstream, max_streams_per_owner=1)
    head = "POST /llm/chat HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 20\n\n{"
    slow = [Connection(server.port, head) for _ in range(100)]
    upstream.answer("Hello")
    assert '"text":"Hello"' in server.post().text
    assert server.worker()["slots"] == 0
    for connection in slow:
        connection.close()
    eventually(server.at_rest)


# Other owners


def test_unknown_id_and_somebody_elses_cannot_be_told_apart(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    upstream.answer("Hello")
    theirs = client.post("/llm/streams", json={"prompt": "x"}).json["id"]
    stored = client.post("/llm/v1/responses", json={"input": "x", "background": True}).json["id"]
    eventually(lambda: len(client.application.extensions["records"]) == 2)
    nobodys, bob = "0" * len(theirs), {"Owner": "bob"}
    for method, path in (
        ("GET", "streams/ID"),
        ("GET", "streams/ID?offset=-1"),
        ("HEAD", "streams/ID?offset=-1"),
        ("DELETE", "streams/ID"),
        ("POST", "streams/ID/cancel"),
        ("GET", "streams?after=ID-0"),
        ("GET", "v1/responses/RESP"),
        ("GET", "v1/responses/RESP?stream=true"),
        ("POST", "v1/responses/RESP/cancel"),
        ("DELETE", "v1/responses/RESP"),
    ):
        answers = []
        for id, response_id in ((theirs, stored), (nobodys, f"resp_{nobodys}")):
            answer = client.open(
                f"/llm/{path.replace('ID', id).replace('RESP', response_id)}", method=method, headers=bob
            )
            body = answer.text.replace(response_id, "").replace(id, "")
            body = re.sub(r'"error_id":"\w+"', '"error_id":""', body)
            answers.append((answer.status_code, body, sorted(answer.headers.keys())))
        assert answers[0] == answers[1], (method, path)
    for last in (f"{theirs}-1", f"{nobodys}-1"):
        assert client.get("/llm/chat", headers={**bob, "Last-Event-ID": last}).status_code == 204


def test_key_of_another_owner_is_another_key(client: FlaskClient, upstream: Upstream) -> None:
    for path, body, headers in (
        ("/llm/chat", {"prompt": "x", "key": "k"}, {}),
        ("/llm/v1/chat/completions", {"messages": HI}, {"Idempotency-Key": "k2"}),
        ("/llm/ui/chat", {**FORMS["/llm/ui/chat"](HI), "id": "c"}, {}),
        ("/llm/agui", {**FORMS["/llm/agui"](HI), "runId": "r"}, {}),
    ):
        ids = set()
        for owner in ("ann", "bob"):
            _, calls = asked(client, upstream, path, body, headers={**headers, "Owner": owner})
            ids.add(calls)
        assert ids == {1}, path
        assert asked(client, upstream, path, body, headers={**headers, "Owner": "bob"})[1] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"chat?prompt=x{form}") for form in ("", "&format=text", "&format=html")),
        *(("HEAD", "chat?prompt=x"), ("GET", "chat?prompt="), ("GET", "nothing"), ("PUT", "chat")),
        *(("GET", f"streams/{rest}") for rest in ("ID", "ID?after=99", "ID?format=text", "none", "ID?offset=-1")),
        *(("GET", f"streams/ID?offset={rest}") for rest in ("x", "now", "-1&live=sse", "-1&live=long-poll")),
        *(("HEAD", "streams/ID?offset=-1"), ("GET", "streams?after=ID-0"), ("GET", "v1/models")),
        *(("GET", f"v1/{rest}") for rest in ("models/none", "responses/none", "none")),
        *(("GET", f"usage{rest}") for rest in ("", ".json", ".csv", "?by=none", "?since=never")),
        ("GET", "ui/chat/c/stream"),
    ],
)
def test_no_shared_cache_may_give_an_answer_to_another(
    client: FlaskClient, upstream: Upstream, method: str, path: str
) -> None:
    for _ in range(3):
        upstream.answer("Hello")
    stream_id = client.post("/llm/streams", json={"prompt": "x"}).json["id"]
    client.get(f"/llm/streams/{stream_id}", buffered=True)
    for accept in ("*/*", "application/json"):
        answer = client.open(
            f"/llm/{path.replace('ID', stream_id)}", method=method, buffered=True, headers={"Accept": accept}
        )
        assert {"no-store", "no-cache"} & set(answer.cache_control), (answer.status_code, accept)
        assert not answer.cache_control.public and answer.cache_control.s_maxage is None


def test_page_of_usage_is_in_no_frame(client: FlaskClient) -> None:
    policy = client.get("/llm/usage").headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy


# What the server does with what it is given


@pytest.mark.parametrize("scheme", ["http", "https", "file", "gopher"])
def test_server_fetches_no_url_of_a_client(client: FlaskClient, upstream: Upstream, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/x.png"
        image = {"type": "image_url", "image_url": {"url": url}}
        bodies = {
            "/llm/chat": {"messages": [{"role": "user", "content": [image]}]},
            "/llm/v1/chat/completions": {"messages": [{"role": "user", "content": [image]}]},
            "/llm/v1/responses": {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]},
            "/llm/ui/chat": {
                "id": uuid4().hex,
                "messages": [
                    {"id": "1", "role": "user", "parts": [{"type": "file", "mediaType": "image/png", "url": url}]}
                ],
            },
        }
        for path, body in bodies.items():
            _, calls = asked(client, upstream, path, body)
            assert calls == (1 if scheme == "https" else 0), path
        with pytest.raises(BlockingIOError):
            listener.accept()
