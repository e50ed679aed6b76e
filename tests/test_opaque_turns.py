"""The second turn of a call of a tool, for each provider: it gets back what it wants, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from llm_stream.testing import Upstream

from .calling import call
from .calling import fragment
from .test_tools import llm_of

MakeApp = Callable[..., Flask]

SIGNATURE = {"google": {"thought_signature": "EpwBCpkB+/é=="}}
DETAILS = [
    {"type": "reasoning.text", "text": "Hm, ", "index": 0, "format": "anthropic-claude-v1"},
    {"type": "reasoning.text", "text": "é.", "index": 0, "signature": "A+/="},
]
MERGED = [
    {"type": "reasoning.text", "text": "Hm, é.", "index": 0, "format": "anthropic-claude-v1", "signature": "A+/="}
]

DEEPSEEK: Any = ([{"reasoning_content": "Hm, "}, {"reasoning_content": "é."}], {"reasoning_content": "Hm, é."}, {})
OPENROUTER: Any = (
    [{"reasoning": "Hm, ", "reasoning_details": DETAILS[:1]}, {"reasoning": "é.", "reasoning_details": DETAILS[1:]}],
    {"reasoning": "Hm, é.", "reasoning_details": MERGED},
    {},
)
GEMINI: Any = ([], {}, {"extra_content": SIGNATURE})


@pytest.fixture(params=[DEEPSEEK, OPENROUTER, GEMINI], ids=["reasoning_content", "reasoning_details", "extra_content"])
def state(request: pytest.FixtureRequest, upstream: Upstream) -> Any:
    """The fields of the message, and of the call, after a model has called a tool with them."""
    deltas, of_message, of_call = request.param
    called = call("weather") | of_call
    upstream.answer(*map(fragment, deltas), fragment({"tool_calls": [called]}), finish_reason="tool_calls")
    return of_message, of_call


def assert_sent(upstream: Upstream, number: int, state: Any) -> None:
    of_message, of_call = state
    message = upstream.request(number).json["messages"][1]
    assert set(message) == {"role", "content", "tool_calls", *of_message}
    assert {name: message[name] for name in of_message} == of_message
    (called,) = message["tool_calls"]
    assert {name: called[name] for name in of_call} == of_call
    assert set(called) == {"id", "type", "function", *of_call}


def with_tool(make_app: MakeApp) -> Flask:
    app = make_app()

    @llm_of(app).tool
    def weather() -> str:
        return "clear"

    return app


def test_within_one_stream(make_app: MakeApp, upstream: Upstream, state: Any) -> None:
    upstream.answer("Clear.")
    with_tool(make_app).test_client().get("/llm/chat?prompt=hi").get_data()
    assert_sent(upstream, 1, state)


def test_over_turns_of_the_native_route(make_app: MakeApp, upstream: Upstream, state: Any) -> None:
    client = with_tool(make_app).test_client()
    upstream.answer("Clear.")
    first = {"role": "user", "content": "hi"}
    body: Any = {"messages": [first]}
    answer: Any = client.post("/llm/chat", json=body, headers={"Accept": "application/json"}).json
    upstream.answer("Bye.")
    body = {"messages": [first, *answer["messages"], {"role": "user", "content": "thanks"}]}
    assert client.post("/llm/chat", json=body).get_data()
    assert_sent(upstream, 2, state)


def test_over_turns_that_the_app_keeps(make_app: MakeApp, upstream: Upstream, state: Any) -> None:
    app = with_tool(make_app)
    llm = llm_of(app)
    answers: list[Any] = []
    llm.on_answer(answers.append)
    upstream.answer("Clear.")
    upstream.answer("Bye.")
    first = {"role": "user", "content": "hi"}
    with app.app_context():
        list(llm.events(messages=[first]))
        list(llm.events(messages=[first, *answers[0].messages, {"role": "user", "content": "thanks"}]))
    assert_sent(upstream, 2, state)


def test_over_turns_with_a_tool_of_the_reader(make_app: MakeApp, upstream: Upstream, state: Any) -> None:
    client = make_app().test_client()
    tools = [{"type": "function", "function": {"name": "weather"}}]
    first = {"role": "user", "content": "hi"}
    body: Any = {"messages": [first], "tools": tools}
    answer: Any = client.post("/llm/chat", json=body, headers={"Accept": "application/json"}).json
    (message,) = answer["messages"]
    message["tool_calls"][0]["result"] = "clear"
    upstream.answer("Clear.")
    assert client.post("/llm/chat", json={"messages": [first, message], "tools": tools}).get_data()
    assert_sent(upstream, 1, state)
