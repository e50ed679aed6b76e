"""Chat completion chunks as providers really send them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llm_stream.errors import UpstreamCut
from llm_stream.errors import UpstreamError
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import ToolCall
from llm_stream.events import Usage
from llm_stream.upstream.chunks import ChunkDecoder
from llm_stream.upstream.figures import usage_of


def chunk(*, finish: str | None = None, usage: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage}


def decoded(*chunks: dict[str, Any]) -> list[Event]:
    decoder = ChunkDecoder()
    return [event for chunk in chunks for event in decoder.events(chunk)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (chunk(content="x"), [Delta("x")]),
        (chunk(content=None), []),
        (chunk(content=""), []),
        (chunk(role="assistant", content=None), []),
        ({"choices": []}, []),
        ({"choices": None}, []),
        ({}, []),
        ({"choices": [None]}, []),
        ({"choices": [{"index": 0}]}, []),
        ({"choices": [], "prompt_filter_results": [{}]}, []),
        ({"choices": [{"content_filter_offsets": {}, "finish_reason": None}]}, []),
        (chunk(reasoning_content="r"), [Reasoning("r")]),
        (chunk(reasoning="r"), [Reasoning("r")]),
        (chunk(reasoning="r", reasoning_content="r"), [Reasoning("r")]),
        (chunk(reasoning="r", content="x"), [Reasoning("r"), Delta("x")]),
        (chunk(refusal="no"), [Refusal("no")]),
        (chunk(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), [Delta("ab")]),
        ({"choices": [{"message": {"content": "whole"}}]}, [Delta("whole")]),
        ({"choices": [{"index": 1, "delta": {"content": "another answer"}, "finish_reason": "stop"}]}, []),
        (chunk(tool_calls=5), []),
        ({"choices": [], "x_groq": "x", "usage": {"prompt_tokens_details": [1]}}, []),
    ],
)
def test_content(given: dict[str, Any], expected: list[Event]) -> None:
    assert decoded(given) == expected


def call(index: int | None = None, id: str | None = None, name: str | None = None, arguments: Any = "") -> Any:
    fields = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk(tool_calls=[{key: value for key, value in fields.items() if value is not None}])


TOOL_CALLS = {
    "as documented": (
        [call(0, "a", "f", ""), call(0, arguments='{"x"'), call(1, "b", "g", ""), call(1, arguments="{}")],
        [ToolCall(0, "", "a", "f"), ToolCall(0, '{"x"'), ToolCall(1, "", "b", "g"), ToolCall(1, "{}")],
    ),
    "no index": (
        [call(None, "a", "f", "{"), call(None, arguments="}"), call(None, "b", "g", "{}")],
        [ToolCall(0, "{", "a", "f"), ToolCall(0, "}"), ToolCall(1, "{}", "b", "g")],
    ),
    "always index 0": (
        [call(0, "a", "f", "{}"), call(0, "b", "g", "{}"), call(0, "b", "g", "x")],
        [ToolCall(0, "{}", "a", "f"), ToolCall(1, "{}", "b", "g"), ToolCall(1, "x")],
    ),
    "id and name sent again": (
        [call(0, "a", "f", "{"), call(0, "a", "f", "}")],
        [ToolCall(0, "{", "a", "f"), ToolCall(0, "}")],
    ),
    "null arguments": ([call(0, "a", "f", None)], [ToolCall(0, "", "a", "f")]),
}


@pytest.mark.parametrize("case", TOOL_CALLS)
def test_tool_calls(case: str) -> None:
    chunks, expected = TOOL_CALLS[case]
    assert decoded(*chunks) == expected


def test_utf16_pair_cut_in_two_is_put_together() -> None:
    assert decoded(chunk(content="a\ud83e"), chunk(content="\udde0b")) == [Delta("a"), Delta("🧠b")]
    assert decoded(chunk(content="\ud83e"), chunk(content="x")) == [Delta("\ufffdx")]
    assert decoded(chunk(content="\udde0x")) == [Delta("\ufffdx")]
    assert decoded(chunk(reasoning="\ud83e")) == [Reasoning("\ufffd")]


@pytest.mark.parametrize(
    ("reason", "status"),
    [("stop", "completed"), ("tool_calls", "completed"), ("eos", "completed"), ("length", "incomplete")],
)
def test_finish_reason_tells_the_status(reason: str, status: Any) -> None:
    decoder = ChunkDecoder()
    decoder.events(chunk(finish=reason))
    assert decoder.end() == [Done(status, reason)]


def test_answer_without_a_finish_reason_is_cut() -> None:
    decoder = ChunkDecoder()
    decoder.events(chunk(content="x", finish=""))
    with pytest.raises(UpstreamCut):
        decoder.end()


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_answer_that_the_server_gave_up_is_a_failure(reason: str) -> None:
    decoder = ChunkDecoder()
    decoder.events(chunk(finish=reason))
    with pytest.raises(UpstreamError):
        decoder.end()


def test_usage_is_taken_from_wherever_it_comes_and_the_last_counts() -> None:
    figures = {"prompt_tokens": 3, "completion_tokens": 1}
    for chunks in (
        [chunk(finish="stop"), {"choices": [], "usage": figures}],
        [chunk(finish="stop", usage=figures)],
        [chunk(content="x", usage={"prompt_tokens": 3, "completion_tokens": 0}), chunk(finish="stop", usage=figures)],
        [chunk(finish="stop", usage=figures), {"choices": [], "usage": figures}],
        [chunk(finish="stop", usage=figures), {"choices": [], "usage": None}],
        [chunk(finish="stop"), {"choices": [], "x_groq": {"usage": figures}}],
    ):
        decoder = ChunkDecoder()
        for given in chunks:
            decoder.events(given)
        assert decoder.attempt.figures == Usage(input_tokens=3, output_tokens=1, source="provider")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"total_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": "3"}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2.0}, Usage(output_tokens=2, source="provider")),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(input_tokens=0, output_tokens=0, source="provider")),
        (
            {"input_tokens": 5, "output_tokens": 6, "input_tokens_details": {"cached_tokens": 2}},
            Usage(input_tokens=5, output_tokens=6, cached_tokens=2, source="provider"),
        ),
        (
            {"prompt_tokens": 5, "prompt_cache_hit_tokens": 4, "prompt_tokens_details": None},
            Usage(input_tokens=5, cached_tokens=4, source="provider"),
        ),
        (
            {"completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 4}, "cost": 0.00014},
            Usage(output_tokens=5, reasoning_tokens=4, source="provider", cost=Decimal("0.00014")),
        ),
        ({"completion_tokens": 5, "cost": "nan"}, Usage(output_tokens=5, source="provider")),
        ({"completion_tokens": 5, "cost": "1e9999999"}, Usage(output_tokens=5, source="provider")),
        ({"completion_tokens": 5, "cost": -0.0}, Usage(output_tokens=5, source="provider", cost=Decimal(0))),
        ({"completion_tokens": 5, "prompt_tokens": float("inf")}, Usage(output_tokens=5, source="provider")),
        ({"completion_tokens": 5, "cost": 0}, Usage(output_tokens=5, source="provider", cost=Decimal(0))),
    ],
)
def test_usage_objects(given: dict[str, Any], expected: Usage | None) -> None:
    assert usage_of(given) == expected
