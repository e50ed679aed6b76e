"""The messages that a client brings to the next turn: what of them reaches the model, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given

from llm_stream import guard
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.requests.native import from_body
from llm_stream.settings import Settings
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.wire.turn import answer_of

from .calling import call
from .calling import calling
from .conftest import of_kind
from .sequences import well_formed_sequences
from .test_tools import llm_of
from .test_tools import messages_of

MakeApp = Callable[..., Flask]

HI = {"role": "user", "content": "hi"}
CALL: dict[str, Any] = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PDF = {"type": "file", "file": {"filename": "x.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
LARGE = "x" * 262_144


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app(max_request_bytes=2**20).test_client()


def assistant(*calls: dict[str, Any], content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)} | more


def sent(client: FlaskClient, upstream: Upstream, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages that the model is given."""
    upstream.answer("Fine.")
    response = client.post("/llm/chat", json={"messages": messages})
    assert response.status_code == 200, response.text
    return messages_of(upstream, -1)


def test_result_of_a_call_becomes_a_message_of_its_own(client: FlaskClient, upstream: Upstream) -> None:
    calls = [CALL | {"result": {"ü": [1]}}, CALL | {"id": "b", "result": None}, CALL | {"id": "c", "error": "No."}]
    assert sent(client, upstream, HI, assistant(*calls), HI) == [
        HI,
        assistant(CALL, CALL | {"id": "b"}, CALL | {"id": "c"}),
        {"role": "tool", "tool_call_id": "a", "content": '{"ü":[1]}'},
        {"role": "tool", "tool_call_id": "b", "content": "null"},
        {"role": "tool", "tool_call_id": "c", "content": "No."},
        HI,
    ]


def test_call_without_a_result_is_left_out(client: FlaskClient, upstream: Upstream) -> None:
    told = sent(client, upstream, HI, assistant(CALL, CALL | {"id": "b", "result": 1}), assistant(CALL), HI)
    assert told == [HI, assistant(CALL | {"id": "b"}), {"role": "tool", "tool_call_id": "b", "content": "1"}, HI]
    assert sent(client, upstream, HI, assistant(CALL, content="Hm"), HI)[1] == {"role": "assistant", "content": "Hm"}


def test_document_is_passed_on(client: FlaskClient, upstream: Upstream) -> None:
    question = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, PDF]}
    assert sent(client, upstream, question) == [question]


REFUSED: list[tuple[dict[str, Any], str]] = [
    (assistant(CALL | {"index": 0}), "messages[0].tool_calls[0]"),
    (assistant({"id": "a"}), "messages[0].tool_calls[0]"),
    (assistant(CALL | {"id": ""}), "messages[0].tool_calls[0].id"),
    (assistant(CALL | {"result": 1, "error": "x"}), "messages[0].tool_calls[0]"),
    (assistant(CALL | {"error": 1}), "messages[0].tool_calls[0].error"),
    (assistant(CALL | {"opaque": {"reasoning": "x"}}), "messages[0].tool_calls[0].opaque"),
    (assistant(CALL), "messages"),
    (assistant(CALL | {"result": 1}, opaque={"content": "x"}), "messages[0].opaque"),
    (assistant(CALL | {"result": 1}, opaque={"reasoning_details": {}}), "messages[0].opaque.reasoning_details"),
    (assistant(CALL | {"result": 1}, opaque={"reasoning": LARGE}), "messages[0].opaque"),
    (assistant(CALL | {"result": 1, "opaque": {"extra_content": {"a": LARGE}}}), "messages[0].opaque"),
    (HI | {"opaque": {"reasoning": "x"}}, "messages[0].opaque"),
    (HI | {"refusal": "x"}, "messages[0].refusal"),
    ({"role": "tool", "tool_call_id": "a", "content": "x"}, "messages[0]"),
    ({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}, "messages[0].content[0].file"),
    (
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "https://a.example/x.pdf"}}]},
        "messages[0].content[0].file.file_data",
    ),
    (
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/html;base64,AAAA"}}]},
        "messages[0].content[0].file.file_data",
    ),
]


@pytest.mark.parametrize(("message", "field"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_passed_on_is_refused_with_the_field_named(
    client: FlaskClient, upstream: Upstream, message: dict[str, Any], field: str
) -> None:
    response = client.post("/llm/chat", json={"messages": [message]})
    assert response.status_code == 422
    assert f"'{field}" in response.json["error"]["message"]
    assert not upstream.requests


@pytest.mark.parametrize("approvals", [[], {"t": 1}, {"t": {"reason": "x"}}, {"t": {"approved": "yes"}}])
def test_decisions_must_have_their_form(client: FlaskClient, upstream: Upstream, approvals: Any) -> None:
    native = client.post("/llm/chat", json={"messages": [HI], "approvals": approvals})
    assert (native.status_code, "approvals" in native.json["error"]["message"]) == (422, True)
    openai = client.post("/llm/v1/chat/completions", json={"messages": [HI], "approvals": approvals})
    assert (openai.status_code, openai.json["error"]["param"].split("[")[0].split(".")[0]) == (400, "approvals")
    assert not upstream.requests


@pytest.mark.parametrize(
    "state",
    [
        {"reasoning_content": LARGE},
        {"reasoning_details": [{"data": LARGE}]},
        {"extra_content": {"a": LARGE}},
        {"tool_calls": [CALL | {"extra_content": {"a": LARGE}}]},
    ],
    ids=list,
)
def test_state_of_a_message_is_bounded_on_openais_route(
    client: FlaskClient, upstream: Upstream, state: dict[str, Any]
) -> None:
    messages = [HI, {"role": "assistant", "content": "x"} | state, HI]
    response = client.post("/llm/v1/chat/completions", json={"messages": messages})
    assert (response.status_code, response.json["error"]["param"]) == (400, "messages[1]")
    assert not upstream.requests


# Approvals


@pytest.fixture
def deleting(make_app: MakeApp, upstream: Upstream) -> FlaskClient:
    """An app with a tool that needs approval, which the model calls."""
    app = make_app()
    app.secret_key = "s"

    @llm_of(app).tool(needs_approval=True)
    def delete(note: str) -> str:
        return f"{note} is gone"

    calling(upstream, call("delete", note="a"))
    upstream.answer("Done.")
    return app.test_client()


@pytest.mark.parametrize("more", [[], [{"role": "user", "content": "go on"}]], ids=["alone", "and a question"])
def test_call_is_approved_over_the_native_route(
    deleting: FlaskClient, upstream: Upstream, more: list[dict[str, Any]]
) -> None:
    answer: Any = deleting.post("/llm/chat", json={"messages": [HI]}, headers={"Accept": "application/json"}).json
    (waiting,) = answer["tool_calls"]
    body = {"messages": [HI, *answer["messages"], *more], "approvals": {waiting["approval"]: True}}
    events = read_events(deleting.post("/llm/chat", json=body).data)
    assert of_kind(events, "tool_result")["result"] == "a is gone"
    assert [message["role"] for message in messages_of(upstream, 1)] == ["user", "assistant", "tool"] + ["user"] * len(
        more
    )


@pytest.mark.parametrize("streamed", [True, False])
def test_call_is_approved_over_openais_route(deleting: FlaskClient, upstream: Upstream, streamed: bool) -> None:
    url = "/llm/v1/chat/completions"
    extras, reason = extras_of(deleting.post(url, json={"messages": [HI], "stream": streamed}).text, streamed)
    assert reason == "stop"  # there is nothing for the client to run
    calls, token = [each["tool_call"] for each in extras if "tool_call" in each], ""
    for each in extras:
        token = each.get("approval", {}).get("id", token)
    function = {"name": calls[0]["name"], "arguments": "".join(each["arguments"] for each in calls)}
    open_call = {"id": calls[0]["id"], "type": "function", "function": function}
    body = {"messages": [HI, assistant(open_call)], "approvals": {token: True}, "stream": streamed}
    extras, reason = extras_of(deleting.post(url, json=body).text, streamed)
    assert [each["tool_result"]["result"] for each in extras if "tool_result" in each] == ["a is gone"]
    assert messages_of(upstream, 1)[-1] == {"role": "tool", "tool_call_id": open_call["id"], "content": "a is gone"}


def extras_of(text: str, streamed: bool) -> tuple[list[dict[str, Any]], str]:
    """What OpenAI's form has in `llm_stream`, and its finish_reason."""
    if not streamed:
        choice = json.loads(text)["choices"][0]
        return choice["message"].get("llm_stream", []), choice["finish_reason"]
    payloads = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: {")]
    choices = [choice for payload in payloads for choice in json.loads(payload)["choices"]]
    return [each for choice in choices for each in choice["delta"].get("llm_stream", [])], choices[-1]["finish_reason"]


# There and back


@given(well_formed_sequences(agents=True))
def test_messages_of_any_answer_are_taken_on_the_next_turn(events: list[Event]) -> None:
    messages = msgspec.to_builtins(answer_of(events)).get("messages", [])
    for message in messages:
        for made in message.get("tool_calls", ()):
            if not ("result" in made or "error" in made):
                made["result"] = None  # the reader has run it
    body = msgspec.json.encode({"messages": [HI, *messages, HI]})
    request = from_body(body, Settings(), "m")
    calls = [made["id"] for message in messages for made in message.get("tool_calls", ())]
    assert [each["tool_call_id"] for each in request.messages if each["role"] == "tool"] == calls


@given(well_formed_sequences(resets=False, agents=True))
def test_generator_may_yield_whatever_a_stream_has(events: list[Event]) -> None:
    """Each kind passes as it is; an answer's own figures and end are the stream's."""
    content = [event for event in events[1:-2] if not isinstance(event, Failure)]
    assert list(guard(content)) == [*content, Done("completed")]
