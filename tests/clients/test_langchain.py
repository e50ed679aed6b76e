"""LangChain's `ChatOpenAI`, and agents of LangGraph on it, by both of OpenAI's APIs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import PATIENCE_S
from ..conftest import Server
from ..here import Here
from ..programs import Program
from .scripts import reasoning
from .turns import SETTINGS as SETTINGS
from .turns import calls_and_says
from .turns import ran_here
from .turns import reasoning_came_back
from .turns import reasons_and_calls
from .turns import says
from .turns import sent_back
from .turns import was_asked_once


@pytest.fixture(scope="module")
def client() -> Iterator[Program]:
    program = Program("langchain_client")
    yield program
    program.close()


def check_usage(usage: dict[str, Any]) -> None:
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (100, 20, 120)
    assert usage["input_token_details"]["cache_read"] == 40
    assert usage["output_token_details"] == {"reasoning": 5}


def check_text(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    says(upstream, "Hel", "lo")
    answer = client("ask", url=server.url, api=api)
    assert answer["text"] == "Hello"
    check_usage(answer["usage"])
    was_asked_once(upstream)
    assert upstream.requests[0].json["messages"][0] == {"role": "system", "content": "Be brief."}


def check_stream(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    says(upstream, "Hel", "lo")
    answer = client("stream", url=server.url, api=api)
    assert answer["pieces"] == ["Hel", "lo"]
    check_usage(answer["usage"])
    was_asked_once(upstream)


def check_call(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    calls_and_says(upstream)
    assert client("calls", url=server.url, api=api) == [["weather", {"city": "Bonn"}]]
    upstream.clear()


def check_agent(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    calls_and_says(upstream)
    answer = client("agent", url=server.url, api=api)
    assert answer == {"text": "7 degrees.", "called": ["Bonn"], "types": ["human", "ai", "tool", "ai"]}
    sent_back(upstream)


def check_streaming_agent(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    calls_and_says(upstream)
    assert client("agent_stream", url=server.url, api=api) == {"text": "7 degrees.", "called": ["Bonn"]}
    sent_back(upstream)


def check_error(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    upstream.answer(status=400)
    assert client("failed", url=server.url, api=api) == {"type": "OpenAIInvalidRequestError", "status": 400}
    was_asked_once(upstream)


def test_text_is_answered(client: Program, server: Server, upstream: Upstream) -> None:
    check_text(client, server, upstream, "chat")


def test_text_is_streamed(client: Program, server: Server, upstream: Upstream) -> None:
    check_stream(client, server, upstream, "chat")


def test_tools_are_called(client: Program, server: Server, upstream: Upstream) -> None:
    check_call(client, server, upstream, "chat")


def test_tools_in_an_agent(client: Program, server: Server, upstream: Upstream) -> None:
    check_agent(client, server, upstream, "chat")


def test_tools_in_an_agent_that_is_streamed(client: Program, server: Server, upstream: Upstream) -> None:
    check_streaming_agent(client, server, upstream, "chat")


def test_usage_is_the_providers(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hello")
    check_usage(client("ask", url=server.url, api="chat")["usage"])


def test_error_has_its_status(client: Program, server: Server, upstream: Upstream) -> None:
    check_error(client, server, upstream, "chat")


def test_responses_text(client: Program, server: Server, upstream: Upstream) -> None:
    check_text(client, server, upstream, "responses")


def test_responses_stream(client: Program, server: Server, upstream: Upstream) -> None:
    check_stream(client, server, upstream, "responses")


def test_responses_tools(client: Program, server: Server, upstream: Upstream) -> None:
    check_call(client, server, upstream, "responses")


def test_responses_in_an_agent(client: Program, server: Server, upstream: Upstream) -> None:
    check_agent(client, server, upstream, "responses")


def test_responses_in_an_agent_that_is_streamed(client: Program, server: Server, upstream: Upstream) -> None:
    check_streaming_agent(client, server, upstream, "responses")


def test_responses_continued_by_id(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "First.")
    says(upstream, "Second.")
    assert client("continued", url=server.url) == ["First.", "Second."]
    sent = [(message["role"], message["content"]) for message in upstream.requests[1].json["messages"]]
    assert sent == [("user", "hi"), ("assistant", "First."), ("user", "and then?")]


def test_responses_error(client: Program, server: Server, upstream: Upstream) -> None:
    check_error(client, server, upstream, "responses")


@pytest.mark.parametrize("command", ["ask", "stream", "agent"])
def test_responses_of_a_server_that_runs_its_own_tool(
    client: Program, searching: Here, upstream: Upstream, command: str
) -> None:
    assert client(command, url=searching.url, api="responses")["text"] == "Found."
    ran_here(upstream)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_stop_closes_the_upstream(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    upstream.answer("Hel", Stall())
    assert client("stop", url=server.url, api=api) == "Hel"
    assert upstream.request(0).left.wait(PATIENCE_S)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_resume_by_an_idempotency_key(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    says(upstream, "Hel", "lo")
    assert client("again", url=server.url, api=api, key=str(uuid4())) == ["Hello", "Hello"]
    was_asked_once(upstream)


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_responses_reasoning(client: Program, server: Server, upstream: Upstream, command: str) -> None:
    upstream.answer(reasoning("Hm, "), reasoning("well."), "Yes.")
    answer = client(command, url=server.url, api="responses")
    assert (answer["text"], answer["reasoning"]) == ("Yes.", "Hm, well.")


@pytest.mark.parametrize("command", ["agent", "agent_stream"])
def test_responses_bring_the_reasoning_back(client: Program, server: Server, upstream: Upstream, command: str) -> None:
    reasons_and_calls(upstream)
    assert client(command, url=server.url, api="responses")["text"] == "7 degrees."
    reasoning_came_back(upstream)


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_tool_results_of_the_server_are_shown(
    client: Program, searching: Here, upstream: Upstream, command: str
) -> None:
    assert client(command, url=searching.url, api="responses")["results"] == ['["x"]']
    ran_here(upstream)
