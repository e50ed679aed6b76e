"""LiteLLM as a client, by both of OpenAI's APIs."""

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
from .turns import says
from .turns import sent_back
from .turns import usage
from .turns import was_asked_once

USED = [100, 20, 40]
CALLED = ["weather", '{"city": "Bonn"}']


@pytest.fixture(scope="module")
def client() -> Iterator[Program]:
    program = Program("litellm_client")
    yield program
    program.close()


def test_text_is_answered(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    assert client("ask", url=server.url)["text"] == "Hello"
    was_asked_once(upstream)


def test_text_is_streamed(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    assert client("stream", url=server.url)["pieces"] == ["Hel", "lo"]
    was_asked_once(upstream)


def test_usage_is_the_providers(client: Program, server: Server, upstream: Upstream) -> None:
    for command in ("ask", "stream"):
        says(upstream, "Hello")
        assert client(command, url=server.url)["usage"] == USED


def test_tools_all_the_way_round(client: Program, server: Server, upstream: Upstream) -> None:
    calls_and_says(upstream)
    assert client("tool_round", url=server.url) == {"text": "7 degrees.", "called": CALLED}
    sent_back(upstream)


def test_error_has_its_status(client: Program, server: Server, upstream: Upstream) -> None:
    upstream.answer(status=400)
    assert client("failed", url=server.url) == {"type": "BadRequestError", "status": 400}
    was_asked_once(upstream)


def test_responses_text(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    assert client("responses", url=server.url) == {"text": "Hello", "status": "completed", "usage": USED}
    was_asked_once(upstream)


def test_responses_stream(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    answer = client("responses_stream", url=server.url)
    assert answer == {"text": "Hello", "status": "completed", "usage": USED, "deltas": ["Hel", "lo"]}
    was_asked_once(upstream)


def test_responses_tools(client: Program, server: Server, upstream: Upstream) -> None:
    calls_and_says(upstream)
    assert client("responses_tool_round", url=server.url) == {"text": "7 degrees.", "called": CALLED}
    sent_back(upstream)


@pytest.mark.parametrize("command", ["responses", "responses_stream"])
def test_responses_of_a_server_that_runs_its_own_tool(
    client: Program, searching: Here, upstream: Upstream, command: str
) -> None:
    assert client(command, url=searching.url)["text"] == "Found."
    ran_here(upstream)


def test_stop_closes_the_upstream(client: Program, server: Server, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    assert client("stop", url=server.url) == "Hel"
    assert upstream.request(0).left.wait(PATIENCE_S)


def test_resume_by_an_idempotency_key(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    assert client("again", url=server.url, key=str(uuid4())) == ["Hello", "Hello"]
    was_asked_once(upstream)


def test_reasoning_is_kept_apart(client: Program, server: Server, upstream: Upstream) -> None:
    upstream.answer(reasoning("Hm, "), reasoning("well."), "Yes.", usage=usage(100, 20, 40))
    answer = client("ask", url=server.url)
    assert (answer["text"], answer["reasoning"]) == ("Yes.", "Hm, well.")
