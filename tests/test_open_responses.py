"""The cases of Open Responses' compliance suite, in our own words, and more of what its specification says.

No registry has the suite itself: https://github.com/openresponses/openresponses, src/lib/compliance-tests.ts. The
names of its cases are kept. The specification's schemas are in the package `openresponses-types`.
"""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from llm_stream.testing import Cut
from llm_stream.testing import Upstream

from .calling import call
from .calling import calling
from .clients.scripts import TOOLS
from .clients.scripts import chunk
from .clients.scripts import reasoning
from .conftest import PATIENCE_S
from .conftest import Server
from .open_responses import answered
from .open_responses import check_events
from .open_responses import check_response
from .open_responses import read
from .open_responses import streamed

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
PDF = "data:application/pdf;base64,JVBERi0xLjQKJSVFT0YK"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}


@pytest.fixture
def model(site: Server) -> Upstream:
    assert site.upstream is not None
    site.upstream.clear()
    site.upstream.requests.clear()
    return site.upstream


def message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content} | more


def text_of(response: dict[str, Any]) -> str:
    assert response["status"] == "completed"
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def messages_of(model: Upstream) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in model.requests[-1].json["messages"]]


def types_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_basic_text_response(site: Server, model: Upstream) -> None:
    model.answer("Hel", "lo there, you", usage={"prompt_tokens": 8, "completion_tokens": 5})
    response = answered(site, input=[message("user", "Say hello in exactly 3 words.")])
    assert text_of(response) == "Hello there, you"
    (item,) = response["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"][0]["annotations"] == []
    usage = response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (8, 5, 13)
    assert response["completed_at"] >= response["created_at"]
    assert len(model.requests) == 1


def test_text_as_the_whole_input(site: Server, model: Upstream) -> None:
    model.answer("Hello")
    assert text_of(answered(site, input="Say hello.")) == "Hello"
    assert messages_of(model) == [("user", "Say hello.")]


def test_assistant_message_phase(site: Server, model: Upstream) -> None:
    model.answer("Papaya")
    asked = [
        message("user", "Remember a word."),
        message("assistant", "I look for one.", phase="commentary"),
        message("assistant", "Papaya.", phase="final_answer"),
        message("user", "Which?"),
    ]
    assert text_of(answered(site, input=asked)) == "Papaya"
    assert [role for role, _ in messages_of(model)] == ["user", "assistant", "assistant", "user"]


def test_response_output_phase_schema(site: Server, model: Upstream) -> None:
    model.answer("Hello")
    for item in answered(site)["output"]:
        assert item.get("phase") in (None, "commentary", "final_answer")
        assert "phase" not in item or item["phase"]


def test_streaming_response(site: Server, model: Upstream) -> None:
    model.answer("1 2 ", "3 4 ", "5")
    events = streamed(site, input=[message("user", "Count from 1 to 5.")])
    assert types_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert text_of(events[-1]["response"]) == "1 2 3 4 5"
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1


def test_system_prompt(site: Server, model: Upstream) -> None:
    model.answer("Ahoy")
    asked = [message("system", "You are a pirate."), message("developer", "Be brief."), message("user", "Say hello.")]
    assert text_of(answered(site, input=asked)) == "Ahoy"
    sent = messages_of(model)
    assert [content for _, content in sent] == ["You are a pirate.", "Be brief.", "Say hello."]
    assert {role for role, _ in sent[:2]} <= {"system", "developer"}


def test_instructions(site: Server, model: Upstream) -> None:
    model.answer("Ahoy")
    response = answered(site, input="Say hello.", instructions="You are a pirate.")
    assert response["instructions"] == "You are a pirate."
    assert [content for _, content in messages_of(model)] == ["You are a pirate.", "Say hello."]


def test_tool_calling(site: Server, model: Upstream) -> None:
    calling(model, call("get_weather", id="call_1", location="San Francisco"))
    response = answered(site, input="What's the weather like?", tools=[WEATHER])
    (item,) = response["output"]
    assert (item["type"], item["call_id"], item["name"]) == ("function_call", "call_1", "get_weather")
    assert item["arguments"] == '{"location": "San Francisco"}'
    assert response["tools"][0]["name"] == "get_weather"
    (sent,) = model.requests[0].json["tools"]
    assert sent["function"]["parameters"] == WEATHER["parameters"]


def test_tool_calling_streaming(site: Server, model: Upstream) -> None:
    model.answer(*TOOLS, finish_reason="tool_calls")
    events = streamed(site, tools=[WEATHER])
    for kind in (
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ):
        assert kind in types_of(events)
    called = [(item["call_id"], item["name"], item["arguments"]) for item in events[-1]["response"]["output"]]
    assert called == [("call_a", "weather", '{"city": "Zürich\\n"}'), ("call_b", "time", "{}")]


def test_function_call_round_trip(site: Server, model: Upstream) -> None:
    calling(model, call("get_weather", id="call_1", location="San Francisco"))
    choice = {"type": "function", "name": "get_weather"}
    first = answered(site, input="Use the weather tool.", tools=[WEATHER], tool_choice=choice)
    assert first["tool_choice"] == choice
    assert model.requests[0].json["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    model.answer("7 degrees.")
    result = {"type": "function_call_output", "call_id": "call_1", "output": "7"}
    again = [message("user", "Use the weather tool."), *first["output"], result]
    assert text_of(answered(site, input=again, tools=[WEATHER])) == "7 degrees."
    sent = model.requests[1].json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert (sent[1]["tool_calls"][0]["id"], sent[2]["tool_call_id"], sent[2]["content"]) == ("call_1", "call_1", "7")


def test_image_input(site: Server, model: Upstream) -> None:
    model.answer("A pixel.")
    parts = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PIXEL}]
    assert text_of(answered(site, input=[message("user", parts)])) == "A pixel."
    ((_, sent),) = messages_of(model)
    assert [part["type"] for part in sent] == ["text", "image_url"]
    assert sent[1]["image_url"]["url"] == PIXEL


def test_file_input(site: Server, model: Upstream) -> None:
    model.answer("Its title.")
    parts = [
        {"type": "input_text", "text": "Its title?"},
        {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
    ]
    assert text_of(answered(site, input=[message("user", parts)])) == "Its title."
    ((_, sent),) = messages_of(model)
    assert sent[1] == {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}


def test_multi_turn_conversation(site: Server, model: Upstream) -> None:
    model.answer("Alice.")
    said = [("user", "My name is Alice."), ("assistant", "Hello Alice!"), ("user", "What is my name?")]
    assert text_of(answered(site, input=[message(role, content) for role, content in said])) == "Alice."
    assert messages_of(model) == said


def test_previous_response_id(site: Server, model: Upstream) -> None:
    model.answer("OK")
    first = answered(site, input="Remember this code word: papaya.")
    model.answer("Papaya.")
    second = answered(site, input="Which word?", previous_response_id=first["id"])
    assert text_of(second) == "Papaya."
    assert second["previous_response_id"] == first["id"]
    assert messages_of(model) == [
        ("user", "Remember this code word: papaya."),
        ("assistant", "OK"),
        ("user", "Which word?"),
    ]


def test_refusal_has_a_part_of_its_own(site: Server, model: Upstream) -> None:
    model.answer(chunk(refusal="I will "), chunk(refusal="not."))
    events = streamed(site)
    assert {"refusal.delta", "refusal.done"} <= set(types_of(events))
    (part,) = events[-1]["response"]["output"][0]["content"]
    assert part == {"type": "refusal", "refusal": "I will not."}


def test_reasoning_is_an_item_of_its_own(site: Server, model: Upstream) -> None:
    for asked in (streamed, answered):
        model.answer(reasoning("Hm, "), reasoning("well."), "Yes.")
        answer: Any = asked(site)
        response = answer[-1]["response"] if isinstance(answer, list) else answer
        assert text_of(response) == "Yes."
        assert response["output"][0]["type"] == "reasoning"
        assert [part["text"] for part in response["output"][0]["summary"]] == ["Hm, well."]


@pytest.mark.parametrize(("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_incomplete_response(site: Server, model: Upstream, reason: str, told: str) -> None:
    model.answer("Hel", finish_reason=reason)
    events = streamed(site)
    assert types_of(events)[-1] == "incomplete"
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": told})
    assert response["output"][0]["status"] == "incomplete"


def test_failed_response(site: Server, model: Upstream) -> None:
    model.answer("Hel", Cut())
    events = streamed(site)
    assert types_of(events)[-1] == "failed"
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["error"]["message"]


def test_response_in_the_background(site: Server, model: Upstream) -> None:
    model.answer("Hello")
    response = answered(site, background=True)
    assert response["status"] in ("queued", "in_progress") and response["background"] is True
    url = f"{site.url}/llm/v1/responses/{response['id']}"
    events = read(httpx2.get(f"{url}?stream=true", timeout=PATIENCE_S).text)
    check_events(events)
    assert text_of(events[-1]["response"]) == "Hello"
    kept = httpx2.get(url, timeout=PATIENCE_S).json()
    check_response(kept)
    assert kept == events[-1]["response"]
