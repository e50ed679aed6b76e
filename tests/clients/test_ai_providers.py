"""The AI SDK's providers: `openai()`, which asks by the Responses API, `openai.chat()`, and `openai-compatible`."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import PATIENCE_S
from ..conftest import Server
from ..here import Here
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder
from .scripts import reasoning
from .test_structured_node import PACKAGES
from .turns import SETTINGS as SETTINGS
from .turns import calls_and_says
from .turns import ran_here
from .turns import reasoning_came_back
from .turns import reasons_and_calls
from .turns import says
from .turns import sent_back
from .turns import text_in
from .turns import was_asked_once

both = pytest.mark.parametrize("provider", ["chat", "compatible"])
USED = [100, 20, 40]


@pytest.fixture(scope="module")
def client() -> Iterator[Node]:
    node = Node(node_folder("structured", PACKAGES), SCRIPTS / "ai_providers.mjs")
    yield node
    node.close()


def check_text(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    says(upstream, "Hel", "lo")
    answer = client("generate", url=server.url, provider=provider)
    assert (answer["text"], answer["usage"], answer["finishReason"]) == ("Hello", USED, "stop")
    was_asked_once(upstream)
    assert upstream.requests[0].json["messages"][0]["content"] == "Be brief."


def check_stream(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    says(upstream, "Hel", "lo")
    answer = client("stream", url=server.url, provider=provider)
    assert answer["error"] is None
    assert (answer["pieces"], answer["usage"], answer["finishReason"]) == (["Hel", "lo"], USED, "stop")
    was_asked_once(upstream)


def check_tools(client: Node, server: Server, upstream: Upstream, provider: str, **options: bool) -> None:
    for command in ("generate", "stream"):
        upstream.requests.clear()
        calls_and_says(upstream)
        answer = client(command, url=server.url, provider=provider, options=options)
        assert (answer.get("error"), answer["text"], answer["called"]) == (None, "7 degrees.", ["Bonn"])
        assert answer["usage"] == [300, 30, 40]
        sent_back(upstream)


def check_reasoning(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    for command in ("generate", "stream"):
        upstream.answer(reasoning("Hm, "), reasoning("well."), "Yes.")
        answer = client(command, url=server.url, provider=provider)
        assert (answer["text"], answer["reasoning"]) == ("Yes.", "Hm, well.")


def check_error(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    for command in ("generate", "stream"):
        upstream.requests.clear()
        upstream.answer(status=400)
        answer = client(command, url=server.url, provider=provider)
        assert answer["error"] == {"name": "AI_APICallError", "status": 400}
        was_asked_once(upstream)


@both
def test_text_is_answered(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    check_text(client, server, upstream, provider)


@both
def test_text_is_streamed(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    check_stream(client, server, upstream, provider)


@both
def test_tools_all_the_way_round(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    check_tools(client, server, upstream, provider)


def test_reasoning_is_kept_apart(client: Node, server: Server, upstream: Upstream) -> None:
    check_reasoning(client, server, upstream, "compatible")  # the other one knows none


@both
def test_usage_is_the_providers(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    says(upstream, "Hello")
    assert client("generate", url=server.url, provider=provider)["usage"] == USED


@both
def test_error_has_its_status(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    check_error(client, server, upstream, provider)


def test_responses_text(client: Node, server: Server, upstream: Upstream) -> None:
    check_text(client, server, upstream, "responses")


def test_responses_stream(client: Node, server: Server, upstream: Upstream) -> None:
    check_stream(client, server, upstream, "responses")


def test_responses_tools_with_references_to_what_is_kept(client: Node, server: Server, upstream: Upstream) -> None:
    check_tools(client, server, upstream, "responses")


def test_responses_tools_with_whole_items(client: Node, server: Server, upstream: Upstream) -> None:
    check_tools(client, server, upstream, "responses", store=False)


def test_responses_reasoning(client: Node, server: Server, upstream: Upstream) -> None:
    check_reasoning(client, server, upstream, "responses")


def test_responses_object(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, '{"degrees"', ": 7}")
    assert client("object", url=server.url, provider="responses") == {"object": {"degrees": 7}, "usage": USED}
    form = upstream.requests[0].json["response_format"]
    assert form["json_schema"]["schema"]["required"] == ["degrees"]
    was_asked_once(upstream)


def test_responses_error(client: Node, server: Server, upstream: Upstream) -> None:
    check_error(client, server, upstream, "responses")


@pytest.mark.parametrize("command", ["generate", "stream"])
def test_responses_of_a_server_that_runs_its_own_tool(
    client: Node, searching: Here, upstream: Upstream, command: str
) -> None:
    answer = client(command, url=searching.url, provider="responses")
    assert (answer.get("error"), answer["text"], answer["called"]) == (None, "Found.", [])
    assert answer["sources"] == ["https://example.com/a"]
    ran_here(upstream)


@pytest.mark.parametrize("provider", ["chat", "compatible", "responses"])
def test_stop_closes_the_upstream(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    upstream.answer("Hel", Stall())
    assert client("stop", url=server.url, provider=provider) == "Hel"
    assert upstream.request(0).left.wait(PATIENCE_S)


@pytest.mark.parametrize("provider", ["chat", "compatible", "responses"])
def test_resume_by_an_idempotency_key(client: Node, server: Server, upstream: Upstream, provider: str) -> None:
    says(upstream, "Hel", "lo")
    assert client("again", url=server.url, provider=provider, key=str(uuid4())) == ["Hello", "Hello"]
    was_asked_once(upstream)


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("command", ["generate", "stream"])
def test_responses_bring_the_reasoning_back(
    client: Node, server: Server, upstream: Upstream, command: str, store: bool
) -> None:
    """By references to what is kept, or by whole items."""
    options = {"store": store, "forceReasoning": True, "include": ["reasoning.encrypted_content"]}
    reasons_and_calls(upstream)
    assert client(command, url=server.url, provider="responses", options=options)["text"] == "7 degrees."
    reasoning_came_back(upstream)


@pytest.mark.parametrize("approved", [True, False])
def test_responses_with_a_call_that_needs_approval(
    client: Node, deleting: tuple[Here, list[int]], upstream: Upstream, approved: bool
) -> None:
    here, deleted = deleting
    answer = client("decide", url=here.url, approved=approved)
    assert answer == {"text": "Done.", "asked": ["mcp.delete_note", {"note": 7}]}
    assert deleted == ([7] if approved else [])
    result = text_in(upstream.requests[1].json["messages"][-1]["content"])
    assert ("It is gone." in result) is approved
    ran_here(upstream)


@pytest.mark.parametrize("command", ["generate", "stream"])
def test_tool_results_of_the_server_are_shown(client: Node, searching: Here, upstream: Upstream, command: str) -> None:
    assert client(command, url=searching.url, provider="responses")["results"] == ['["x"]']
    ran_here(upstream)


@pytest.mark.parametrize("command", ["generate", "stream"])
def test_sources_are_parts(client: Node, searching: Here, upstream: Upstream, command: str) -> None:
    answer = client(command, url=searching.url, provider="responses")
    assert answer["sources"] == ["https://example.com/a"]
    ran_here(upstream)
