"""The wires: any events decode back to themselves, through an independent parser, at any split of the bytes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Start
from llm_stream.events import ToolCall
from llm_stream.events import Usage
from llm_stream.testing import read_events
from llm_stream.wire.answer import snapshot_of
from llm_stream.wire.native import NativeWire
from llm_stream.wire.sse import LINE_END
from llm_stream.wire.text import TextWire

text = st.text(st.characters(codec="utf-8"))
count = st.none() | st.integers(0, 10**9)
events = st.one_of(
    st.builds(Delta, text),
    st.builds(Reasoning, text),
    st.builds(Refusal, text),
    st.builds(ToolCall, st.integers(0, 9), text, st.none() | text, st.none() | text),
    st.builds(Reset, text),
    st.builds(Failure, text, text, st.booleans(), text, st.none() | st.floats(0, 100)),
    st.builds(Usage, count, count, count, count, st.none(), st.none() | st.just(Decimal("0.1")), st.none() | text),
    st.builds(Done, st.just("completed"), st.none() | text),
)
KINDS = {kind.type: kind for kind in (Start, Delta, Reasoning, Refusal, ToolCall, Reset, Failure, Usage, Done)}


def parse(stream: str) -> list[tuple[str, str, str]]:
    """(id, event, data) as the specification has it: not ours, and not in a hurry."""
    parsed, fields, last = [], {"event": "", "data": ""}, ""
    for line in LINE_END.split(stream):
        if not line:
            if fields["data"]:
                parsed.append((last, fields["event"] or "message", fields["data"][:-1]))
            fields = {"event": "", "data": ""}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                fields["data"] += value + "\n"
            elif name == "event":
                fields["event"] = value
            elif name == "id":
                last = value
    return parsed


@given(st.lists(st.lists(events, min_size=1)))
def test_native_wire_loses_nothing(batches: list[list[Event]]) -> None:
    wire, first, written = NativeWire(), 1, NativeWire().opening()
    for batch in batches:
        written += wire.encode("s", first, batch) + wire.heartbeat
        first += len(batch)
    read = parse(written.decode())
    assert [number for number, _, _ in read] == [f"s-{n}" for n in range(1, first)]
    decoded: list[Any] = [msgspec.json.decode(data, type=KINDS[kind]) for _, kind, data in read]
    assert decoded == [event for batch in batches for event in batch]
    assert read_events(written) == [(number, kind, msgspec.json.decode(data)) for number, kind, data in read]


def write_text(*given: Event) -> str:
    wire = TextWire()
    return wire.encode("s", 1, given).decode()


def classic(stream: str) -> str:
    lines = [line for line in stream.split("\n") if line.startswith("data: ") and line != "data: [DONE]"]
    return "".join(line[6:] for line in lines)


@given(st.lists(text))
def test_text_wire_loses_nothing_but_the_kind_of_line_end(texts: list[str]) -> None:
    stream = write_text(*map(Delta, texts), Done("completed"))
    messages = [data for _, _, data in parse(stream)]
    assert messages.pop() == "[DONE]"
    assert "[DONE]" not in messages
    assert "".join(messages) == LINE_END.sub("\n", "".join(texts))
    assert classic(stream) == LINE_END.sub("", "".join(texts))


@given(st.lists(text.filter(bool), min_size=1), st.data())
def test_text_wire_can_be_resumed_after_any_event(texts: list[str], data: st.DataObject) -> None:
    deltas = [Delta(text) for text in texts]
    after = data.draw(st.integers(1, len(deltas)))
    wire = TextWire()
    wire.resume(deltas[after - 1])
    resumed = wire.encode("s", after + 1, deltas[after:]).decode()
    assert write_text(*deltas) == write_text(*deltas[:after]) + resumed


def test_text_wire_ends_a_failure_with_a_paragraph() -> None:
    failure = Failure("x", "secret words", True, "e")
    stream = write_text(Start("s", "m", 1), Delta("Hello"), failure, Usage(), Done("failed"))
    assert [line for line in stream.split("\n") if line.startswith("data")] == [
        "data: Hello",
        "data: ",
        "data: ",
        "data: [Response interrupted. Please try again.]",
        "data: [DONE]",
    ]
    assert classic(write_text(failure, Done("failed"))) == "[Response interrupted. Please try again.]"


def test_text_wire_starts_again_after_a_reset() -> None:
    stream = write_text(Delta("Hel"), Reset("upstream_cut"), Delta("Hello"), Done("completed"))
    assert "".join(data for _, _, data in parse(stream)) == "Hel\n\n[The answer starts again.]\n\nHello[DONE]"


def test_answer_is_what_has_been_said_since_the_last_reset() -> None:
    start = Start("s", "m", 1)
    whole = snapshot_of(
        [start, Delta("void"), Reset("x"), Delta("He"), ToolCall(0, "{", "a", "f"), Delta("y"), ToolCall(0, "}")]
    )
    assert (whole.text, whole.status) == ("Hey", "running")
    assert whole.tool_calls == [{"id": "a", "name": "f", "arguments": "{}"}]
