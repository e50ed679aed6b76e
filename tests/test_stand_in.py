"""What answers without a key: the demo's stand-in shows the page off, and the separate process writes plain text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from llm_stream.testing import Upstream
from llm_stream.testing.storyteller import tell

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
DELETE = {"type": "function", "function": {"name": "delete_note", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with Upstream() as upstream, OpenAI(base_url=upstream.base_url, api_key="none") as client:
        yield client


def answer(client: OpenAI, *messages: Any, **more: Any) -> dict[str, Any]:
    """The text, the reasoning, and the one call that there may be."""
    said: dict[str, Any] = {"text": "", "reasoning": "", "id": None, "name": None, "arguments": "", "reason": None}
    for chunk in client.chat.completions.create(model="m", messages=messages, stream=True, **more):
        choice = chunk.choices[0]
        said["text"] += choice.delta.content or ""
        said["reasoning"] += getattr(choice.delta, "reasoning_content", "")
        said["reason"] = choice.finish_reason or said["reason"]
        for call in choice.delta.tool_calls or ():
            assert call.function
            said["id"] = call.id or said["id"]
            said["name"] = call.function.name or said["name"]
            said["arguments"] += call.function.arguments or ""
    return said


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_it_says_what_was_asked_and_has_markdown(client: OpenAI) -> None:
    said = answer(client, user("What is it?"))
    assert said["text"].startswith("You asked: “What is it?”")
    for mark in ("**Stop**", "```sh", "|---|", "- Reload"):
        assert mark in said["text"]
    assert (said["reasoning"], said["name"], said["reason"]) == ("", None, "stop")


def test_it_reasons_on_request(client: OpenAI) -> None:
    assert "I am a script" in answer(client, user("Think about it."))["reasoning"]


def test_it_reads_questions_with_pictures(client: OpenAI) -> None:
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png,"}}]
    assert answer(client, user(content))["text"].startswith("You asked: “What is it? (image_url)”")


@pytest.mark.parametrize(
    ("question", "tool", "name", "arguments"),
    [
        ("What is the weather?", WEATHER, "weather", '{"city": "Zürich"}'),
        ("Delete my note.", DELETE, "delete_note", '{"note": 1}'),
    ],
)
def test_it_calls_a_tool_that_the_request_offers_and_answers_from_the_result(
    client: OpenAI, question: str, tool: Any, name: str, arguments: str
) -> None:
    said = answer(client, user(question), tools=[tool])
    assert (said["name"], said["arguments"], said["reason"]) == (name, arguments, "tool_calls")
    call = {"id": said["id"], "type": "function", "function": {"name": name, "arguments": said["arguments"]}}
    called = {"role": "assistant", "content": said["text"], "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": said["id"], "content": '{"celsius":21}'}
    then = answer(client, user(question), called, result, tools=[tool])
    assert f"The tool `{name}` returned" in then["text"] and '{"celsius":21}' in then["text"]
    assert (then["name"], then["reason"]) == (None, "stop")


@pytest.mark.parametrize("tools", [{}, {"tools": [DELETE]}])
def test_it_calls_no_tool_that_the_request_does_not_offer(client: OpenAI, tools: Any) -> None:
    assert answer(client, user("What is the weather?"), **tools)["name"] is None


@pytest.mark.parametrize(("question", "words"), [("Hello", 20), ("Tell me a LONG story", 300), ("Count to 1000", 300)])
def test_separate_process_writes_plain_text_that_is_long_on_request(question: str, words: int) -> None:
    text = "".join(step for step in tell({"messages": [user(question)]}).steps if isinstance(step, str))
    assert len(text.split()) >= words
    assert not set("*|#`") & set(text)


def test_separate_process_calls_the_tools_that_are_offered() -> None:
    script = tell({"messages": [user("How is the weather?")], "tools": [WEATHER]})
    assert script.finish_reason == "tool_calls"
