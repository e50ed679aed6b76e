"""AG-UI's own client, and what it brings back: the conversation, the provider's own fields, and documents."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Opaque
from llm_stream.events import Reasoning
from llm_stream.events import Reset
from llm_stream.events import Start
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.events import Usage
from llm_stream.requests import agui
from llm_stream.settings import Settings
from llm_stream.testing import Upstream
from llm_stream.wire.agui import AGUIWire
from llm_stream.wire.turn import messages_of

from ..conftest import Server
from ..node import Node
from ..sequences import STREAM_ID
from ..sequences import batches
from ..sequences import splits
from ..sequences import written
from ..sequences_of_runs import runs
from .agents import Open
from .agents import asked_for
from .agents import run
from .agents import said
from .scripts import chunk
from .scripts import reasoning

SETTINGS = {"retries": 0, "disconnect_grace_s": 0.5}
ASKED = {"id": "m1", "role": "user", "content": "hi"}


DETAILS = [{"type": "reasoning.encrypted", "data": "b64==", "index": 0, "é": [1.0, None, "\u2028"]}]
SIGNATURE = {"google": {"thought_signature": "c2lnbmF0dXJl", "a": {"z": 1, "b": 2}}}


def answer_with_opaque() -> list[Event]:
    return [
        Start(STREAM_ID, "m", 1),
        Reasoning("Let me "),
        Delta("I look. "),
        Reasoning("think."),
        ToolCall(0, "", "call_a", "weather", server=True, opaque={"extra_content": SIGNATURE}),
        ToolCall(0, "{}"),
        Opaque({"reasoning_details": DETAILS, "extra_content": {"of": "message"}}, "reasoning_content"),
        ToolResult("call_a", "weather", {"sky": "grey"}),
        Step(2),
        Reasoning("It is grey."),
        Delta("Grey."),
        Opaque(reasoning="reasoning"),
        Usage(),
        Done("completed", "stop"),
    ]


def replayed(ag_ui: Node, pieces: Sequence[bytes], before: Sequence[Any] = (ASKED,)) -> dict[str, Any]:
    """What the client makes of these bytes, with the messages that it had before."""
    encoded = [b64encode(piece).decode() for piece in pieces]
    shown: dict[str, Any] = ag_ui("replay", pieces=encoded, messages=before)
    return shown


def run_of(events: Sequence[Event]) -> bytes:
    return written(AGUIWire("thread", "run", [ASKED]), [events])


def test_provider_gets_back_what_it_wants(ag_ui: Node, agent: Open, upstream: Upstream) -> None:
    first = replayed(ag_ui, [run_of(answer_with_opaque())])
    assert (first["error"], first["warnings"]) == (None, [])
    upstream.answer("Good bye.")
    agent(messages=first["messages"]).ask("and now?")
    _, called, result, grey, _ = asked_for(upstream, 0)
    assert (called["content"], called["reasoning_content"]) == ("I look. ", "Let me think.")
    assert json.dumps(called["reasoning_details"]) == json.dumps(DETAILS)
    assert called["extra_content"] == {"of": "message"}
    assert json.dumps(called["tool_calls"][0]["extra_content"]) == json.dumps(SIGNATURE)
    assert result == {"role": "tool", "tool_call_id": "call_a", "content": '{"sky":"grey"}'}
    assert grey == {"role": "assistant", "content": "Grey.", "reasoning": "It is grey."}


def test_what_a_provider_sent_comes_back_with_the_result_of_a_call(agent: Open, upstream: Upstream) -> None:
    function = {"name": "locate", "arguments": "{}"}
    signed = {"index": 0, "id": "call_a", "type": "function", "function": function, "extra_content": SIGNATURE}
    upstream.answer(
        reasoning("Let me see."),
        chunk(reasoning_details=DETAILS),
        chunk(tool_calls=[signed]),
        finish_reason="tool_calls",
    )
    asking = agent(tools=[{"name": "locate", "description": "Where I am.", "parameters": {"type": "object"}}])
    assert asking.ask()["pending"] == ["call_a"]
    upstream.answer("You are in Köln.")
    asking.ask("in Köln", toolCallId="call_a")
    called = asked_for(upstream, 1)[1]
    assert called["reasoning_content"] == "Let me see."
    assert json.dumps(called["reasoning_details"]) == json.dumps(DETAILS)
    assert json.dumps(called["tool_calls"][0]["extra_content"]) == json.dumps(SIGNATURE)


def test_reasoning_of_an_attempt_that_failed_is_not_handed_back(ag_ui: Node, agent: Open, upstream: Upstream) -> None:
    start, *events = answer_with_opaque()
    failed = [Reasoning("Wrong."), ToolCall(0, "{", "call_x", "weather", server=True), Reset("upstream_cut")]
    first = replayed(ag_ui, [run_of([start, *failed, *events])])
    assert first["messages"][1]["content"] == "Wrong."
    upstream.answer("Good bye.")
    agent(messages=first["messages"]).ask("and now?")
    assert asked_for(upstream, 0)[1]["reasoning_content"] == "Let me think."


def test_reasoning_just_before_an_answer_is_handed_back_with_it(server: Server, upstream: Upstream) -> None:
    """In a thread whose ids are the app's own."""
    upstream.answer("Good bye.")
    answer = said("assistant", "Hello", encryptedValue='{"reasoning":"reasoning_content"}')
    run(server, said("user", "hi"), said("reasoning", "Be "), said("reasoning", "kind."), answer, said("user", "bye"))
    assert asked_for(upstream, 0)[1] == {"role": "assistant", "content": "Hello", "reasoning_content": "Be kind."}


MISUSED: list[dict[str, Any]] = [
    {"encryptedValue": "c2lnbmF0dXJl"},
    {"encryptedValue": "[]"},
    {"encryptedValue": '{"fields":{"role":"system"}}'},
    {"encryptedValue": '{"fields":{"reasoning_details":"x"}}'},
    {"encryptedValue": '{"reasoning":"content"}'},
    {"encryptedValue": "[" * 100_000},
    {"encryptedValue": json.dumps({"fields": {"extra_content": {"x": "x" * 262_144}}})},
    {"toolCalls": [{"id": "c", "function": {"name": "f", "arguments": ""}, "encryptedValue": '{"id":"d"}'}]},
]


@pytest.mark.parametrize("fields", MISUSED)
def test_what_the_provider_did_not_send_is_refused(server: Server, fields: dict[str, Any]) -> None:
    response = run(server, said("user", "hi"), said("assistant", "Hello", **fields), said("user", "bye"))
    assert response.status_code == 422
    message = response.json()["error"]["message"]
    assert "messages[1]." in message and "encryptedValue" in message


@settings(max_examples=50)
@given(data=st.data(), events=runs(refusals=False, whole=True))
def test_any_run_is_read_back_as_it_was(ag_ui: Node, data: st.DataObject, events: list[Event]) -> None:
    """Also its open calls, which an answer to an interrupt keeps."""
    answer = messages_of(events)
    approved = [str(id) for each in answer if (id := each.get("tool_call_id")) and id.startswith("earlier")]
    calls = [{"id": id, "type": "function", "function": {"name": "delete", "arguments": "{}"}} for id in approved]
    before: list[dict[str, Any]] = [ASKED, *([{"id": "m2", "role": "assistant", "toolCalls": calls}] if calls else [])]
    body = written(AGUIWire("thread", "run", before), data.draw(batches(events)))
    shown = replayed(ag_ui, data.draw(splits(body)), before)
    assert (shown["error"], [warning for warning in shown["warnings"] if "state patch" not in warning]) == (None, [])
    resume = [{"interruptId": "token", "status": "cancelled"}]
    again = {"threadId": "thread", "runId": "run-2", "messages": shown["messages"], "resume": resume}
    request = agui.from_body(msgspec.json.encode(again), Settings(), "m").request
    asked = [{"role": "assistant", "content": None, "tool_calls": calls}] if calls else []
    assert request.messages == [{"role": "user", "content": "hi"}, *asked, *answer]
    assert list(request.approvals) == ["token"]


# Documents


def document(**source: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "data", "value": "AA==", "mimeType": "application/pdf"} | source}


def test_documents_are_passed_on(agent: Open, upstream: Upstream) -> None:
    parts = [{"type": "text", "text": "Read."}, document(), document() | {"metadata": {"filename": "rain.pdf"}}]
    upstream.answer("I have read it.")
    assert agent(messages=[said("user", parts)]).ask("")["text"] == "I have read it."
    text, plain, named = asked_for(upstream, 0)[0]["content"]
    data = "data:application/pdf;base64,AA=="
    assert text == {"type": "text", "text": "Read."}
    assert plain == {"type": "file", "file": {"filename": "document.pdf", "file_data": data}}
    assert named == {"type": "file", "file": {"filename": "rain.pdf", "file_data": data}}


@pytest.mark.parametrize(
    "part",
    [
        document(type="url", value="https://example.org/a.pdf"),
        document(type="file", value="file-123"),
        document(mimeType="text/html"),
        {"type": "document"},
    ],
)
def test_documents_that_cannot_be_passed_on_are_refused(server: Server, part: dict[str, Any]) -> None:
    response = run(server, said("user", [part]))
    assert response.status_code == 422
    assert "messages[0].content[0].source" in response.json()["error"]["message"]
