"""Tools that need approval: the stream ends with the call open, and the reader's next turn brings the decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask import Response
from flask import request

from llm_stream import LLMStream
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .calling import call
from .calling import calling
from .conftest import Event
from .conftest import of_kind
from .test_tools import kinds
from .test_tools import llm_of
from .test_tools import messages_of

MakeApp = Callable[..., Flask]


class Desk:
    """An app with a tool that needs approval, and a view that passes the reader's decisions on."""

    def __init__(self, app: Flask, upstream: Upstream) -> None:
        self.app = app
        self.upstream = upstream
        self.deleted: list[str] = []
        self.answers: list[Any] = []
        llm = llm_of(app)

        @llm.tool(needs_approval=True)
        def delete(note: str) -> str:
            """Delete a note."""
            self.deleted.append(note)
            return f"{note} is gone"

        llm.on_answer(self.answers.append)
        app.add_url_rule("/ask", view_func=lambda: self._ask(llm), methods=["POST"])

    @staticmethod
    def _ask(llm: LLMStream) -> Response:
        body: Any = request.get_json()
        return llm.respond(messages=body["messages"], approvals=body.get("approvals"), key=body.get("key"))

    def ask(self, messages: list[dict[str, Any]], approvals: Any = None, key: str | None = None) -> Any:
        body = {"messages": messages, "approvals": approvals, "key": key}
        return self.app.test_client().post("/ask", json=body)

    def first_turn(self, *more: dict[str, Any]) -> list[Event]:
        calling(self.upstream, call("delete", note="a"), *more)
        return read_events(self.ask([{"role": "user", "content": "delete a"}]).data)

    def conversation(self) -> list[dict[str, Any]]:
        return [{"role": "user", "content": "delete a"}, *self.answers[-1].messages]


@pytest.fixture
def desk(make_app: MakeApp, upstream: Upstream) -> Desk:
    app = make_app()
    app.secret_key = "s"
    return Desk(app, upstream)


def test_stream_ends_with_the_call_open(desk: Desk) -> None:
    events = desk.first_turn()
    assert kinds(events) == ["start", "tool_call", "approval", "usage", "done"]
    asked = of_kind(events, "approval")
    assert (asked["call_id"], asked["name"]) == ("call_delete", "delete")
    assert of_kind(events, "done") == {"status": "completed", "finish_reason": "tool_calls"}
    assert desk.deleted == []
    (call,) = desk.answers[0].tool_calls
    assert call["approval"] == asked["id"]


def test_approved_call_runs_first_and_the_model_goes_on(desk: Desk) -> None:
    token = of_kind(desk.first_turn(), "approval")["id"]
    desk.upstream.answer("Done.")
    events = read_events(desk.ask(desk.conversation(), {token: True}).data)
    assert kinds(events) == ["start", "tool_result", "delta", "usage", "done"]
    assert of_kind(events, "tool_result") == {"id": "call_delete", "name": "delete", "result": "a is gone"}
    assert desk.deleted == ["a"]
    called, result = messages_of(desk.upstream, 1)[1:]
    assert called["tool_calls"][0]["id"] == "call_delete"
    assert result == {"role": "tool", "tool_call_id": "call_delete", "content": "a is gone"}
    assert desk.answers[1].messages == [result, {"role": "assistant", "content": "Done."}]


@pytest.mark.parametrize(
    "decision, told",
    [
        (False, "The user did not allow this call."),
        ({"approved": False}, "The user did not allow this call."),
        ({"approved": False, "reason": "Keep it."}, "Keep it."),
    ],
)
def test_denied_call_does_not_run_and_the_model_is_told(desk: Desk, decision: Any, told: str) -> None:
    token = of_kind(desk.first_turn(), "approval")["id"]
    desk.upstream.answer("As you like.")
    events = read_events(desk.ask(desk.conversation(), {token: decision}).data)
    assert of_kind(events, "tool_result") == {"id": "call_delete", "name": "delete", "error": told}
    assert desk.deleted == []
    assert messages_of(desk.upstream, 1)[-1]["content"] == told


def test_call_without_a_decision_is_not_allowed(desk: Desk) -> None:
    calls = [data for _, kind, data in desk.first_turn(call("delete", id="b", note="b")) if kind == "approval"]
    desk.upstream.answer("Half done.")
    desk.ask(desk.conversation(), {calls[0]["id"]: True}).get_data()
    assert desk.deleted == ["a"]
    results = messages_of(desk.upstream, 1)[2:]
    assert [(result["tool_call_id"], result["content"]) for result in results] == [
        ("call_delete", "a is gone"),
        ("b", "The user did not allow this call."),
    ]


def test_tool_without_approval_runs_before_the_question(desk: Desk) -> None:
    @llm_of(desk.app).tool
    def look() -> str:
        return "seen"

    events = desk.first_turn(call("look"))
    assert kinds(events) == ["start", "tool_call", "tool_call", "tool_result", "approval", "usage", "done"]
    token = of_kind(events, "approval")["id"]
    desk.upstream.answer("Done.")
    desk.ask(desk.conversation(), {token: True}).get_data()
    results = messages_of(desk.upstream, 1)[2:]
    assert [(result["tool_call_id"], result["content"]) for result in results] == [
        ("call_look", "seen"),
        ("call_delete", "a is gone"),
    ]


def test_approved_call_runs_with_the_arguments_of_the_model(desk: Desk) -> None:
    token = of_kind(desk.first_turn(), "approval")["id"]
    desk.upstream.answer("Done.")
    forged = desk.conversation()
    forged[1]["tool_calls"][0]["function"]["arguments"] = '{"note": "everything"}'
    desk.ask(forged, {token: True}).get_data()
    assert desk.deleted == ["a"]


def test_only_signed_calls_can_be_approved(desk: Desk) -> None:
    token = of_kind(desk.first_turn(), "approval")["id"]
    signed, _, signature = token.rpartition(".")
    forged = f"{signed}.{'A' * len(signature)}"
    for approvals in ({forged: True}, {"call_delete": True}, {token: "yes"}, {token: {"reason": "x"}}):
        assert desk.ask(desk.conversation(), approvals).status_code == 422
    other = desk.app.test_client().post(
        "/ask",
        json={"messages": desk.conversation(), "approvals": {token: True}},
        environ_base={"REMOTE_ADDR": "10.0.0.9"},
    )
    assert other.status_code == 422
    assert desk.ask([{"role": "user", "content": "hi"}], {token: True}).status_code == 422
    assert desk.deleted == []
    assert len(desk.upstream.requests) == 1


def test_decision_that_was_carried_out_is_not_carried_out_again(desk: Desk) -> None:
    token = of_kind(desk.first_turn(), "approval")["id"]
    desk.upstream.answer("Done.")
    conversation = desk.conversation()
    desk.ask(conversation, {token: True}).get_data()
    desk.upstream.answer("You are welcome.")
    conversation += [*desk.answers[-1].messages, {"role": "user", "content": "thanks"}]
    assert desk.ask(conversation, {token: True}).status_code == 200
    assert desk.deleted == ["a"]


def test_question_of_another_worker_can_be_answered(make_app: MakeApp, upstream: Upstream) -> None:
    """They sign with the app's SECRET_KEY."""
    first, second = make_app(), make_app()
    first.secret_key = second.secret_key = "s"
    a, b = Desk(first, upstream), Desk(second, upstream)
    token = of_kind(a.first_turn(), "approval")["id"]
    upstream.answer("Done.")
    b.ask(a.conversation(), {token: True}).get_data()
    assert b.deleted == ["a"]


def test_decision_is_carried_out_once_under_one_key(desk: Desk) -> None:
    token = of_kind(desk.first_turn(), "approval")["id"]
    conversation = desk.conversation()
    desk.upstream.answer("Done.")
    first = desk.ask(conversation, {token: True}, "k").data
    assert read_events(desk.ask(conversation, {token: True}, "k").data) == read_events(first)
    assert desk.deleted == ["a"]
