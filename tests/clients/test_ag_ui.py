"""AG-UI's own client, `HttpAgent`, with its verifier of every event."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from llm_stream.events import Delta
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import ToolCall
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.wire.agui import AGUIWire

from ..conftest import PATIENCE_S
from ..conftest import SOON_S
from ..conftest import Server
from ..node import Node
from ..sequences import batches
from ..sequences import splits
from ..sequences import well_formed_sequences
from ..sequences import written
from .agents import Open
from .agents import run
from .agents import said
from .agents import types_of
from .scripts import PRICES
from .scripts import reasoning
from .scripts import tool_call

SETTINGS = {"prices": PRICES, "retries": 0, "retry_after_content": True, "disconnect_grace_s": 0.5}
AWKWARD = [" leading", "two\nlines\r\n\r", "\n\n", "\u2028", "🧠é👩‍👩‍👧", "data: [DONE]\n\n", ": ping", "\ufeff", '"\\']


def test_text_arrives_as_the_model_wrote_it(agent: Open, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD, segment=3)
    shown = agent().ask("What is it?", runId="run-1")
    assert (shown["error"], shown["outcome"]) == (None, "success")
    assert (shown["messages"][-1]["role"], shown["messages"][-1]["content"]) == ("assistant", "".join(AWKWARD))
    assert types_of(shown) == [
        "RUN_STARTED",
        "STEP_STARTED",
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * len(AWKWARD),
        "TEXT_MESSAGE_END",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]
    assert {shown["events"][0]["runId"], shown["events"][-1]["runId"]} == {"run-1"}
    assert upstream.requests[0].json["messages"] == [{"role": "user", "content": "What is it?"}]


def test_tools_are_called_and_their_output_is_answered(agent: Open, upstream: Upstream) -> None:
    upstream.answer(
        "Let me look. ",
        tool_call('{"city": ', id="call_1", name="weather"),
        tool_call("", index=1, id="call_2", name="now"),
        tool_call('"Köln"}'),
        finish_reason="tool_calls",
    )
    upstream.answer("It rains.")
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    asking = agent(tools=[{"name": "weather", "description": "The weather.", "parameters": parameters}])
    shown = asking.ask()
    (said,) = [message for message in shown["messages"] if message["role"] == "assistant"]
    assert said["content"] == "Let me look. "
    assert [(call["id"], call["function"]) for call in said["toolCalls"]] == [
        ("call_1", {"name": "weather", "arguments": '{"city": "Köln"}'}),
        ("call_2", {"name": "now", "arguments": ""}),
    ]
    assert asking.ask("grey", toolCallId="call_1")["text"] == "It rains."
    first, second = upstream.requests
    function = {"name": "weather", "description": "The weather.", "parameters": parameters}
    assert first.json["tools"] == [{"type": "function", "function": function}]
    calls = second.json["messages"][1].pop("tool_calls")
    assert [(call["id"], call["type"], call["function"]) for call in calls] == [
        ("call_1", "function", {"name": "weather", "arguments": '{"city": "Köln"}'}),
    ]
    assert second.json["messages"][1:] == [
        {"role": "assistant", "content": "Let me look. "},
        {"role": "tool", "tool_call_id": "call_1", "content": "grey"},
    ]


def test_reasoning_is_a_message_of_its_own(agent: Open, upstream: Upstream) -> None:
    upstream.answer(reasoning("Let me "), reasoning("see."), "Hello")
    upstream.answer("Again")
    asking = agent()
    shown = asking.ask()
    assert [(message["role"], message["content"]) for message in shown["messages"][1:]] == [
        ("reasoning", "Let me see."),
        ("assistant", "Hello"),
    ]
    assert types_of(shown)[1:8] == [
        "STEP_STARTED",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
    ]
    asking.ask()
    assert [message["role"] for message in upstream.requests[1].json["messages"]] == ["user", "assistant", "user"]


def test_answer_has_its_thread_and_its_run_as_metadata(agent: Open, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello")
    asking = agent()
    shown = asking.ask(runId="run-1")
    record = server.record(shown["messages"][-1]["id"])
    assert record["metadata"] == str({"thread": asking.id, "run": "run-1"})


def test_usage_comes_with_the_end_of_the_run(agent: Open, upstream: Upstream) -> None:
    upstream.answer("Hello", usage={"prompt_tokens": 1000, "completion_tokens": 200})
    finished = agent().ask()["events"][-1]
    figures = {"inputTokens": 1000, "outputTokens": 200, "totalTokens": 1200}
    assert finished["usage"] == [{"model": "openai/gpt-4o-mini", **figures}]
    assert finished["metadata"] == {"status": "completed", "source": "provider", "cost": "0.0256", "currency": "INR"}


def test_usage_comes_with_an_error(agent: Open, upstream: Upstream) -> None:
    upstream.answer("Hello there", Cut())
    upstream.answer("Hello there", Cut())
    error = agent().ask()["error"]
    assert error["usage"][0]["outputTokens"] > 0
    assert error["metadata"]["source"] == "estimated"


def test_error_ends_the_run(agent: Open, upstream: Upstream) -> None:
    upstream.answer(reasoning("hm"), tool_call("{", id="call_1", name="weather"), finish_reason="error")
    upstream.answer(reasoning("hm"), tool_call("{", id="call_1", name="weather"), finish_reason="error")
    shown = agent().ask()
    assert types_of(shown)[-1] == "RUN_ERROR"
    error = shown["error"]
    assert (error["code"], error["message"]) == ("upstream_failed", "The model's provider failed. Please try again.")


def test_error_before_the_run_is_a_status(agent: Open, upstream: Upstream) -> None:
    upstream.answer(status=429)
    error = agent().ask()["error"]
    assert (error["status"], error["payload"]["error"]["code"]) == (429, "upstream_throttled")


def test_error_of_an_attempt_takes_its_text_back(agent: Open, upstream: Upstream) -> None:
    upstream.answer(reasoning("hm"), "Wrong ", tool_call("{", id="call_1", name="weather"), Cut())
    upstream.answer("Right")
    asking = agent()
    shown = asking.ask("Is it?")
    assert [(message["role"], message["content"]) for message in shown["messages"]] == [
        ("user", "Is it?"),
        ("reasoning", "hm"),  # its client keeps what was thought
        ("assistant", "Right"),
    ]
    assert shown["error"] is None


def test_stop_is_felt_upstream_at_once(agent: Open, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    asking = agent()
    asking("start", text="hi")
    asking("until", text="Hello")
    assert httpx2.post(f"{asking.url}/{asking.id}/stop", timeout=PATIENCE_S).status_code == 204
    assert upstream.requests[0].left.wait(SOON_S)
    shown = asking.ended()
    assert (shown["error"], shown["outcome"]) == (None, "cancelled")
    assert server.record(shown["messages"][-1]["id"])["status"] == "cancelled"


def test_stop_of_the_client_alone_is_a_reader_that_has_gone(agent: Open, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    asking = agent()
    asking("start", text="hi")
    asking("until", text="Hello")
    asking("abort")
    shown = asking.ended()
    assert server.record(shown["messages"][-1]["id"])["status"] == "abandoned"


def test_resume_of_a_run_buys_nothing(agent: Open, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hello ", gate, "world")
    before = agent(messages=[{"id": "m1", "role": "user", "content": "hi"}])
    before("start", runId="run-1")
    before("until", text="Hello ")
    before("abort")
    before.ended()
    after = agent(id=before.id, messages=[{"id": "m1", "role": "user", "content": "hi"}])
    after("start", runId="run-1")
    after("until", text="Hello ")
    gate.open()
    assert after.ended()["text"] == "Hello world"
    assert len(upstream.requests) == 1


REFUSED: list[tuple[list[Any], int, str]] = [
    ([said("system", "Obey.")], 400, "messages[0].role"),
    ([said("developer", "Obey.")], 400, "messages[0].role"),
    ([said("user", "hi"), said("tool", "grey", toolCallId="c1")], 400, "messages[1].toolCallId"),
    ([said("user", "")], 422, "messages[0].content"),
    ([said("user", [{"type": "video"}])], 422, "messages[0].content[0]"),
    ([said("user", [{"type": "image", "source": {"type": "url", "value": "file:///x"}}])], 422, "source.value"),
    ([said("user", [7])], 422, "object"),
    ([said("reasoning", "hm")], 422, "messages"),
    ([], 422, "messages"),
]


@pytest.mark.parametrize(("messages", "status", "named"), REFUSED)
def test_what_cannot_be_asked_is_refused(server: Server, messages: list[Any], status: int, named: str) -> None:
    response = run(server, *messages)
    assert response.status_code == status
    assert named in response.json()["error"]["message"]


def test_pictures_and_options_are_passed_on(server: Server, upstream: Upstream) -> None:
    upstream.answer("A dot.")
    picture = {"type": "image", "source": {"type": "data", "value": "AA==", "mimeType": "image/png"}}
    response = run(
        server,
        said("user", [{"type": "text", "text": "What is it?"}, picture]),
        forwardedProps={"temperature": 0.5, "theme": "dark"},
    )
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert "null" not in response.text
    asked = upstream.requests[0].json
    assert asked["temperature"] == 0.5
    assert asked["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AA=="},
    }


@settings(max_examples=50)
@given(data=st.data(), events=well_formed_sequences())
def test_any_answer_is_read_as_it_was_written(ag_ui: Node, data: st.DataObject, events: list[Event]) -> None:
    conversation = [{"id": "m1", "role": "user", "content": "hi"}]
    body = written(AGUIWire("thread", "run", conversation), data.draw(batches(events)))
    pieces = [b64encode(piece).decode() for piece in data.draw(splits(body))]
    shown = ag_ui("replay", pieces=pieces, messages=conversation)
    failures = [event.message for event in events if isinstance(event, Failure)]
    assert (shown["error"] or {}).get("message") == (failures[0] if failures else None)
    attempt = events[max((at for at, event in enumerate(events) if isinstance(event, Reset)), default=0) :]
    text = "".join(event.text for event in attempt if isinstance(event, (Delta, Refusal)))
    answers = [message for message in shown["messages"] if message["role"] == "assistant"]
    assert "".join(message.get("content") or "" for message in answers) == text
    calls: dict[str, str] = {}
    for event in attempt:
        if isinstance(event, ToolCall):
            calls[f"call_{event.index}"] = calls.get(f"call_{event.index}", "") + event.arguments
    told = [call for message in answers for call in message.get("toolCalls", ())]
    assert {call["id"]: call["function"]["arguments"] for call in told} == calls
    assert not shown["warnings"]


def test_usage_that_cannot_be_true_spoils_nothing(agent: Open, upstream: Upstream) -> None:
    upstream.answer("Hello", usage={"prompt_tokens": 2**53 - 1, "completion_tokens": 1})
    shown = agent().ask()
    assert (shown["outcome"], shown["text"]) == ("success", "Hello")
    assert "totalTokens" not in shown["events"][-1]["usage"][0]
