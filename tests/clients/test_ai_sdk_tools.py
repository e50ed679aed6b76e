"""The Vercel AI SDK with an agent: tools that run on the server, steps, sources, files, data, approvals, state."""

from __future__ import annotations

import json
from collections.abc import Generator
from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream import Data
from llm_stream import File
from llm_stream import Source
from llm_stream.testing import Upstream

from ..calling import call
from ..calling import calling
from ..calling import fragment
from ..here import Here
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder
from .test_ai_sdk import AI_SDKS
from .test_ai_sdk import Chat
from .test_ai_sdk import parts_of

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
PDF = "data:application/pdf;base64,JVBERi0xLjQK"


@pytest.fixture
def server(upstream: Upstream) -> Iterator[Here]:
    here = Here(upstream)
    here.app.secret_key = "s"
    llm = here.llm

    @llm.tool
    def weather(city: str) -> dict[str, Any]:
        return {"city": city, "sky": "clear"}

    @llm.tool
    def search(words: str) -> Generator[Any, None, list[str]]:
        yield Data("progress", {"found": 1}, transient=True)
        yield Data("map", {"zoom": 1}, id="m")
        yield Data("map", {"zoom": 2}, id="m")
        yield Source("https://example.com/a", "A", start=0, end=3)
        yield File(PIXEL, "image/gif")
        return [words]

    @llm.tool(needs_approval=True)
    def delete(note: str) -> str:
        return f"{note} is gone"

    yield here
    here.close()


@pytest.fixture(scope="module", params=AI_SDKS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    node = Node(node_folder(request.param, AI_SDKS[request.param]), SCRIPTS / "ai_sdk.mjs")
    node.version = request.param  # type: ignore[attr-defined]
    yield node
    node.close()


@pytest.fixture
def chat(node: Node, server: Here) -> Chat:
    return Chat(node, server)  # type: ignore[arg-type]


def tool_parts(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return parts_of(shown, "tool-")


def messages_of(upstream: Upstream, number: int = -1) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = upstream.requests[number].json["messages"]
    return messages


def test_tool_results_are_outputs_and_nothing_runs_in_the_client(node: Node, server: Here, upstream: Upstream) -> None:
    chat = Chat(node, server, answers={"output": "from the client"})  # type: ignore[arg-type]
    calling(upstream, call("weather", city="Pune"))
    upstream.answer("Clear.")
    shown = chat.ask()
    (part,) = tool_parts(shown)
    assert (part["state"], part["input"]) == ("output-available", {"city": "Pune"})
    assert part["output"] == {"city": "Pune", "sky": "clear"}
    assert (shown["toolCalls"], len(shown["requests"])) == ([], 1)
    assert (shown["status"], shown["error"], shown["text"]) == ("ready", None, "Clear.")


def test_tool_results_that_are_errors_are_shown_as_such(chat: Chat, upstream: Upstream) -> None:
    calling(upstream, call("weather", town="Pune"))
    upstream.answer("Sorry.")
    (part,) = tool_parts(shown := chat.ask())
    assert part["state"] == "output-error"
    assert "city: Field required" in part["errorText"]
    assert shown["text"] == "Sorry."


def test_tool_results_go_back_with_the_next_turn(chat: Chat, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Pune"), text="One moment.")
    upstream.answer("Clear.")
    upstream.answer("Bye.")
    chat.ask("hi")
    chat.ask("thanks")
    sent = messages_of(upstream)
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[1]["content"] == "One moment."
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Pune"}
    assert json.loads(sent[2]["content"]) == {"city": "Pune", "sky": "clear"}
    assert sent[3] == {"role": "assistant", "content": "Clear."}


def test_steps_begin_where_the_model_is_called_again(chat: Chat, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Pune"), text="One moment.")
    upstream.answer("Clear.")
    parts = chat.ask()["messages"][-1]["parts"]
    kinds = [part["type"] for part in parts]
    assert kinds == ["step-start", "text", "tool-weather", "step-start", "text"]


def test_sources_and_files_are_parts_of_the_message(chat: Chat, upstream: Upstream) -> None:
    calling(upstream, call("search", words="x"))
    upstream.answer("Found.")
    shown = chat.ask()
    (source,) = parts_of(shown, "source-url")
    assert (source["url"], source["title"]) == ("https://example.com/a", "A")
    assert source["providerMetadata"] == {"llm_stream": {"start": 0, "end": 3}}
    (file,) = parts_of(shown, "file")
    assert (file["url"], file["mediaType"]) == (PIXEL, "image/gif")
    assert shown["error"] is None


def test_data_is_a_part_in_its_latest_version_and_news_are_only_told(chat: Chat, upstream: Upstream) -> None:
    calling(upstream, call("search", words="x"))
    upstream.answer("Found.")
    shown = chat.ask()
    (data,) = parts_of(shown, "data-")
    assert data == {"type": "data-map", "id": "m", "data": {"zoom": 2}}
    assert [part["type"] for part in shown["data"]] == ["data-progress", "data-map", "data-map"]
    assert shown["data"][0]["data"] == {"found": 1}


def test_both_kinds_of_tools_may_be_in_one_answer(node: Node, server: Here, upstream: Upstream) -> None:
    locate = {"type": "function", "function": {"name": "locate", "parameters": {"type": "object"}}}
    chat = Chat(node, server, body={"tools": [locate]}, answers={"output": "here"})  # type: ignore[arg-type]
    calling(upstream, call("locate"), call("weather", city="Pune"))
    upstream.answer("There.")
    shown = chat.ask()
    assert [called["name"] for called in shown["toolCalls"]] == ["locate"]
    assert shown["text"] == "There."
    results = {message["tool_call_id"]: message["content"] for message in messages_of(upstream)[2:]}
    assert results["call_locate"] == "here"
    assert json.loads(results["call_weather"])["sky"] == "clear"


# Approvals


@pytest.mark.parametrize("approved", [True, False])
def test_call_is_decided_in_the_chat(node: Node, server: Here, chat: Chat, upstream: Upstream, approved: bool) -> None:
    calling(upstream, call("delete", note="a"))
    shown = chat.ask("delete a")
    if node.version == "ai-5":  # type: ignore[attr-defined]
        assert shown["status"] == "error"  # it does not know approvals
        return
    (part,) = tool_parts(shown)
    assert (shown["status"], part["state"]) == ("ready", "approval-requested")
    upstream.answer("Done." if approved else "I keep it.")
    chat("decide", question=part["approval"]["id"], approved=approved, reason=None if approved else "Not now.")
    shown = chat.ended()
    assert (shown["status"], shown["error"]) == ("ready", None)
    (part,) = tool_parts(shown)
    if approved:
        assert (part["state"], part["output"]) == ("output-available", "a is gone")
    _, called, result = messages_of(upstream)
    assert called["tool_calls"][0]["id"] == "call_delete"
    assert result == {
        "role": "tool",
        "tool_call_id": "call_delete",
        "content": "a is gone" if approved else "Not now.",
    }
    assert shown["text"] == ("Done." if approved else "I keep it.")
    upstream.answer("Bye.")
    assert chat.ask("thanks")["error"] is None
    roles = [message["role"] for message in messages_of(upstream)]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


# What the provider wants back

GEMINI = {"google": {"thought_signature": "EpwBCpkB+/é=="}}
DETAILS = [{"type": "reasoning.encrypted", "data": "A+/=", "id": "r1", "format": "f", "index": 0}]


@pytest.mark.parametrize(
    "delta, fields",
    [
        ({"reasoning_content": "Hm, é."}, {"reasoning_content": "Hm, é."}),
        ({"reasoning": "Hm.", "reasoning_details": DETAILS}, {"reasoning": "Hm.", "reasoning_details": DETAILS}),
        ({"extra_content": GEMINI}, {"extra_content": GEMINI}),
    ],
)
@pytest.mark.parametrize("kind", ["text", "server", "client"])
def test_state_goes_back_as_it_came(
    node: Node, server: Here, upstream: Upstream, delta: dict[str, Any], fields: dict[str, Any], kind: str
) -> None:
    body = {"tools": [{"type": "function", "function": {"name": "locate"}}]}
    chat = Chat(node, server, body=body, answers={"output": "here"})  # type: ignore[arg-type]
    made = {"text": [], "server": [call("weather", city="P") | {"extra_content": GEMINI}], "client": [call("locate")]}
    first = [fragment(delta), *([fragment({"tool_calls": made[kind]})] if made[kind] else [])]
    upstream.answer(*first, "Hello", finish_reason="tool_calls" if made[kind] else "stop")
    if made[kind]:
        upstream.answer("Then.")
    chat.ask("hi")
    upstream.answer("Bye.")
    assert chat.ask("go on")["error"] is None
    for number in range(1, len(upstream.requests)):
        sent = messages_of(upstream, number)[1]
        assert {name: sent.get(name) for name in fields} == fields
        if kind == "server":
            assert sent["tool_calls"][0]["extra_content"] == GEMINI


def test_pdf_documents_are_passed_on(chat: Chat, server: Here, upstream: Upstream) -> None:
    parts = [
        {"type": "text", "text": "What is in it?"},
        {"type": "file", "mediaType": "application/pdf", "filename": "a.pdf", "url": PDF},
    ]
    body = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": parts}]}
    upstream.answer("Nothing.")
    assert server.request("POST", "/llm/ui/chat", json=body).status_code == 200
    content = messages_of(upstream)[0]["content"]
    assert content[1] == {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}


def test_answer_of_a_chat_knows_its_chat(chat: Chat, server: Here, upstream: Upstream) -> None:
    answers: list[Any] = []
    server.llm.on_answer(answers.append)
    upstream.answer("Hello")
    chat.ask()
    assert (answers[0].metadata, answers[0].key) == ({"chat": chat.id}, None)
