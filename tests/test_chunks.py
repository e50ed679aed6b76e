"""Chat completion chunks as providers really send them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from llm_stream.errors import UpstreamCut
from llm_stream.errors import UpstreamError
from llm_stream.errors import UpstreamThrottled
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Source
from llm_stream.events import ToolCall
from llm_stream.events import Usage
from llm_stream.upstream.chunks import ChunkDecoder
from llm_stream.upstream.figures import usage_of


def chunk(*, finish: str | None = None, usage: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage}


def as_sent(chunk: Any) -> bytes:
    return json.dumps(chunk).encode()


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


def message(finish: str | None = "stop", id: str = "c", delta: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant"} | fields, "finish_reason": finish}
    return {"id": id, "model": "m", "choices": [choice if delta is None else choice | {"delta": delta}]}


def delta(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m"} | chunk(**fields)


WHOLE_CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}

REPEATED: dict[str, tuple[list[dict[str, Any]], list[Event]]] = {
    "instead of a delta": ([delta(content="Hello"), delta(content=" world"), message(content="Hello world")], []),
    "beside an empty delta": ([delta(content="Hello"), message(content="Hello", delta={})], []),
    "beside a delta": ([delta(content="Hel"), message(content="Hello", delta={"content": "lo"})], [Delta("lo")]),
    "after the finish_reason": ([delta(content="Hello"), delta(finish="stop"), message(content="Hello")], []),
    "trimmed": ([delta(content="\n\nHello "), message(content="Hello")], []),
    "with more text": ([delta(content="Hello"), message(content="Hello world")], [Delta(" world")]),
    "trimmed, with more text": ([delta(content="\nHello"), message(content="Hello world")], [Delta(" world")]),
    "with another text": ([delta(content="<think>x</think>Hello"), message(content="Hello")], []),
    "with half a pair": ([delta(content="a\ud83e"), message(content="a🧠b")], [Delta("🧠b")]),
    "with reasoning": (
        [delta(reasoning_content="r"), delta(content="x"), message(content="x", reasoning_content="r", refusal=None)],
        [Opaque(reasoning="reasoning_content")],
    ),
    "where only the reasoning came before": (
        [delta(reasoning="r"), message(content="x", reasoning="rs")],
        [Reasoning("s"), Delta("x"), Opaque(reasoning="reasoning")],
    ),
    "with a refusal": ([delta(refusal="no"), message(content=None, refusal="no")], []),
    "with tool calls": (
        [delta(tool_calls=[{"index": 0, **WHOLE_CALL}]), message("tool_calls", content=None, tool_calls=[WHOLE_CALL])],
        [],
    ),
    "with tool calls under other ids": (
        [delta(tool_calls=[{"index": 0, **WHOLE_CALL}]), message("tool_calls", tool_calls=[WHOLE_CALL | {"id": "z"}])],
        [],
    ),
    "with tool calls whose arguments are an object": (
        [
            delta(tool_calls=[{"index": 0, **WHOLE_CALL}]),
            message("tool_calls", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]),
        ],
        [],
    ),
    "with more arguments, and another call": (
        [
            delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]),
            message("tool_calls", tool_calls=[WHOLE_CALL, {"id": "b", "function": {"name": "g", "arguments": "{}"}}]),
        ],
        [ToolCall(0, ":1}"), ToolCall(1, "{}", "b", "g")],
    ),
    "with an old function call": (
        [
            delta(function_call={"name": "f", "arguments": "{}"}),
            message("function_call", content=None, function_call={"name": "f", "arguments": "{}"}),
        ],
        [],
    ),
    "in every chunk (Perplexity)": (
        [
            message(None, content="Hel", delta={"role": "assistant", "content": "Hel"}),
            message(None, content="Hello", delta={"content": "lo"}),
            message("stop", content="Hello", delta={"content": ""}),
        ],
        [],
    ),
    "in every chunk, without deltas": (
        [message(None, content="Hel"), message(None, content="Hello"), message("stop", content="Hello world")],
        [Delta(" world")],
    ),
    "in pieces": ([message(None, content="Hel"), message("stop", content="lo")], [Delta("lo")]),
}


@pytest.mark.parametrize("case", REPEATED)
def test_message_says_only_what_the_deltas_have_not(case: str) -> None:
    chunks, expected = REPEATED[case]
    decoder = ChunkDecoder()
    *_, last = [decoder.feed(as_sent(each)) for each in chunks]
    assert last == expected
    assert decoder.end().status == "completed"


def test_ids_that_differ_in_each_chunk_do_not_make_a_message_another_answer() -> None:
    chunks = [
        delta(content="Hello") | {"id": "1"},
        delta(finish="stop") | {"id": "2"},
        message(id="3", content="Hello"),
    ]
    assert decoded(*chunks) == [Delta("Hello")]


def test_whole_answer_has_all_that_a_message_can_have() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "f", "arguments": "{}"}}]
    whole = message("tool_calls", reasoning="r", content="x", refusal="no", tool_calls=calls)
    decoder = ChunkDecoder()
    *said, first, second, opaque = decoder.feed(
        as_sent(whole | {"usage": {"prompt_tokens": 3, "completion_tokens": 1}})
    )
    assert said == [Reasoning("r"), Delta("x"), Refusal("no")]
    assert opaque == Opaque(reasoning="reasoning")
    assert isinstance(first, ToolCall) and isinstance(second, ToolCall)
    assert [(call.index, call.name, call.arguments) for call in (first, second)] == [(0, "f", "{}"), (1, "f", "{}")]
    assert first.id and second.id and first.id != second.id
    assert decoder.end().events() == [Usage(3, 1, source="provider"), Done("completed", "tool_calls")]


ERROR = {"error": {"message": "PROVIDER WORDS", "code": 429}}


@pytest.mark.parametrize("before", [[], [{"choices": []}], [{"choices": [], "usage": {"prompt_tokens": 0}}]])
@pytest.mark.parametrize("payload", [ERROR, [ERROR], ERROR | {"choices": [{"delta": {"content": ""}}]}])
def test_error_before_anything_was_said_is_a_refusal(before: list[dict[str, Any]], payload: Any) -> None:
    decoder = ChunkDecoder()
    for each in before:
        decoder.feed(as_sent(each))
    with pytest.raises(UpstreamThrottled):
        decoder.feed(as_sent(payload))
    assert not decoder.attempt.accepted and decoder.attempt.figures is None


@pytest.mark.parametrize(
    "before",
    [
        chunk(content="x"),
        chunk(role="assistant", content=""),
        {"choices": [{"index": 1, "delta": {"content": "another answer"}}]},
        {"choices": [], "usage": {"prompt_tokens": 3}},
    ],
)
def test_error_after_that_is_none(before: dict[str, Any]) -> None:
    decoder = ChunkDecoder()
    decoder.feed(as_sent(before))
    with pytest.raises(UpstreamThrottled):
        decoder.feed(as_sent(ERROR))
    assert decoder.attempt.accepted


def test_error_with_figures_is_no_refusal() -> None:
    decoder = ChunkDecoder()
    with pytest.raises(UpstreamThrottled):
        decoder.feed(as_sent(ERROR | {"usage": {"prompt_tokens": 3}}))
    assert decoder.attempt.accepted and decoder.attempt.figures == Usage(input_tokens=3, source="provider")


@pytest.mark.parametrize("said", [delta(content="x"), message(content="x"), delta(tool_calls=[WHOLE_CALL])])
def test_error_with_words_is_no_refusal(said: dict[str, Any]) -> None:
    decoder = ChunkDecoder()
    with pytest.raises(UpstreamThrottled):
        decoder.feed(as_sent(said | ERROR))
    assert decoder.attempt.accepted


def test_what_only_might_be_an_error_is_one_only_in_the_place_of_the_first_chunk() -> None:
    decoder = ChunkDecoder()
    assert decoder.events(chunk(content="x")) == [Delta("x")]
    assert decoder.events({"detail": "still at it"}) == []


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
    assert decoder.end().events() == [Done(status, reason)]


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


def cited(url: str, title: str = "", start: int = 0, end: int = 0, **more: Any) -> dict[str, Any]:
    fields = {"url": url, "title": title, "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": fields} | more


PNG = "data:image/png;base64,iVBORw0KGgo="
SEARCHED = {
    "citations": ["https://a.example", "https://b.example"],
    "search_results": [{"url": "https://b.example", "title": "B", "date": "2025-01-01"}],
}

SOURCES: dict[str, tuple[list[dict[str, Any]], list[Event]]] = {
    "OpenRouter's annotations": (
        [chunk(content="x", annotations=[cited("https://a.example", "A", 0, 1, index=0)])],
        [Delta("x"), Source("https://a.example", "A", 0, 1)],
    ),
    "two places of one page": (
        [chunk(annotations=[cited("https://a.example", "A", 0, 3), cited("https://a.example", "A", 4, 9)])],
        [Source("https://a.example", "A", 0, 3), Source("https://a.example", "A", 4, 9)],
    ),
    "no place": ([chunk(annotations=[cited("https://a.example", "A")])], [Source("https://a.example", "A")]),
    "repeated in the message": (
        [
            chunk(content="x", annotations=[cited("https://a.example")]),
            message(annotations=[cited("https://a.example")]),
        ],
        [Delta("x"), Source("https://a.example")],
    ),
    "with its fields beside the type": (
        [chunk(annotations=[{"type": "url_citation", "url": "https://a.example", "title": "A"}])],
        [Source("https://a.example", "A")],
    ),
    "Perplexity's, in every chunk": (
        [chunk(content="x") | SEARCHED, chunk(content="y") | SEARCHED, {"choices": []} | SEARCHED],
        [Delta("x"), Source("https://b.example", "B"), Source("https://a.example"), Delta("y")],
    ),
    "xAI's, in the last chunk": (
        [chunk(content="x"), {"choices": [], "citations": ["https://a.example"]}],
        [Delta("x"), Source("https://a.example")],
    ),
    "what no page may link to": (
        [
            chunk(annotations=[cited("javascript:alert(1)"), {"type": "file_citation"}, None, {}]),
            {"choices": [], "citations": ["data:text/html,x", None, 5], "search_results": "x"},
        ],
        [],
    ),
    "OpenRouter's images": (
        [chunk(content="", images=[{"type": "image_url", "image_url": {"url": PNG}}])],
        [File(PNG, "image/png")],
    ),
    "an image in every form": (
        [
            chunk(images=[{"image_url": {"url": "https://a.example/x.webp?y"}}, {"image_url": "https://a.example/z"}]),
            message(images=[{"image_url": {"url": "https://a.example/z"}}]),
        ],
        [File("https://a.example/x.webp?y", "image/webp"), File("https://a.example/z", "image/*")],
    ),
    "what no page may show": (
        [
            chunk(
                images=[{"image_url": {"url": "http://10.0.0.1/x.png"}}, {"image_url": {"url": "data:text/html,x"}}, {}]
            )
        ],
        [],
    ),
}


@pytest.mark.parametrize("case", SOURCES)
def test_sources_and_files_come_once_each(case: str) -> None:
    chunks, expected = SOURCES[case]
    decoder = ChunkDecoder()
    assert [event for each in chunks for event in decoder.feed(as_sent(each))] == expected


@pytest.mark.parametrize(
    "more",
    [
        {"reasoning_details": [{"type": "reasoning.text", "text": "r", "index": 0}]},
        {"extra_content": {"google": {"thought_signature": "s"}}},
        {"annotations": [cited("https://a.example")]},
        {"images": [{"image_url": {"url": PNG}}]},
    ],
)
def test_nothing_is_overlooked_in_the_middle_of_the_text(more: dict[str, Any]) -> None:
    decoder = ChunkDecoder()
    middle, end = delta(content="b") | delta(content="b", **more), delta(finish="stop")
    events = [event for each in (delta(content="a"), middle, end) for event in decoder.feed(as_sent(each))]
    assert events[:2] == [Delta("a"), Delta("b")]
    assert isinstance(events[2], (Opaque, Source, File)) and len(events) == 3
