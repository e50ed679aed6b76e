"""instructor and pydantic-ai ask `/v1` for objects, by `response_format` and by a tool."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream.testing import Upstream

from ..calling import call
from ..calling import calling
from ..calling import fragment
from ..here import Here
from ..programs import Program

INVOICE = {"number": 12, "items": [{"name": "tea", "price": 2.5}]}
WRITTEN = json.dumps(INVOICE)
PIECES = [WRITTEN[at : at + 4] for at in range(0, len(WRITTEN), 4)]

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    program = Program("structured_client")
    yield program
    program.close()


@pytest.fixture
def run(upstream: Upstream, program: Program) -> Iterator[Run]:
    """Run a command of the program against a server."""
    here = Here(upstream)
    yield lambda command, how: program(command, url=f"{here.url}/llm/v1", how=how)
    here.close()


def tool_of(upstream: Upstream, number: int = 0) -> str:
    """The name of the one tool that the client has given."""
    (tool,) = upstream.requests[number].json["tools"]
    return str(tool["function"]["name"])


def calling_in_pieces(upstream: Upstream, name: str) -> None:
    """The client's tool is called, its arguments in pieces."""
    begin = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in PIECES]
    upstream.answer(*[fragment({"tool_calls": [each]}) for each in (begin, *rest)], finish_reason="tool_calls")


def form_asked_for(upstream: Upstream) -> dict[str, Any]:
    form: dict[str, Any] = upstream.requests[0].json["response_format"]
    return form


# instructor


def test_instructor_by_a_json_schema(run: Run, upstream: Upstream) -> None:
    upstream.answer(*PIECES)
    assert run("create", "JSON_SCHEMA") == INVOICE
    assert form_asked_for(upstream)["json_schema"]["name"] == "Invoice"


def test_instructor_by_a_tool(run: Run, upstream: Upstream) -> None:
    calling_in_pieces(upstream, "Invoice")
    assert run("create", "TOOLS") == INVOICE
    assert tool_of(upstream) == "Invoice"


def test_instructor_asks_again_where_the_answer_does_not_fit(run: Run, upstream: Upstream) -> None:
    calling(upstream, call("Invoice", number="many"))
    calling_in_pieces(upstream, "Invoice")
    assert run("create", "TOOLS") == INVOICE
    again = upstream.requests[1].json["messages"]
    assert [message["role"] for message in again] == ["user", "assistant", "tool"]
    assert "number" in again[-1]["content"]


@pytest.mark.parametrize("mode", ["JSON_SCHEMA", "TOOLS"])
def test_instructor_with_partial_objects(run: Run, upstream: Upstream, mode: str) -> None:
    if mode == "TOOLS":
        calling_in_pieces(upstream, "PartialInvoice")
    else:
        upstream.answer(*PIECES)
    partials = run("create_partial", mode)
    assert partials[-1] == INVOICE and len(partials) > 3


def test_instructor_with_an_iterable_of_objects(run: Run, upstream: Upstream) -> None:
    tasks: dict[str, Any] = {"tasks": [{"name": "tea", "price": 2.5}, {"name": "mugs", "price": 7.0}]}
    calling(upstream, call("IterableItem", **tasks))
    assert run("create_iterable", "TOOLS") == tasks["tasks"]


# pydantic-ai


def test_pydantic_ai_by_a_json_schema(run: Run, upstream: Upstream) -> None:
    upstream.answer(*PIECES)
    assert run("run", "native") == INVOICE
    assert form_asked_for(upstream)["json_schema"]["name"] == "Invoice"


def test_pydantic_ai_by_a_tool(run: Run, upstream: Upstream) -> None:
    calling_in_pieces(upstream, "final_result")
    assert run("run", "tool") == INVOICE
    assert tool_of(upstream) == "final_result"


@pytest.mark.parametrize("output", ["native", "tool"])
def test_pydantic_ai_asks_again_where_the_answer_does_not_fit(run: Run, upstream: Upstream, output: str) -> None:
    if output == "native":
        upstream.answer('{"number": "many"}')
        upstream.answer(*PIECES)
    else:
        calling(upstream, call("final_result", number="many"))
        calling_in_pieces(upstream, "final_result")
    assert run("run", output) == INVOICE
    again = upstream.requests[1].json["messages"]
    assert [message["role"] for message in again][:2] == ["user", "assistant"] and len(again) == 3
    assert "number" in str(again[-1]["content"])


@pytest.mark.parametrize("output", ["native", "tool"])
def test_pydantic_ai_with_partial_objects(run: Run, upstream: Upstream, output: str) -> None:
    if output == "native":
        upstream.answer(*PIECES)
    else:
        calling_in_pieces(upstream, "final_result")
    partials = run("run_stream", output)
    assert partials[-1] == INVOICE


# By the Responses API


@pytest.mark.parametrize("mode", ["RESPONSES_TOOLS", "RESPONSES_TOOLS_WITH_INBUILT_TOOLS"])
def test_responses_with_instructor(run: Run, upstream: Upstream, mode: str) -> None:
    calling_in_pieces(upstream, "Invoice")
    assert run("create_by_responses", mode) == INVOICE
    assert tool_of(upstream) == "Invoice"


def test_responses_with_instructor_that_asks_again(run: Run, upstream: Upstream) -> None:
    calling(upstream, call("Invoice", number="many"))
    calling_in_pieces(upstream, "Invoice")
    assert run("create_by_responses", "RESPONSES_TOOLS") == INVOICE
    assert len(upstream.requests) == 2


def test_responses_with_pydantic_ai_by_a_json_schema(run: Run, upstream: Upstream) -> None:
    upstream.answer(*PIECES)
    assert run("run_by_responses", "native") == INVOICE
    assert form_asked_for(upstream)["json_schema"]["name"] == "Invoice"


def test_responses_with_pydantic_ai_by_a_tool(run: Run, upstream: Upstream) -> None:
    calling_in_pieces(upstream, "final_result")
    assert run("run_by_responses", "tool") == INVOICE
    assert tool_of(upstream) == "final_result"
