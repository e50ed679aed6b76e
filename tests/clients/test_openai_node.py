"""The stock OpenAI client for Node, as it is installed, against `/v1`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import SOON_S
from ..conftest import Server
from ..here import Here
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder

MODEL = "openai/gpt-4o-mini"
SETTINGS = {"models": ["other"], "retries": 0, "disconnect_grace_s": 0.5, "heartbeat_s": 0.2}
HI = {"model": MODEL, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Node]:
    node = Node(node_folder("openai", ["openai@7.57.0"]), SCRIPTS / "openai_node.mjs")
    node("open", url=server.url)
    yield node
    node.close()


def delta(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def said(chunks: list[Any], field: str = "content") -> str:
    return "".join(choice["delta"].get(field) or "" for chunk in chunks for choice in chunk["choices"])


def test_text_is_streamed(client: Node, upstream: Upstream) -> None:
    upstream.answer("Hel", Pause(0.5), "lo\r\n", "🙂\u2028")  # with heartbeats in between
    answer = client("stream", body=HI)
    assert answer["error"] is None
    assert said(answer["chunks"]) == "Hello\r\n🙂\u2028"
    assert answer["chunks"][0]["choices"][0]["delta"]["role"] == "assistant"
    assert answer["chunks"][-1]["choices"][0]["finish_reason"] == "stop"
    assert upstream.requests[0].json["messages"] == HI["messages"]


def test_text_in_one_piece(client: Node, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo")
    answer = client("create", body=HI)
    assert answer["completion"]["choices"][0]["message"]["content"] == "Hello"
    assert answer["requestID"] == answer["completion"]["id"]


def test_tools_all_the_way_round(client: Node, upstream: Upstream) -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city"'}}
    rest = {"index": 0, "function": {"arguments": ': "Bonn"}'}}
    upstream.answer(delta(tool_calls=[first]), delta(tool_calls=[rest]), finish_reason="tool_calls")
    upstream.answer("7 degrees.")
    assert client("runTools", body=HI) == {"content": "7 degrees.", "called": [{"city": "Bonn"}]}
    assert upstream.requests[1].json["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "7"}


def test_reasoning_comes_as_reasoning_content(client: Node, upstream: Upstream) -> None:
    upstream.answer(delta(reasoning="Hmm."), "Yes.")
    chunks = client("stream", body=HI)["chunks"]
    assert (said(chunks, "reasoning_content"), said(chunks)) == ("Hmm.", "Yes.")


def test_usage_comes_last_and_only_if_asked_for(client: Node, upstream: Upstream) -> None:
    figures = {"prompt_tokens": 8, "completion_tokens": 5}
    for _ in range(2):
        upstream.answer("Hello", usage=figures)
    chunks = client("stream", body=HI | {"stream_options": {"include_usage": True}})["chunks"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == chunks[-1]["usage"] | figures | {"total_tokens": 13}
    assert not any("usage" in chunk for chunk in client("stream", body=HI)["chunks"])


def test_error_in_the_middle_is_raised(client: Node, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    answer = client("stream", body=HI)
    assert said(answer["chunks"]) == "Hel"
    assert (answer["error"]["name"], answer["error"]["code"]) == ("APIError", "upstream_cut")
    assert answer["error"]["body"]["message"] == "The answer broke off. Please try again."
    assert len(upstream.requests) == 1


def test_error_that_has_cost_nothing_is_retried(client: Node, upstream: Upstream) -> None:
    upstream.answer(status=503)
    upstream.answer("Hello")
    assert said(client("stream", body=HI)["chunks"]) == "Hello"


@pytest.mark.parametrize("command", ["stream", "create"])
def test_error_that_has_cost_money_is_not_retried(client: Node, upstream: Upstream, command: str) -> None:
    upstream.answer(Cut())
    error = client(command, body=HI)["error"]
    assert (error["name"], error["status"], error["type"]) == ("InternalServerError", 502, "server_error")
    assert error["requestID"]
    assert len(upstream.requests) == 1


def test_error_names_the_parameter(client: Node) -> None:
    error = client("create", body=HI | {"n": 2})["error"]
    assert (error["name"], error["status"], error["param"]) == ("BadRequestError", 400, "n")
    error = client("create", body=HI | {"model": "gpt-17"})["error"]
    assert (error["name"], error["code"]) == ("NotFoundError", "model_not_found")


def test_stop_closes_the_upstream(client: Node, server: Server, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    answer = client("stream", body=HI, stopAfter=2)
    assert said(answer["chunks"]) == "Hel"
    assert upstream.requests[0].left.wait(SOON_S)
    assert server.record(answer["chunks"][0]["id"])["status"] == "abandoned"


def test_resume_from_the_start_by_the_same_idempotency_key(client: Node, upstream: Upstream) -> None:
    """In the middle the client cannot go on: it has no number of an event to go on from."""
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    options = {"headers": {"Idempotency-Key": "of-this-question"}}
    assert said(client("stream", body=HI, options=options, stopAfter=2)["chunks"]) == "Hel"
    gate.open()
    assert said(client("stream", body=HI, options=options)["chunks"]) == "Hello"
    assert len(upstream.requests) == 1


def test_models_are_listed(client: Node) -> None:
    assert client("models") == [MODEL, "other"]


# An agent


@pytest.fixture
def chunks(client: Node, server: Server, searching: Here) -> Iterator[list[Any]]:
    """What is read of an answer with a tool that runs on the server."""
    client("open", url=searching.url)
    answer = client("stream", body={"model": "scripted", "messages": [{"role": "user", "content": "hi"}]})
    assert answer["error"] is None
    yield answer["chunks"]
    client("open", url=server.url)


def deltas(chunks: list[Any]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def extra(chunks: list[Any], kind: str) -> Any:
    extras = [extra for delta in deltas(chunks) for extra in delta.get("llm_stream", [])]
    (found,) = (extra[kind] for extra in extras if kind in extra)
    return found


def test_tool_results_are_extra_fields_and_the_call_is_not_the_clients(chunks: list[Any]) -> None:
    assert extra(chunks, "tool_result") == {"id": "call_search", "name": "search", "result": ["x"]}
    assert not any("tool_calls" in delta for delta in deltas(chunks))
    assert said(chunks) == "Found."


def test_steps_are_extra_fields(chunks: list[Any]) -> None:
    assert extra(chunks, "step") == {"number": 2}


def test_sources_are_annotations(chunks: list[Any]) -> None:
    (found,) = (delta["annotations"] for delta in deltas(chunks) if "annotations" in delta)
    citation = {"url": "https://example.com/a", "title": "A", "start_index": 0, "end_index": 5}
    assert found == [{"index": 0, "type": "url_citation", "url_citation": citation}]


def test_data_is_an_extra_field(chunks: list[Any]) -> None:
    assert extra(chunks, "data") == {"name": "map", "data": {"zoom": 1}, "id": "m"}
