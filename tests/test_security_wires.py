"""Words of a model or of a client that look like the protocol, and floods. See docs/explanation/security.md."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import request
from flask.testing import FlaskClient
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import eventually
from .protocols import FORMS
from .protocols import HI
from .test_security import MakeApp
from .test_security import client as client

EVIL_LINES = "x\n\nevent: evil\nid: evil\ndata: evil\n\n\r\revent: evil\r\n\r\n\u2028event: evil\u0085retry: 1\x00\n:x"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *(("GET", f"/llm/chat?prompt=x&format={name}", None) for name in ("native", "text", "html")),
        *(("POST", path, {**form(HI), "stream": True}) for path, form in FORMS.items() if "/v1/" in path),
        *(("POST", path, FORMS[path](HI)) for path in ("/llm/chat", "/llm/ui/chat", "/llm/agui")),
        ("GET", "/llm/streams/ID?offset=-1&live=sse", None),
        ("GET", "/llm/streams?after=ID-0", None),
    ],
)
def test_words_of_a_model_begin_no_event(
    client: FlaskClient, upstream: Upstream, method: str, path: str, body: Any
) -> None:
    call = {"index": 0, "id": EVIL_LINES, "type": "function", "function": {"name": EVIL_LINES, "arguments": EVIL_LINES}}
    delta = {"content": EVIL_LINES, "reasoning_content": EVIL_LINES, "tool_calls": [call]}
    upstream.answer({"choices": [{"index": 0, "delta": delta}]}, EVIL_LINES)
    if "ID" in path:
        path = path.replace("ID", client.post("/llm/streams", json={"prompt": "x"}).json["id"])
    answer = client.open(path, method=method, json=body)
    assert answer.mimetype == "text/event-stream"
    assert b"evil" in answer.data
    for line in re.split(r"\r\n|\r|\n", answer.text):
        assert not line.startswith(("event: evil", "id: evil", "retry: 1\x00", ": evil", "data: evil\x00")), path
        assert "\x00" not in line or not line.startswith("id:")


def test_names_of_a_client_add_no_header(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    names = {"x\r\nset-cookie: a=b": 1, "set-cookie: a": 1, "good_name": 1}
    answer = client.post("/llm/v1/chat/completions", json={"messages": HI, **names})
    assert answer.headers["x-llm-stream-left-out"] == "good_name"
    assert "set-cookie" not in answer.headers


def test_flood_of_one_owner_leaves_room_for_others_and_of_all_is_refused(make_app: MakeApp, upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="scripted", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    llm.authorize(lambda: request.headers["Owner"])
    client = make_app(llm, public=False, max_streams=3, max_streams_per_owner=2).test_client()
    gate = Gate()
    for _ in range(3):
        upstream.answer(gate)
    statuses = [
        client.post("/llm/streams", json={"prompt": "x"}, headers={"Owner": owner}).status_code
        for owner in ("ann", "ann", "ann", "ben", "cem")
    ]
    gate.open()
    assert statuses == [201, 201, 429, 201, 503]
    eventually(lambda: not upstream.open)
