"""OpenAI's Agents SDK, with the model that it takes by default and with the other one."""

from __future__ import annotations

from collections.abc import Iterator
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
def client(server: Server) -> Iterator[Program]:
    at = {"OPENAI_BASE_URL": f"{server.url}/llm/v1", "OPENAI_API_KEY": "sk-of-a-caller"}
    program = Program("agents_sdk", **at)
    yield program
    program.close()


def check_text(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    says(upstream, "Hel", "lo")
    answer = client("ask", url=server.url, api=api)
    assert (answer["text"], answer["items"]) == ("Hello", ["message_output_item"])
    assert answer["usage"] == [1, 100, 20, 120]
    was_asked_once(upstream)
    assert upstream.requests[0].json["messages"][0]["content"] == "Be brief."


def check_stream(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    says(upstream, "Hel", "lo")
    answer = client("stream", url=server.url, api=api)
    assert (answer["text"], answer["deltas"]) == ("Hello", ["Hel", "lo"])
    assert answer["usage"] == [1, 100, 20, 120]
    was_asked_once(upstream)


def check_tools(client: Program, server: Server, upstream: Upstream, api: str, command: str) -> None:
    calls_and_says(upstream)
    answer = client(command, url=server.url, api=api, tools=True)
    assert (answer["text"], answer["called"]) == ("7 degrees.", ["Bonn"])
    assert answer["items"] == ["tool_call_item", "tool_call_output_item", "message_output_item"]
    assert answer["usage"] == [2, 300, 30, 330]
    sent_back(upstream)


def check_error(client: Program, server: Server, upstream: Upstream, api: str) -> None:
    upstream.answer(status=400)
    assert client("failed", url=server.url, api=api) == {"type": "BadRequestError", "status": 400}
    was_asked_once(upstream)


def test_text_is_answered(client: Program, server: Server, upstream: Upstream) -> None:
    check_text(client, server, upstream, "chat")


def test_text_is_streamed(client: Program, server: Server, upstream: Upstream) -> None:
    check_stream(client, server, upstream, "chat")


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_tools_all_the_way_round(client: Program, server: Server, upstream: Upstream, command: str) -> None:
    check_tools(client, server, upstream, "chat", command)


def test_usage_has_its_details(client: Program, server: Server, upstream: Upstream) -> None:
    for command in ("ask", "stream"):
        says(upstream, "Hello")
        answer = client(command, url=server.url, api="chat")
        assert (answer["cached"], answer["reasoning"]) == (40, 5)


def test_error_has_its_status(client: Program, server: Server, upstream: Upstream) -> None:
    check_error(client, server, upstream, "chat")


def test_responses_with_nothing_said_but_the_model(client: Program, upstream: Upstream) -> None:
    calls_and_says(upstream)
    answer = client("defaults")
    assert (answer["text"], answer["called"]) == ("7 degrees.", ["Bonn"])
    sent_back(upstream)


def test_responses_text(client: Program, server: Server, upstream: Upstream) -> None:
    check_text(client, server, upstream, "responses")


def test_responses_stream(client: Program, server: Server, upstream: Upstream) -> None:
    check_stream(client, server, upstream, "responses")


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_responses_tools(client: Program, server: Server, upstream: Upstream, command: str) -> None:
    check_tools(client, server, upstream, "responses", command)


def test_responses_usage(client: Program, server: Server, upstream: Upstream) -> None:
    for command in ("ask", "stream"):
        says(upstream, "Hello")
        answer = client(command, url=server.url, api="responses")
        assert (answer["cached"], answer["reasoning"]) == (40, 5)


def test_responses_continued_by_id(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "First.")
    says(upstream, "Second.")
    assert client("continued", url=server.url) == ["First.", "Second."]
    sent = [(message["role"], message["content"]) for message in upstream.requests[1].json["messages"]]
    assert sent == [("user", "hi"), ("assistant", "First."), ("user", "and then?")]


def test_responses_error(client: Program, server: Server, upstream: Upstream) -> None:
    check_error(client, server, upstream, "responses")


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_responses_of_a_server_that_runs_its_own_tool(
    client: Program, searching: Here, upstream: Upstream, command: str
) -> None:
    answer = client(command, url=searching.url, api="responses")
    assert (answer["text"], answer["called"]) == ("Found.", [])
    assert answer["items"] == ["tool_call_item", "message_output_item"]
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
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_reasoning_is_an_item(client: Program, server: Server, upstream: Upstream, api: str, command: str) -> None:
    upstream.answer(reasoning("Hm, "), reasoning("well."), "Yes.")
    answer = client(command, url=server.url, api=api)
    assert (answer["text"], answer["reasons"]) == ("Yes.", ["Hm, well."])


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_responses_bring_the_reasoning_back(client: Program, server: Server, upstream: Upstream, command: str) -> None:
    reasons_and_calls(upstream)
    assert client(command, url=server.url, api="responses", tools=True)["text"] == "7 degrees."
    reasoning_came_back(upstream)


@pytest.mark.parametrize("approved", [True, False])
def test_responses_with_a_call_that_needs_approval(
    client: Program, deleting: tuple[Here, list[int]], upstream: Upstream, approved: bool
) -> None:
    here, deleted = deleting
    answer = client("decide", url=here.url, approved=approved)
    assert answer == {"text": "Done.", "asked": ["delete_note", '{"note": 7}']}
    assert deleted == ([7] if approved else [])
    ran_here(upstream)


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_tool_results_of_the_server_are_shown(
    client: Program, searching: Here, upstream: Upstream, command: str
) -> None:
    assert client(command, url=searching.url, api="responses")["results"] == ['["x"]']
    ran_here(upstream)


@pytest.mark.parametrize("command", ["ask", "stream"])
def test_sources_are_annotations(client: Program, searching: Here, upstream: Upstream, command: str) -> None:
    answer = client(command, url=searching.url, api="responses")
    assert answer["cited"] == ["https://example.com/a"]
    ran_here(upstream)
