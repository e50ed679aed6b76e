"""`answer.messages`: the answer as messages that can be sent again as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from llm_stream import Delta
from llm_stream import Done
from llm_stream import Opaque
from llm_stream import Reasoning
from llm_stream import Reset
from llm_stream import Start
from llm_stream import Step
from llm_stream import ToolCall
from llm_stream import ToolResult
from llm_stream.events import Approval
from llm_stream.events import Event
from llm_stream.requests.messages import Message
from llm_stream.requests.messages import plain
from llm_stream.testing import Cut
from llm_stream.testing import Upstream
from llm_stream.wire.turn import messages_of

from .calling import call
from .calling import calling
from .keeping import ask
from .keeping import kept_by
from .keeping import llm_of
from .sequences import well_formed_sequences

MakeApp = Callable[..., Flask]

START = Start("8a8b35a6a342e491b341", "scripted", 1)
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
DONE = Done("completed", "tool_calls")


def called(index: int = 0, id: str = "c", **more: Any) -> ToolCall:
    return ToolCall(index, "{}", id, "look", **more)


def test_steps_and_results_are_messages_in_their_order(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    answers = kept_by(app)

    @llm_of(app).tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    calling(upstream, call("add", a=1, b=2), text="I add. ")
    upstream.answer("It is 3.")
    ask(app, "/llm/chat?prompt=hi")
    called, result, last = answers[0].messages
    assert (called["role"], called["content"], called["tool_calls"][0]["id"]) == ("assistant", "I add. ", "call_add")
    assert result == {"role": "tool", "tool_call_id": "call_add", "content": "3"}
    assert last == {"role": "assistant", "content": "It is 3."}
    assert upstream.requests[1].json["messages"][1:] == [called, result], "what the model had been sent already"
    upstream.answer("Yes.")
    question = {"role": "user", "content": "Sure?"}
    with app.app_context():
        list(llm_of(app).events(messages=[*answers[0].messages, question]))
    assert upstream.requests[2].json["messages"] == [called, result, last, question]


def test_error_of_a_tool_is_its_result() -> None:
    events = [START, called(server=True), ToolResult("c", "look", error="No such place."), Step(2), Delta("Hm."), DONE]
    assert messages_of(events) == [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "No such place."},
        {"role": "assistant", "content": "Hm."},
    ]


def test_call_that_the_answer_ended_with_stays_open() -> None:
    waiting = [START, called(), Approval("token", "c", "look"), DONE]
    for events in ([START, called(), DONE], waiting):
        assert messages_of(events) == [{"role": "assistant", "content": None, "tool_calls": [CALL]}]


@pytest.mark.parametrize("status", ["cancelled", "failed", "interrupted"])
def test_call_that_was_cut_off_is_left_out(status: Any) -> None:
    events = [START, Delta("I look. "), called(), Done(status)]
    assert messages_of(events) == [{"role": "assistant", "content": "I look. "}]
    assert messages_of([START, called(), Done(status)]) == []


def test_what_was_said_before_a_reset_is_left_out(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(retry_after_content=True)
    answers = kept_by(app)
    upstream.answer("Hel", Cut())
    upstream.answer("Hello")
    ask(app, "/llm/chat?prompt=hi")
    assert (answers[0].text, answers[0].messages) == ("Hello", [{"role": "assistant", "content": "Hello"}])


def test_what_the_provider_wants_back_is_where_it_had_put_it(make_app: MakeApp) -> None:
    app = make_app()
    answers = kept_by(app)
    signature = {"extra_content": {"google": {"thought_signature": "s"}}}
    events = [
        Reasoning("Hm."),
        called(opaque=signature, server=True),
        Opaque({"reasoning_details": [{"data": "sealed"}]}, "reasoning_content"),
        ToolResult("c", "look", result=None),
        Step(2),
        Delta("Nothing."),
        Opaque({"extra_content": {"x": 1}}),
    ]
    app.add_url_rule("/view", view_func=lambda: llm_of(app).respond(events))
    ask(app, "/view")
    (answer,) = answers
    assert answer.opaque == {"extra_content": {"x": 1}}
    assert answer.messages == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [CALL | signature],
            "reasoning_content": "Hm.",
            "reasoning_details": [{"data": "sealed"}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "null"},
        {"role": "assistant", "content": "Nothing.", "extra_content": {"x": 1}},
    ]


@st.composite
def any_answers(draw: st.DrawFn) -> list[Event]:
    """A log with steps, calls, results of them and of others, resets, in any order, and any end."""
    ids = st.sampled_from(["a", "b", "c"])
    said = st.one_of(
        st.builds(Delta, st.text()),
        st.builds(Reasoning, st.text()),
        st.builds(lambda id: called("abc".index(id), id, server=True), ids),
        st.builds(lambda id: ToolResult(id, "look", result={"n": None}), ids),
        st.builds(lambda id: ToolResult(id, "look", error="no"), ids),
        st.builds(Step, st.integers(2, 9)),
        st.just(Reset("upstream_cut")),
    )
    end = st.sampled_from([[], [DONE], [Done("completed", "stop")], [Done("cancelled")], [Done("failed")]])
    return [START, *draw(st.lists(said, max_size=12)), *draw(end)]


@given(any_answers() | well_formed_sequences())
def test_whatever_was_said_each_result_follows_its_call_and_the_messages_are_accepted(events: list[Event]) -> None:
    messages = messages_of(events)
    is_over = isinstance(events[-1], Done) and events[-1].status in ("completed", "incomplete")
    open_calls: set[str] = set()
    seen: set[str] = set()
    own = messages[next((n for n, message in enumerate(messages) if message["role"] == "assistant"), len(messages)) :]
    for message in own:
        if message["role"] == "tool":
            assert message["tool_call_id"] in seen, "its call is before it"
            open_calls.discard(message["tool_call_id"])
        else:
            assert is_over or not open_calls, "each call of an earlier step has its result"
            seen |= (made := {made["id"] for made in message.get("tool_calls", ())})
            open_calls |= made
    assert is_over or not open_calls
    plain(msgspec.convert(messages, list[Message]), may_instruct=True)
