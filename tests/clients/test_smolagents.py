"""A tool-calling agent of smolagents."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from llm_stream.testing import Upstream

from ..calling import call
from ..calling import calling
from ..conftest import Server
from ..programs import Program
from .turns import SETTINGS as SETTINGS
from .turns import says
from .turns import text_in
from .turns import usage
from .turns import was_asked_once


@pytest.fixture(scope="module")
def client() -> Iterator[Program]:
    program = Program("smolagents_client")
    yield program
    program.close()


def test_text_is_answered(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    assert client("ask", url=server.url)["text"] == "Hello"
    was_asked_once(upstream)


def test_usage_is_the_providers(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hello")
    assert client("ask", url=server.url)["usage"] == [100, 20]


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_in_an_agent(client: Program, server: Server, upstream: Upstream, streamed: bool) -> None:
    calling(upstream, call("weather", id="call_1", city="Bonn"), usage=usage(100, 20))
    calling(upstream, call("final_answer", id="call_2", answer="7 degrees."), usage=usage(200, 10))
    answer = client("agent", url=server.url, streamed=streamed)
    assert answer == {"text": "7 degrees.", "called": ["Bonn"], "usage": [300, 30]}
    assert len(upstream.requests) == 2
    assert "7 degrees" in text_in(upstream.requests[1].json["messages"][-1]["content"])


def test_error_has_its_status(client: Program, server: Server, upstream: Upstream) -> None:
    upstream.answer(status=400)
    assert client("failed", url=server.url) == {"type": "BadRequestError", "status": 400}
    was_asked_once(upstream)


def test_resume_by_an_idempotency_key(client: Program, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    assert client("again", url=server.url, key=str(uuid4())) == ["Hello", "Hello"]
    was_asked_once(upstream)
