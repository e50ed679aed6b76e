"""AG-UI's own client and an agent: tools that run on the server, what they show, approvals, and the next run."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
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
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.wire.agui import AGUIWire
from llm_stream.wire.turn import messages_of

from ..calling import call
from ..calling import calling
from ..conftest import GUNICORN
from ..conftest import Server
from ..node import Node
from ..sequences import STREAM_ID
from ..sequences import batches
from ..sequences import splits
from ..sequences import written
from ..sequences_of_runs import runs
from .agents import Agent
from .agents import Open
from .agents import ag_ui_node
from .agents import run
from .agents import said
from .agents import types_of
from .scripts import tool_call

COMMAND = [*GUNICORN[:-1], "tests.clients.agent_app:app"]
SETTINGS = {"command": COMMAND, "FLASK_SECRET_KEY": "s", "retries": 0, "disconnect_grace_s": 0.5}
ASKED = {"id": "m1", "role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    node = ag_ui_node()
    yield node
    node.close()


@pytest.fixture
def agent(node: Node, server: Server) -> Open:
    return lambda **options: Agent(node, server, **options)


def roles_of(shown: dict[str, Any]) -> list[str]:
    return [message["role"] for message in shown["messages"]]


def of_type(shown: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in shown["events"] if event["type"] == kind]


def asked_for(upstream: Upstream, number: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = upstream.requests[number].json["messages"]
    return messages


# Tools and what they show


def test_results_of_tools_are_messages_and_each_call_of_the_model_is_a_step(agent: Open, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Köln"), text="Let me look. ")
    upstream.answer("It is grey.")
    shown = agent().ask()
    assert (shown["error"], shown["outcome"], shown["pending"]) == (None, "success", [])
    assert not shown["warnings"]
    assert types_of(shown) == [
        "RUN_STARTED",
        "STEP_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "STEP_FINISHED",
        "STEP_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]
    assert [event["stepName"] for event in shown["events"] if "stepName" in event] == ["step-1"] * 2 + ["step-2"] * 2
    assert roles_of(shown) == ["user", "assistant", "tool", "assistant"]
    assert shown["messages"][2]["content"] == '{"city":"Köln","sky":"grey"}'
    ids = [message["id"] for message in shown["messages"]]
    assert len(set(ids)) == len(ids)


def test_next_run_has_the_whole_conversation_in_order(agent: Open, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Köln"), call("look_up", topic="rain"), text="Let me look. ")
    calling(upstream, call("weather", id="call_again", city="Bonn"))
    upstream.answer("Grey in both.")
    asking = agent()
    asking.ask()
    upstream.answer("Good bye.")
    asking.ask("and now?")
    assert asked_for(upstream, 3) == [
        *asked_for(upstream, 2),
        {"role": "assistant", "content": "Grey in both."},
        {"role": "user", "content": "and now?"},
    ]


def test_error_of_a_tool_is_its_text(agent: Open, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Atlantis"))
    upstream.answer("I am sorry.")
    asking = agent()
    (result,) = of_type(asking.ask(), "TOOL_CALL_RESULT")
    assert result["content"] == "There is no such city."
    upstream.answer("Good bye.")
    asking.ask("and now?")
    assert asked_for(upstream, 2)[2]["content"] == "There is no such city."


def test_calls_of_the_client_are_left_to_it(agent: Open, upstream: Upstream) -> None:
    parameters = {"type": "object", "properties": {}}
    asking = agent(tools=[{"name": "locate", "description": "Where I am.", "parameters": parameters}])
    calling(upstream, call("weather", city="Köln"), call("locate"))
    shown = asking.ask()
    assert (shown["outcome"], shown["pending"]) == ("success", ["call_locate"])
    upstream.answer("You are in Köln.")
    shown = asking.ask("in Köln", toolCallId="call_locate")
    assert [message["content"] for message in asked_for(upstream, 1)[2:]] == [
        '{"city":"Köln","sky":"grey"}',
        "in Köln",
    ]


def test_sources_files_data_and_state_are_shown(agent: Open, upstream: Upstream) -> None:
    calling(upstream, call("look_up", topic="rain"))
    upstream.answer("It rains.")
    shown = agent(state={"found": 7}).ask()
    assert (shown["error"], shown["warnings"]) == (None, [])
    customs = [(event["name"], event["value"], event.get("metadata")) for event in of_type(shown, "CUSTOM")]
    assert customs == [
        ("source", {"url": "https://example.org/rain", "title": "Rain"}, None),
        ("file", {"url": "data:image/png;base64,AA==", "media_type": "image/png", "name": "map.png"}, None),
        ("state_delta", {"found": "no patch"}, None),
        ("progress", None, {"id": "p1", "transient": True}),
    ]
    assert shown["state"] == {"found": 2}


def test_failure_of_a_later_step_ends_the_run(agent: Open, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Köln"))
    upstream.answer(tool_call("{", id="call_2", name="weather"), finish_reason="error")
    asking = agent()
    shown = asking.ask()
    assert (types_of(shown)[-1], shown["error"]["code"]) == ("RUN_ERROR", "upstream_failed")
    upstream.answer("Here I am again.")
    assert asking.ask("again")["text"] == "Here I am again."
    assert [message["role"] for message in asked_for(upstream, 2)] == ["user", "assistant", "tool", "user"]


def test_stopped_run_of_an_agent_is_cancelled(agent: Open, upstream: Upstream, server: Server) -> None:
    calling(upstream, call("weather", city="Köln"))
    upstream.answer("It is ", Stall())
    asking = agent()
    asking("start", text="hi")
    asking("until", text="It is ")
    assert server.post(f"/llm/agui/{asking.id}/stop").status_code == 204
    shown = asking.ended()
    assert (shown["error"], shown["outcome"]) == (None, "cancelled")
    assert types_of(shown)[-2:] == ["STEP_FINISHED", "RUN_FINISHED"]


# Approvals


def test_call_that_waits_for_approval_is_an_interrupt(agent: Open, upstream: Upstream) -> None:
    calling(upstream, call("delete", note="a"))
    shown = agent().ask()
    assert (shown["error"], shown["outcome"], shown["warnings"]) == (None, "interrupt", [])
    (interrupt,) = shown["interrupts"]
    assert (interrupt["reason"], interrupt["toolCallId"]) == ("tool_call", "call_delete")
    assert "delete" in interrupt["message"]
    assert interrupt["responseSchema"]["required"] == ["approved"]
    assert types_of(shown)[-3:] == ["TOOL_CALL_END", "STEP_FINISHED", "RUN_FINISHED"]


def interrupted(agent: Open, upstream: Upstream) -> tuple[Agent, str]:
    """An agent whose call waits, and the id of the interrupt."""
    calling(upstream, call("weather", city="Köln"), call("delete", note="a"), text="May I? ")
    asking = agent()
    (interrupt,) = asking.ask()["interrupts"]
    return asking, interrupt["id"]


def test_approved_call_runs_in_the_next_run(agent: Open, upstream: Upstream) -> None:
    asking, token = interrupted(agent, upstream)
    upstream.answer("Done.")
    shown = asking.ask("", resume=[{"interruptId": token, "status": "resolved", "payload": {"approved": True}}])
    assert (shown["error"], shown["outcome"], shown["text"]) == (None, "success", "Done.")
    assert types_of(shown)[:3] == ["RUN_STARTED", "TOOL_CALL_RESULT", "STEP_STARTED"]
    assert roles_of(shown) == ["user", "assistant", "tool", "tool", "assistant"]
    assert [message["content"] for message in asked_for(upstream, 1)[2:]] == [
        '{"city":"Köln","sky":"grey"}',
        "a is gone",
    ]
    upstream.answer("Good bye.")
    asking.ask("and now?")
    assert asked_for(upstream, 2)[:-2] == asked_for(upstream, 1)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": "resolved", "payload": {"approved": False, "reason": "Keep it."}}, "Keep it."),
        ({"status": "resolved", "payload": {"approved": False}}, "The user did not allow this call."),
        ({"status": "cancelled"}, "The user did not allow this call."),
    ],
)
def test_denied_call_does_not_run(agent: Open, upstream: Upstream, answer: dict[str, Any], told: str) -> None:
    asking, token = interrupted(agent, upstream)
    upstream.answer("As you like.")
    shown = asking.ask("", resume=[{"interruptId": token, **answer}])
    assert [event["content"] for event in of_type(shown, "TOOL_CALL_RESULT")] == [told]
    assert asked_for(upstream, 1)[-1]["content"] == told


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"payload": True}, "resume[0].payload"),
        ({"payload": {"approved": True, "editedArgs": {"note": "b"}}}, "resume[0].payload"),
        ({"status": "later"}, "resume[0].status"),
        ({"interruptId": "forged"}, "approvals"),
    ],
)
def test_answer_that_was_not_asked_for_is_refused(
    agent: Open, upstream: Upstream, server: Server, answer: dict[str, Any], named: str
) -> None:
    asking, token = interrupted(agent, upstream)
    entry = {"interruptId": token, "status": "resolved", "payload": {"approved": True}} | answer
    response = run(server, *asking.ended()["messages"], threadId=asking.id, runId="2", resume=[entry])
    assert response.status_code == 422
    assert named in response.json()["error"]["message"]


# What the provider wants back


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


def replayed(node: Node, pieces: Sequence[bytes], before: Sequence[Any] = (ASKED,)) -> dict[str, Any]:
    """What the client makes of these bytes, with the messages that it had before."""
    encoded = [b64encode(piece).decode() for piece in pieces]
    shown: dict[str, Any] = node("replay", pieces=encoded, messages=before)
    return shown


def run_of(events: Sequence[Event]) -> bytes:
    return written(AGUIWire("thread", "run", [ASKED]), [events])


def test_provider_gets_back_what_it_wants(node: Node, agent: Open, upstream: Upstream) -> None:
    first = replayed(node, [run_of(answer_with_opaque())])
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


def test_reasoning_of_an_attempt_that_failed_is_not_handed_back(node: Node, agent: Open, upstream: Upstream) -> None:
    start, *events = answer_with_opaque()
    failed = [Reasoning("Wrong."), ToolCall(0, "{", "call_x", "weather", server=True), Reset("upstream_cut")]
    first = replayed(node, [run_of([start, *failed, *events])])
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
def test_any_run_is_read_back_as_it_was(node: Node, data: st.DataObject, events: list[Event]) -> None:
    """Also its open calls, which an answer to an interrupt keeps."""
    answer = messages_of(events)
    approved = [str(id) for each in answer if (id := each.get("tool_call_id")) and id.startswith("earlier")]
    calls = [{"id": id, "type": "function", "function": {"name": "delete", "arguments": "{}"}} for id in approved]
    before: list[dict[str, Any]] = [ASKED, *([{"id": "m2", "role": "assistant", "toolCalls": calls}] if calls else [])]
    body = written(AGUIWire("thread", "run", before), data.draw(batches(events)))
    shown = replayed(node, data.draw(splits(body)), before)
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
