"""Fragments of tool calls, as servers number them, become the calls that the model made."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.events import ToolCall
from llm_stream.upstream.chunks import ChunkDecoder

MADE_ID = re.compile(r"call_[0-9a-f]{24}")

Fragment = dict[str, Any]
Made = tuple[str | None, str | None, str]
"""Id, name and arguments of a call; an id of our own is None here."""


def fragment(
    index: int | None = None, id: str | None = None, name: str | None = None, arguments: Any = None
) -> Fragment:
    function = {"name": name, "arguments": arguments}
    given = {"index": index, "id": id, "type": "function"}
    return {key: value for key, value in given.items() if value is not None} | {
        "function": {key: value for key, value in function.items() if value is not None}
    }


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def events_of(*chunks: dict[str, Any]) -> list[ToolCall]:
    decoder = ChunkDecoder()
    events = [event for each in chunks for event in decoder.feed(json.dumps(each).encode())]
    assert all(isinstance(event, ToolCall) for event in events)
    return events  # type: ignore[return-value]


def calls_of(*fragments: Fragment | list[Fragment]) -> list[Made]:
    """The calls that come of fragments, each sent by itself; those in a list are sent together."""
    together = [each if isinstance(each, list) else [each] for each in fragments]
    return put_together(events_of(*[chunk(tool_calls=each) for each in together], chunk("tool_calls")))


def put_together(events: list[ToolCall]) -> list[Made]:
    """As a client does it, by the index alone."""
    calls: list[tuple[str, str | None, str]] = []
    for event in events:
        if event.index == len(calls):  # they begin in order
            assert event.id
            calls.append((event.id, event.name, ""))
        else:
            assert event.id is None and event.name is None
        call_id, name, arguments = calls[event.index]
        calls[event.index] = (call_id, name, arguments + event.arguments)
    ids = [call_id for call_id, _, _ in calls]
    assert len(ids) == len(set(ids))
    return [(None if MADE_ID.fullmatch(call_id) else call_id, name, arguments) for call_id, name, arguments in calls]


CASES: dict[str, tuple[list[Fragment | list[Fragment]], list[Made]]] = {
    "calls that share an index, by their ids": (
        [
            *[fragment(0, "a", "f"), fragment(0, arguments='{"x"'), fragment(0, arguments=":1}")],
            *[fragment(0, "b", "g"), fragment(0, arguments='{"y"'), fragment(0, arguments=":2}")],
        ],
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
    ),
    "calls that share an index, by their names": (
        [fragment(0, None, "f"), fragment(0, arguments='{"x":1}'), fragment(0, None, "g"), fragment(0, arguments="{}")],
        [(None, "f", '{"x":1}'), (None, "g", "{}")],
    ),
    "calls of one function without ids": (
        [fragment(0, None, "f", '{"x":1}'), fragment(0, None, "f", '{"x":2}')],
        [(None, "f", '{"x":1}'), (None, "f", '{"x":2}')],
    ),
    "calls of one function without ids, whose arguments come later": (
        [
            *[fragment(0, None, "f", ""), fragment(0, arguments="{}")],
            *[fragment(0, None, "f", ""), fragment(0, arguments="{}")],
        ],
        [(None, "f", "{}"), (None, "f", "{}")],
    ),
    "calls of one function without ids or arguments, together": (
        [[fragment(None, None, "f"), fragment(None, None, "f", "{}")]],
        [(None, "f", ""), (None, "f", "{}")],
    ),
    "neither ids nor indices": (
        [fragment(name="f", arguments="{"), fragment(arguments="}"), fragment(name="g", arguments="{}")],
        [(None, "f", "{}"), (None, "g", "{}")],
    ),
    "interleaved, by their indices": (
        [
            *[fragment(0, "a", "f", "{"), fragment(1, "b", "f", "{")],
            *[fragment(0, arguments='"x":1'), fragment(1, arguments='"y":2'), fragment(0, arguments="}")],
            fragment(1, arguments="}"),
        ],
        [("a", "f", '{"x":1}'), ("b", "f", '{"y":2}')],
    ),
    "interleaved, by their indices, without ids": (
        [
            fragment(3, None, "f", "{"),
            fragment(7, None, "f", "{"),
            fragment(3, arguments="}"),
            fragment(7, arguments="}"),
        ],
        [(None, "f", "{}"), (None, "f", "{}")],
    ),
    "interleaved, by their ids": (
        [
            fragment(id="a", name="f", arguments="{"),
            fragment(id="b", name="g", arguments="{"),
            fragment(id="a", arguments="}"),
        ],
        [("a", "f", "{}"), ("b", "g", "{")],
    ),
    "indices that come after the calls have begun": (
        [
            fragment(id="a", name="f"),
            fragment(id="b", name="g"),
            fragment(0, arguments="{}"),
            fragment(1, arguments="[]"),
        ],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "an index of nothing": (
        [fragment(id="a", name="f"), fragment(9, arguments="{}")],
        [("a", "f", "{}")],
    ),
    "id and name on every fragment": (
        [fragment(0, "a", "f", "{"), fragment(0, "a", "f", '"x":1'), fragment(0, "a", "f", "}")],
        [("a", "f", '{"x":1}')],
    ),
    "the name on every fragment": (
        [
            fragment(0, None, "f", '{"x":{'),
            fragment(0, None, "f", "}"),
            fragment(0, None, "f", "}"),
            fragment(0, None, "f", ""),
        ],
        [(None, "f", '{"x":{}}')],
    ),
    "the name on every fragment, and braces in a text": (
        [fragment(0, None, "f", '{"x":"}'), fragment(0, None, "f", '{"}')],
        [(None, "f", '{"x":"}{"}')],
    ),
    "the id on every fragment": (
        [fragment(None, "a", "f"), fragment(None, "a", None, "{"), fragment(None, "a", None, "}")],
        [("a", "f", "{}")],
    ),
    "an empty id and name": (
        [fragment(0, "a", "f", "{"), fragment(0, "", "", "}"), fragment(1, "", "g", "{}")],
        [("a", "f", "{}"), (None, "g", "{}")],
    ),
    "the name after the id": (
        [fragment(0, "a"), fragment(0, None, "f"), fragment(0, arguments="{}")],
        [("a", "f", "{}")],
    ),
    "the name after the id and arguments, and the id again": (
        [fragment(0, "a", None, "{"), fragment(0, "a", "f", "}")],
        [("a", "f", "{}")],
    ),
    "the name after the next call": (
        [fragment(0, "a"), fragment(1, "b", "g", "{}"), fragment(0, None, "f", "{}")],
        [("b", "g", "{}"), ("a", "f", "{}")],
    ),
    "no name at all": ([fragment(0, "a", None, "{}")], [("a", None, "{}")]),
    "the id after the name": (
        [fragment(0, None, "f"), fragment(0, "a", None, "{"), fragment(0, "a", None, "}")],
        [(None, "f", "{}")],
    ),
    "an id after a call that is whole": (
        [fragment(0, None, "f", "{}"), fragment(0, "b"), fragment(0, None, "g", "{}")],
        [(None, "f", "{}"), ("b", "g", "{}")],
    ),
    "arguments that are an object": (
        [fragment(0, "a", "f", {"x": [1, "é"]}), fragment(1, "b", "g", {})],
        [("a", "f", '{"x":[1,"é"]}'), ("b", "g", "{}")],
    ),
    "arguments that are an object, of calls without ids": (
        [fragment(None, None, "f", {"x": 1}), fragment(None, None, "f", {"x": 2})],
        [(None, "f", '{"x":1}'), (None, "f", '{"x":2}')],
    ),
    "arguments that are nothing": ([fragment(0, "a", "f", 7), fragment(0, arguments=True)], [("a", "f", "")]),
    "an id that is a number": ([fragment(0, 7, "f", "{}")], [("7", "f", "{}")]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", CASES)
def test_fragments_become_the_calls_that_were_made(case: str) -> None:
    fragments, expected = CASES[case]
    assert calls_of(*fragments) == expected


@pytest.mark.parametrize("index", [None, 0])
def test_call_without_an_id_gets_one_of_its_own_with_its_first_event(index: int | None) -> None:
    first, more, second = events_of(
        chunk(tool_calls=[fragment(index, None, "f", "{")]),
        chunk(tool_calls=[fragment(index, None, None, "}")]),
        chunk(tool_calls=[fragment(index, None, "g", "{}")]),
    )
    assert MADE_ID.fullmatch(first.id or "") and MADE_ID.fullmatch(second.id or "")
    assert first.id != second.id and more.id is None


def test_old_function_call_is_a_tool_call() -> None:
    decoder = ChunkDecoder()
    chunks = [
        chunk(role="assistant", content=None, function_call={"name": "f", "arguments": ""}),
        chunk(content="", function_call={"arguments": '{"x"'}),
        chunk(function_call={"arguments": ":1}"}),
        chunk("function_call"),
    ]
    events: list[Any] = [event for each in chunks for event in decoder.feed(json.dumps(each).encode())]
    assert put_together(events) == [(None, "f", '{"x":1}')]
    assert decoder.end().status == "completed"


def test_function_call_beside_its_tool_call_is_not_a_second_one() -> None:
    both: dict[str, Any] = {
        "tool_calls": [fragment(0, "a", "f", "{}")],
        "function_call": {"name": "f", "arguments": "{}"},
    }
    assert put_together(events_of(chunk(**both))) == [("a", "f", "{}")]


texts = st.text(st.characters(codec="utf-8"), max_size=8)
arguments = st.dictionaries(texts, st.one_of(texts, st.dictionaries(texts, texts, max_size=2)), max_size=3)


@st.composite
def calls_in_fragments(draw: st.DrawFn) -> tuple[list[Fragment], list[tuple[str, str]]]:
    """Calls, cut anywhere and sent in one of the ways in which servers send them; names and arguments expected."""
    count = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from(["f", "g"]), min_size=count, max_size=count))
    written = [json.dumps(draw(arguments)) for _ in range(count)]
    by_index, by_id = draw(st.booleans()), draw(st.booleans())
    repeats_id, repeats_name, late_name = by_id and draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    streams: list[list[Fragment]] = []
    for number, (name, text) in enumerate(zip(names, written, strict=True)):
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        index, call_id = number if by_index else None, f"id{number}" if by_id else None
        first = late_name and by_id and len(pieces) > 1
        streams.append(
            [
                fragment(
                    index,
                    call_id if at == 0 or repeats_id else None,
                    name if at == int(first) or (at > int(first) and repeats_name) else None,
                    piece,
                )
                for at, piece in enumerate(pieces)
            ]
        )
    interleaved = (by_index or (by_id and repeats_id)) and draw(st.booleans())
    sent: list[Fragment] = []
    begun: list[int] = []
    while any(streams):
        waiting = [number for number, stream in enumerate(streams) if stream]
        number = draw(st.sampled_from(waiting)) if interleaved else waiting[0]
        sent.append(streams[number].pop(0))
        if "name" in sent[-1]["function"] and number not in begun:
            begun.append(number)
    return sent, [(names[number], written[number]) for number in begun]


@given(calls_in_fragments())
def test_calls_come_back_from_any_fragments(made: tuple[list[Fragment], list[tuple[str, str]]]) -> None:
    fragments, expected = made
    assert [(name, arguments) for _, name, arguments in calls_of(*fragments)] == expected
