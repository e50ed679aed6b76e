"""AG-UI's own client and an agent: tools that run on the server, what they show, approvals, and the next run."""

from __future__ import annotations

from typing import Any

import pytest

from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..calling import call
from ..calling import calling
from ..conftest import GUNICORN
from ..conftest import Server
from .agents import Agent
from .agents import Open
from .agents import asked_for
from .agents import of_type
from .agents import run
from .agents import types_of
from .scripts import tool_call

COMMAND = [*GUNICORN[:-1], "tests.clients.agent_app:app"]
SETTINGS = {"command": COMMAND, "FLASK_SECRET_KEY": "s", "retries": 0, "disconnect_grace_s": 0.5}


def roles_of(shown: dict[str, Any]) -> list[str]:
    return [message["role"] for message in shown["messages"]]


# Tools and what they show


def test_tool_results_are_messages_and_each_call_of_the_model_is_a_step(agent: Open, upstream: Upstream) -> None:
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


def looked_up(agent: Open, upstream: Upstream) -> tuple[dict[str, Any], list[Any]]:
    """What the client shows of a tool that yields events, and its custom events."""
    calling(upstream, call("look_up", topic="rain"))
    upstream.answer("It rains.")
    shown = agent(state={"found": 7}).ask()
    assert (shown["error"], shown["warnings"]) == (None, [])
    return shown, [(event["name"], event["value"], event.get("metadata")) for event in of_type(shown, "CUSTOM")]


def test_sources_and_files_are_custom_events(agent: Open, upstream: Upstream) -> None:
    _, customs = looked_up(agent, upstream)
    assert customs[:2] == [
        ("source", {"url": "https://example.org/rain", "title": "Rain"}, None),
        ("file", {"url": "data:image/png;base64,AA==", "media_type": "image/png", "name": "map.png"}, None),
    ]


def test_data_is_a_custom_event_or_the_state(agent: Open, upstream: Upstream) -> None:
    shown, customs = looked_up(agent, upstream)
    assert customs[2:] == [
        ("state_delta", {"found": "no patch"}, None),
        ("progress", None, {"id": "p1", "transient": True}),
    ]
    assert shown["state"] == {"found": 2}


def test_steps_are_closed_before_the_run_ends(agent: Open, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Köln"))
    upstream.answer("Grey.")
    shown = agent().ask()
    steps = [(event["type"], event["stepName"]) for event in shown["events"] if event["type"].startswith("STEP_")]
    assert steps == [
        ("STEP_STARTED", "step-1"),
        ("STEP_FINISHED", "step-1"),
        ("STEP_STARTED", "step-2"),
        ("STEP_FINISHED", "step-2"),
    ]


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
