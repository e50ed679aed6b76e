"""The Vercel AI SDK of three major versions: the engine of `useChat`, without React."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from llm_stream.events import Delta
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import ToolCall
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.wire.ui import UIWire

from ..conftest import PATIENCE_S
from ..conftest import SOON_S
from ..conftest import Server
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder
from ..sequences import batches
from ..sequences import splits
from ..sequences import well_formed_sequences
from ..sequences import written
from .scripts import PRICES
from .scripts import reasoning
from .scripts import tool_call

REACT = ["react@19.3.1", "react-dom@19.3.1", "esbuild@0.28.2"]
AI_SDKS = {
    "ai-5": ["ai@5.0.277", "@ai-sdk/react@2.0.280", *REACT],
    "ai-6": ["ai@6.0.326", "@ai-sdk/react@3.0.327", *REACT],
    "ai-7": ["ai@7.0.173", "@ai-sdk/react@4.0.177", *REACT],
}

AWKWARD = [
    " leading",
    "two\nlines\r\n\r",
    "\u2028\u0085",
    "🧠é👩‍👩‍👧",
    "data: [DONE]\n\n",
    ": ping",
    "\ufeff",
    '"\\ </script>',
    "\n",
]


def _served(upstream: Upstream, folders: pytest.TempPathFactory, **settings: Any) -> Iterator[Server]:
    server = Server(upstream, folders.mktemp("ui"), **settings)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _served(upstream, tmp_path_factory, prices=PRICES, retries=0, disconnect_grace_s=1)


@pytest.fixture(scope="module")
def insistent(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that makes one more attempt when an answer breaks off."""
    yield from _served(upstream, tmp_path_factory, retry_after_content=True)


@pytest.fixture(scope="module", params=AI_SDKS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    node = Node(node_folder(request.param, AI_SDKS[request.param]), SCRIPTS / "ai_sdk.mjs")
    yield node
    node.close()


class Chat:
    """One chat in the Node process."""

    def __init__(self, node: Node, server: Server, id: str | None = None, **options: Any) -> None:
        self.id = id or str(uuid4())
        self.url = f"{server.url}/llm/ui/chat"
        self._node = node
        self("open", api=self.url, **options)

    def __call__(self, command: str, **options: Any) -> Any:
        return self._node(command, id=self.id, **options)

    def ask(self, text: str = "hi", **options: Any) -> dict[str, Any]:
        """Send, and wait for the end."""
        self("send", text=text, **options)
        return self.ended()

    def ended(self) -> dict[str, Any]:
        shown: dict[str, Any] = self("ended")
        return shown

    def post(self, path: str) -> httpx2.Response:
        return httpx2.post(f"{self.url}/{self.id}/{path}", timeout=PATIENCE_S)


Open = Callable[..., Chat]


@pytest.fixture
def chat(node: Node, server: Server) -> Open:
    return lambda at=server, **options: Chat(node, at, **options)


def parts_of(shown: dict[str, Any], kind: str = "") -> list[dict[str, Any]]:
    """The parts of the last message, less what says where a step begins."""
    parts = [part for part in shown["messages"][-1]["parts"] if part["type"] != "step-start"]
    return [part for part in parts if part["type"].startswith(kind)]


def test_text_arrives_as_the_model_wrote_it(chat: Open, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD, segment=3)
    shown = chat().ask("What is it?")
    assert (shown["status"], shown["finishReason"]) == ("ready", "stop")
    assert parts_of(shown) == [{"type": "text", "text": "".join(AWKWARD), "state": "done"}]
    (asked,) = upstream.requests
    assert asked.json["messages"] == [{"role": "user", "content": "What is it?"}]


def test_text_of_earlier_turns_is_sent_along(chat: Open, upstream: Upstream) -> None:
    talk = chat()
    upstream.answer(reasoning("hm"), "Yes.")
    upstream.answer("No.")
    talk.ask("Is it?")
    talk.ask("Really?")
    assert upstream.requests[1].json["messages"] == [
        {"role": "user", "content": "Is it?"},
        {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"},
        {"role": "user", "content": "Really?"},
    ]


def test_text_of_a_completion(node: Node, server: Server, upstream: Upstream) -> None:
    upstream.answer(reasoning("hm"), "Hel", "lo")
    upstream.answer("Hel", Cut())
    api = f"{server.url}/llm/ui/chat"
    assert node("complete", api=api, prompt="hi")["text"] == "Hello"
    assert node("complete", api=api, prompt="hi")["error"] == "The answer broke off. Please try again."
    assert upstream.requests[0].json["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "length"), ("content_filter", "content-filter"), ("eos", "other")]
)
def test_text_says_why_it_ends(chat: Open, upstream: Upstream, reason: str, told: str) -> None:
    upstream.answer("Hello", finish_reason=reason)
    shown = chat().ask()
    assert (shown["status"], shown["finishReason"], shown["text"]) == ("ready", told, "Hello")


def test_tools_are_called_and_their_output_is_answered_in_the_same_message(chat: Open, upstream: Upstream) -> None:
    upstream.answer(
        "Let me look. ",
        tool_call('{"city": ', id="call_1", name="weather"),
        tool_call("", index=1, id="call_2", name="now"),
        tool_call('"Köln"}'),
        finish_reason="tool_calls",
    )
    upstream.answer("It rains.")
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "now")]
    shown = chat(answers={"output": {"sky": "grey"}}, body={"tools": tools}).ask()
    assert shown["toolCalls"] == [{"name": "weather", "input": {"city": "Köln"}}, {"name": "now", "input": {}}]
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]
    assert [part["state"] for part in parts_of(shown, "tool-")] == ["output-available"] * 2
    assert shown["text"] == "Let me look. It rains."
    first, second = upstream.requests
    assert first.json["tools"] == tools
    assert second.json["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me look. ",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}},
                {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"grey"}'},
        {"role": "tool", "tool_call_id": "call_2", "content": '{"sky":"grey"}'},
    ]


def test_tools_with_malformed_arguments_are_not_called(chat: Open, upstream: Upstream) -> None:
    upstream.answer(tool_call('{"city": Köln}', id="call_1", name="weather"), finish_reason="tool_calls")
    shown = chat().ask()
    (part,) = parts_of(shown)
    assert (part["state"], part["errorText"]) == ("output-error", "The arguments of this call are not valid JSON.")
    assert (shown["status"], shown["finishReason"], shown["toolCalls"]) == ("ready", "tool-calls", [])


def test_tools_of_an_answer_that_breaks_off_are_not_called(chat: Open, upstream: Upstream) -> None:
    upstream.answer(tool_call('{"city": "Bonn"}', id="call_1", name="weather"), Cut())
    shown = chat().ask()
    assert (shown["status"], shown["toolCalls"]) == ("error", [])
    assert parts_of(shown)[0]["state"] == "output-error"


def test_reasoning_is_a_part_of_its_own(chat: Open, upstream: Upstream) -> None:
    upstream.answer(reasoning("Let me "), reasoning("see."), "Hello")
    shown = chat().ask()
    assert [(part["type"], part["text"], part["state"]) for part in parts_of(shown)] == [
        ("reasoning", "Let me see.", "done"),
        ("text", "Hello", "done"),
    ]


def test_usage_is_in_the_metadata_of_the_message(chat: Open, upstream: Upstream) -> None:
    upstream.answer("Hello", usage={"prompt_tokens": 1000, "completion_tokens": 200})
    metadata = chat().ask()["messages"][-1]["metadata"]
    assert metadata == {
        "model": "openai/gpt-4o-mini",
        "status": "completed",
        "usage": {
            "inputTokens": 1000,
            "outputTokens": 200,
            "totalTokens": 1200,
            "source": "provider",
            "cost": "0.0256",
            "currency": "INR",
        },
    }


def test_usage_is_told_of_an_answer_that_breaks_off(chat: Open, upstream: Upstream) -> None:
    upstream.answer("Hello there", Cut())
    metadata = chat().ask()["messages"][-1]["metadata"]
    assert metadata["status"] == "failed"
    assert metadata["error"]["code"] == "upstream_cut"
    assert metadata["usage"]["source"] == "estimated"
    assert metadata["usage"]["outputTokens"] > 0


def test_error_comes_after_the_open_parts_are_closed(chat: Open, upstream: Upstream) -> None:
    upstream.answer(reasoning("hm"), "Hello", Cut())
    shown = chat().ask()
    assert (shown["status"], shown["error"]) == ("error", "The answer broke off. Please try again.")
    assert [(part["type"], part["state"]) for part in parts_of(shown)] == [("reasoning", "done"), ("text", "done")]


def test_error_before_the_answer_is_a_sentence(chat: Open, upstream: Upstream) -> None:
    upstream.answer(status=429, headers={"Retry-After": "7"})
    shown = chat().ask()
    assert (shown["status"], shown["error"]) == ("error", "The model is busy. Please try again in a moment.")


@pytest.mark.parametrize("how", ["regenerate", "again"])
def test_error_is_mended_by_asking_again(chat: Open, upstream: Upstream, how: str) -> None:
    talk = chat()
    upstream.answer("Hel", Cut())
    upstream.answer("Hel", Cut())
    upstream.answer("Hello")
    statuses = [talk.ask()["status"]]
    for _ in range(2):
        talk(how)
        statuses.append(talk.ended()["status"])
    assert statuses == ["error", "error", "ready"]
    assert talk.ended()["text"].endswith("Hello")


def test_stop_is_felt_upstream_at_once(chat: Open, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    talk = chat()
    talk("send", text="hi")
    talk("until", text="Hello")
    assert talk.post("stop").status_code == 204
    assert upstream.requests[0].left.wait(SOON_S)
    shown = talk.ended()
    assert (shown["status"], shown["finishReason"]) == ("ready", "other")
    assert parts_of(shown) == [{"type": "text", "text": "Hello", "state": "done"}]
    message = shown["messages"][-1]
    assert message["metadata"]["status"] == server.record(message["id"])["status"] == "cancelled"


def test_stop_of_the_client_alone_is_a_reader_that_has_gone(chat: Open, upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    talk = chat()
    talk("send", text="hi")
    talk("until", text="Hello")
    talk("stop")
    shown = talk.ended()
    assert shown["status"] == "ready"
    assert server.record(shown["messages"][-1]["id"])["status"] == "abandoned"


def test_resume_finds_nothing_where_nothing_is_written(chat: Open, upstream: Upstream) -> None:
    talk = chat()
    talk("resume")
    assert (talk.ended()["status"], talk.ended()["error"]) == ("ready", None)
    upstream.answer("Hello")
    talk.ask()
    talk("resume")
    shown = talk.ended()
    assert (shown["status"], shown["error"], shown["text"]) == ("ready", None, "Hello")
    assert len(upstream.requests) == 1


def test_resume_after_a_reload_has_the_whole_answer(chat: Open, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer(reasoning("hm"), "Hello ", gate, "world")
    before = chat(id=f"a/b {uuid4()}?ü")
    before("send", text="hi")
    before("until", text="Hello ")
    before("stop")
    question = before.ended()["messages"][:1]
    after = chat(id=before.id, messages=question)
    after("resume")
    after("until", text="Hello ")
    gate.open()
    shown = after.ended()
    assert (shown["status"], shown["finishReason"], shown["text"]) == ("ready", "stop", "Hello world")
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]
    assert len(upstream.requests) == 1


def test_resume_of_an_answer_that_nobody_saw_end_buys_nothing(chat: Open, upstream: Upstream) -> None:
    upstream.answer("Hello")
    before = chat()
    question = before.ask()["messages"][:1]
    after = chat(id=before.id, messages=question)
    after("resume")
    assert after.ended()["messages"] == question
    after("again")
    assert after.ended()["text"] == "Hello"
    assert len(upstream.requests) == 1


def test_resume_has_the_new_attempt_alone(chat: Open, upstream: Upstream, insistent: Server) -> None:
    gate = Gate()
    upstream.answer("Wrong ", Cut())
    upstream.answer("Right", gate, " it is")
    talk = chat(at=insistent)
    shown = talk.ask()
    assert (shown["status"], shown["text"]) == ("error", "Wrong ")
    assert shown["error"] == "The answer broke off and is being written again. Please try again."
    after = chat(at=insistent, id=talk.id, messages=shown["messages"][:1])
    after("resume")
    after("until", text="Right")
    gate.open()
    shown = after.ended()
    assert (shown["status"], shown["text"]) == ("ready", "Right it is")


def expected_parts(events: Sequence[Event]) -> list[tuple[str, str]]:
    """The parts that a message is to have: text of one kind in a row, and a call where it begins."""
    parts: list[tuple[str, str]] = []
    is_after_call = False
    kinds = {Delta: "text", Refusal: "text", Reasoning: "reasoning"}
    last: type[Event] | None = None
    for event in events:
        if isinstance(event, ToolCall):
            if event.name is not None:
                parts.append((f"tool-{event.name}", event.id or ""))
                is_after_call = True
        elif isinstance(event, (Delta, Refusal, Reasoning)):
            if type(event) is last and not is_after_call:
                parts[-1] = (parts[-1][0], parts[-1][1] + event.text)
            else:
                parts.append((kinds[type(event)], event.text))
            last, is_after_call = type(event), False
    return parts


@settings(max_examples=50)
@given(data=st.data(), events=well_formed_sequences(resets=False))
def test_any_answer_is_read_as_it_was_written(node: Node, data: st.DataObject, events: list[Event]) -> None:
    body = written(UIWire(), data.draw(batches(events)))
    pieces = [b64encode(piece).decode() for piece in data.draw(splits(body))]
    shown = node("replay", pieces=pieces)
    failures = [event.message for event in events if isinstance(event, Failure)]
    assert (shown["status"], shown["error"]) == (("error", failures[0]) if failures else ("ready", None))
    assert [(part["type"], part.get("text", part.get("toolCallId"))) for part in parts_of(shown)] == expected_parts(
        events
    )
    assert all(part["state"] in ("done", "input-available", "output-error") for part in parts_of(shown))
