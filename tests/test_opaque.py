"""What a provider wants back with its message comes back, byte for byte, whichever way the conversation takes."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from llm_stream.events import Event
from llm_stream.events import Opaque
from llm_stream.events import ToolCall
from llm_stream.upstream.chunks import ChunkDecoder

from .test_chunks import as_sent
from .test_chunks import delta
from .test_chunks import message


def fed(*chunks: dict[str, Any]) -> list[Event]:
    decoder = ChunkDecoder()
    return [event for chunk in chunks for event in decoder.feed(as_sent(chunk))]


def opaque_in(*chunks: dict[str, Any]) -> list[Opaque]:
    return [event for event in fed(*chunks) if isinstance(event, Opaque)]


def fields_in(*chunks: dict[str, Any]) -> dict[str, Any]:
    return opaque_in(*chunks)[-1].fields


def text(text: str | None, index: int | None = 0, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "index": index} | more


END = delta(finish="stop")
SIGNED = {"google": {"thought_signature": "c2ln"}}
ENCRYPTED = {"type": "reasoning.encrypted", "data": "ZW5j", "id": "rs_1", "format": "openai-responses-v1", "index": 1}

DETAILS: dict[str, tuple[list[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "pieces of one text": ([[text("Let ")], [text("me "), text("see.")]], [text("Let me see.")]),
    "a signature at the end": (
        [[text("Hm", signature=None)], [text(None, signature="sig")], [text("", signature=None)]],
        [text("Hm", signature="sig")],
    ),
    "several blocks": ([[text("a")], [text("b", 1)], [text("c", 1)]], [text("a"), text("bc", 1)]),
    "another type at the same index": (
        [[text("a")], [{"type": "reasoning.encrypted", "data": "x", "index": 0}]],
        [text("a"), {"type": "reasoning.encrypted", "data": "x", "index": 0}],
    ),
    "pieces of data": ([[ENCRYPTED | {"data": "ZW"}], [ENCRYPTED | {"data": "5j"}]], [ENCRYPTED]),
    "data of two calls": ([[ENCRYPTED, ENCRYPTED | {"id": "rs_2"}]], [ENCRYPTED, ENCRYPTED | {"id": "rs_2"}]),
    "fields that are new": (
        [[ENCRYPTED, ENCRYPTED | {"data": "", "new": [1, {"é": 1.5}]}]],
        [ENCRYPTED | {"new": [1, {"é": 1.5}]}],
    ),
    "no index": ([[text("a", None)], [text("b", None)]], [text("ab", None)]),
    "half a pair of UTF-16": (
        [[text("\ud83e")], [text("\udde0")], [text("\ud83e", 1)]],
        [text("🧠"), text("\ufffd", 1)],
    ),
    "what is no detail": ([[5, None, text("a")]], [text("a")]),  # type: ignore[list-item]
}


@pytest.mark.parametrize("case", DETAILS)
def test_reasoning_details_are_put_together(case: str) -> None:
    given, expected = DETAILS[case]
    fields = fields_in(*[delta(content="x", reasoning_details=each) for each in given], END)
    assert fields == {"reasoning_details": expected}


def test_whole_message_has_them_as_they_are() -> None:
    details = [text("Hm", signature="sig"), ENCRYPTED]
    expected: dict[str, Any] = {"reasoning_details": details, "extra_content": SIGNED}
    assert fields_in(message(content="x", **expected)) == expected
    streamed = delta(content="x", reasoning_details=[text("H")])
    assert fields_in(streamed, message(content="x", **expected)) == expected


EXTRA: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "beside the text": ([delta(content="x", extra_content=SIGNED), END], SIGNED),
    "with an empty text": ([delta(content="x"), delta(content="", extra_content=SIGNED), END], SIGNED),
    "with the finish_reason": ([delta(content="x"), delta(finish="stop", content="", extra_content=SIGNED)], SIGNED),
    "after the finish_reason": ([delta(content="x"), END, delta(content="", extra_content=SIGNED)], SIGNED),
    "in parts": (
        [delta(extra_content={"google": {"new": True}}), delta(extra_content=SIGNED | {"other": None}), END],
        {"google": {"new": True, "thought_signature": "c2ln"}, "other": None},
    ),
    "without the mark of thoughts": (
        [delta(content="<thought>Hm", extra_content={"google": {"thought": True}}), delta(extra_content=SIGNED), END],
        SIGNED,
    ),
    "and then nothing": ([delta(extra_content=SIGNED), delta(extra_content={"google": None}), END], SIGNED),
}


@pytest.mark.parametrize("case", EXTRA)
def test_extra_content_comes_wherever_it_likes(case: str) -> None:
    chunks, expected = EXTRA[case]
    assert fields_in(*chunks) == {"extra_content": expected}


def test_state_after_the_end_is_told_again() -> None:
    first, second = opaque_in(delta(reasoning="r"), END, delta(content="", extra_content=SIGNED), END)
    assert first == Opaque(reasoning="reasoning")
    assert second == Opaque({"extra_content": SIGNED}, reasoning="reasoning")


def test_answer_without_state_has_no_event() -> None:
    assert not opaque_in(delta(content="x", reasoning_details=[], extra_content={}, reasoning=None), END)


@pytest.mark.parametrize(
    "first, second, name",
    [
        ({"reasoning_content": "r"}, {}, "reasoning_content"),
        ({"reasoning": "r"}, {}, "reasoning"),
        ({"reasoning": "r", "reasoning_content": "r"}, {}, "reasoning_content"),
        ({"reasoning": "r"}, {"reasoning_content": "r"}, "reasoning_content"),
        ({"reasoning_content": "r"}, {"reasoning": "r"}, "reasoning_content"),
    ],
)
def test_name_of_the_reasoning_is_the_provider_s(first: Any, second: Any, name: str) -> None:
    assert opaque_in(delta(**first), delta(**second), END) == [Opaque(reasoning=name)]


def call(**fields: Any) -> dict[str, Any]:
    return delta(tool_calls=[{"index": 0} | fields])


BEGUN = {"id": "a", "function": {"name": "f", "arguments": ""}}
CALLS: dict[str, list[dict[str, Any]]] = {
    "on the first fragment": [call(**BEGUN, extra_content=SIGNED), call(function={"arguments": "{}"})],
    "on the last": [call(**BEGUN), call(function={"arguments": "{}"}, extra_content=SIGNED)],
    "on a fragment of its own": [call(**BEGUN), call(function={"arguments": "{}"}), call(extra_content=SIGNED)],
    "before the name": [call(id="a", extra_content=SIGNED), call(function={"name": "f", "arguments": "{}"})],
    "on each": [call(**BEGUN, extra_content=SIGNED), call(function={"arguments": "{}"}, extra_content=SIGNED)],
    "in a whole message": [
        message("tool_calls", tool_calls=[{"id": "a", "function": {"name": "f"}, "extra_content": SIGNED}])
    ],
    "repeated in a message": [
        call(**BEGUN, extra_content=SIGNED),
        message("tool_calls", tool_calls=[BEGUN | {"extra_content": SIGNED}]),
    ],
}


@pytest.mark.parametrize("case", CALLS)
def test_extra_content_of_a_call_is_told_once(case: str) -> None:
    told = [event.opaque for event in fed(*CALLS[case]) if isinstance(event, ToolCall) and event.opaque]
    assert told == [{"extra_content": SIGNED}]


MIB = "x" * 2**20
TOO_LARGE: dict[str, list[dict[str, Any]]] = {
    "details": [delta(reasoning_details=[text("x" * 2**16, 0)]) for _ in range(8)],
    "equal details": [delta(reasoning_details=[text(MIB, 0)])],
    "extra_content": [delta(extra_content={"a": MIB}), delta(extra_content={"b": MIB})],
    "a call's": [call(**BEGUN, extra_content={"a": MIB}), call(extra_content={"b": "x"})],
    "reasoning": [delta(reasoning=MIB)],
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_too_much_is_dropped_with_one_warning(case: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "llm_stream"):
        events = fed(*TOO_LARGE[case], END, delta(content="", extra_content={"still": "there"}))
    opaque = [event for event in events if isinstance(event, Opaque)]
    assert all("reasoning_details" not in event.fields and event.reasoning is None for event in opaque)
    assert not [event for event in events if isinstance(event, ToolCall) and event.opaque]
    assert all(len(json.dumps(event.fields)) < 100 for event in opaque)
    (record,) = caplog.records
    assert "xxx" not in record.getMessage() and "262144" in record.getMessage()
