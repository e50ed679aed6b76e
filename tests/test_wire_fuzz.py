"""Every wire: any answer decodes back to itself through an independent parser, at any split of the bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai import APIError
from openai import OpenAI
from openai.types.chat import ChatCompletionMessage

from llm_stream.events import CONTENT
from llm_stream.events import KINDS
from llm_stream.events import Approval
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Source
from llm_stream.events import Start
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.events import Usage
from llm_stream.wire.native import NativeWire
from llm_stream.wire.openai import OpenAIWire
from llm_stream.wire.openai import completion_of

from .sequences import STREAM_ID
from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written


def messages(pieces: Iterable[bytes]) -> Iterable[tuple[str, str, str]]:
    """(id, event, data) of an event stream with nothing but LF in it: as plain a parser as there can be."""
    buffer, last_id = b"", ""
    for piece in pieces:
        buffer += piece
        *blocks, buffer = buffer.split(b"\n\n")
        for block in blocks:
            lines = [line for line in block.decode().split("\n") if line and not line.startswith(":")]
            fields = dict(line.split(": ", 1) for line in lines)
            last_id = fields.get("id", last_id)
            if "data" in fields:
                yield last_id, fields.get("event", "message"), fields["data"]
    assert not buffer, "the last event is not ended by a blank line"


@given(st.data(), well_formed_sequences(agents=True))
def test_native_wire_decodes_back_to_itself(data: st.DataObject, events: list[Event]) -> None:
    body = written(NativeWire(), data.draw(batches(events)))
    read = list(messages(data.draw(splits(body))))
    assert [number for number, _, _ in read] == [f"{STREAM_ID}-{n}" for n in range(1, len(events) + 1)]
    assert [msgspec.convert(json.loads(payload), KINDS[kind]) for _, kind, payload in read] == events


TOLD = CONTENT | {Step}

Answer = tuple[list[dict[str, Any]], dict[str, Any] | None]
"""What a client of OpenAI's sees: the chunks, and the error that it raises after them."""


class Canned(httpx2.BaseTransport):
    """Answers with these pieces, each of them one read."""

    pieces: Iterable[bytes] = ()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=iter(self.pieces), request=request)


canned = Canned()
sdk = OpenAI(base_url="http://canned", api_key="none", http_client=httpx2.Client(transport=canned))


def read_by_the_sdk(pieces: Iterable[bytes]) -> Answer:
    canned.pieces = pieces
    chunks = []
    try:
        for chunk in sdk.chat.completions.create(model="m", messages=[], stream=True):
            chunks.append(chunk.to_dict(mode="json"))
    except APIError as error:
        assert isinstance(error.body, dict)
        return chunks, error.body
    return chunks, None


def read_plainly(pieces: Iterable[bytes]) -> Answer:
    *payloads, end = [payload for _, _, payload in messages(pieces)]
    assert end == "[DONE]"
    read = [json.loads(payload) for payload in payloads]
    error = read.pop()["error"] if "error" in read[-1] else None
    return read, error


class Said:
    """The events that the deltas of one answer were made of. Entries of the further lists are numbered."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def events_in(self, delta: dict[str, Any]) -> Iterable[Event]:
        texts = {"content": Delta, "reasoning_content": Reasoning, "refusal": Refusal}
        further = {"annotations": source_in, "images": image_in, "llm_stream": own_event_in}
        for name, value in delta.items():
            if name in texts:
                yield texts[name](value)
            elif name == "tool_calls":
                yield from map(call_in, value)
            else:
                (entry,) = value
                assert entry.pop("index") == self._counts[name]
                self._counts[name] += 1
                yield further[name](entry)


def call_in(fragment: dict[str, Any]) -> Event:
    function, extra = fragment["function"], fragment.get("extra_content")
    opaque = None if extra is None else {"extra_content": extra}
    return ToolCall(
        fragment["index"], function["arguments"], fragment.get("id"), function.get("name"), False, opaque=opaque
    )


def source_in(entry: dict[str, Any]) -> Event:
    assert entry["type"] == "url_citation"
    fields = entry["url_citation"]
    start, end = fields["start_index"], fields["end_index"]
    return Source(fields["url"], fields["title"] or None, *((start, end) if end else ()))


def image_in(entry: dict[str, Any]) -> Event:
    assert entry["type"] == "image_url"
    return image(entry["image_url"]["url"])


def image(url: str) -> Event:
    """This form has neither its type nor its name."""
    return File(url, "image/png")


def own_event_in(entry: dict[str, Any]) -> Event:
    ((kind, fields),) = entry.items()
    return msgspec.convert(fields, KINDS[kind])


def to_be_told(events: list[Event]) -> list[Event]:
    """As the chunks should have it: the client's calls count from 0, and the provider's own fields are at the end."""
    numbers: dict[int, int] = {}
    servers: set[int] = set()
    told: list[Event] = []
    for event in events:
        if isinstance(event, ToolCall):
            servers |= {event.index} if event.server else set()
            if event.index not in servers:
                event = replace(event, index=numbers.setdefault(event.index, len(numbers)))
        elif isinstance(event, File) and event.media_type == "image/png":
            event = image(event.url)
        if type(event) in TOLD:
            told.append(event)
    return told


def state_at_the_end(events: list[Event]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for event in events:
        if isinstance(event, (Opaque, Step)):
            state = event.fields if isinstance(event, Opaque) else {}
    return state


def usage_in(given: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=given.get("prompt_tokens"),
        output_tokens=given.get("completion_tokens"),
        cached_tokens=given.get("prompt_tokens_details", {}).get("cached_tokens"),
        reasoning_tokens=given.get("completion_tokens_details", {}).get("reasoning_tokens"),
        source=given["source"],
        cost=Decimal(str(given["cost"])) if "cost" in given else None,
        currency=given["currency"],
    )


def has_open_calls(events: list[Event]) -> bool:
    closed = {event.id for event in events if isinstance(event, ToolResult)}
    return any(
        isinstance(event, ToolCall) and event.id and not event.server and event.id not in closed for event in events
    )


def check_ending(events: list[Event], reasons: list[str | None], error: dict[str, Any] | None) -> None:
    """An answer that is whole has a finish_reason, any other an error."""
    failures, done = [event for event in events if isinstance(event, Failure)], events[-1]
    assert isinstance(done, Done)
    assert not any(reasons[:-1])
    if done.status not in ("completed", "incomplete"):
        code = failures[0].code if failures else done.status
        assert error and error["code"] == code.replace("context_too_long", "context_length_exceeded")
        assert not failures or error["message"] == failures[0].message
        assert reasons[-1] is None
    else:
        assert error is None
        assert reasons[-1] in ("stop", "length", "tool_calls", "content_filter")
        assert done.finish_reason in (reasons[-1], "tool_calls", "function_call", "eos", "max_tokens", None)
        assert reasons[-1] != "tool_calls" or has_open_calls(events)


@pytest.mark.parametrize("read", [read_by_the_sdk, read_plainly])
@given(data=st.data(), events=well_formed_sequences(resets=False, agents=True), include_usage=st.booleans())
def test_openai_wire_decodes_back_to_itself(
    read: Callable[[Iterable[bytes]], Answer], data: st.DataObject, events: list[Event], include_usage: bool
) -> None:
    wire = OpenAIWire(include_usage=include_usage)
    chunks, error = read(data.draw(splits(written(wire, data.draw(batches(events))))))
    start, usage = events[0], events[-2]
    assert isinstance(start, Start) and isinstance(usage, Usage)
    for chunk in chunks:
        assert (chunk["id"], chunk["model"], chunk["created"]) == (start.id, start.model, start.created)
        assert ("usage" in chunk) is include_usage
    first, *choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert first["delta"] == {"role": "assistant", "content": ""}
    if (state := state_at_the_end(events)) and error is None:
        assert choices.pop(-2)["delta"] == state
    said = Said()
    assert [event for choice in choices for event in said.events_in(choice["delta"])] == to_be_told(events)
    is_known = usage.input_tokens is not None or usage.output_tokens is not None
    told = [usage_in(chunk["usage"]) for chunk in chunks if chunk.get("usage")]
    assert told == ([usage] if is_known and include_usage else [])
    check_ending(events, [choice["finish_reason"] for choice in (first, *choices)], error)


@given(well_formed_sequences(resets=False, agents=True))
def test_openai_wire_is_put_together_by_the_stream_helper_of_the_sdk(events: list[Event]) -> None:
    """It fails at entries of a list that have no index, and joins texts of those that have the same."""
    assume(isinstance(events[-1], Done) and events[-1].status == "completed")
    events = [replace(event, opaque=None) if isinstance(event, ToolCall) else event for event in events]
    canned.pieces = [written(OpenAIWire(), [events])]
    with sdk.chat.completions.stream(model="m", messages=[]) as stream:
        message = stream.get_final_completion().choices[0].message.to_dict(mode="json")
    read: list[Event] = []
    for name, event_in in {"annotations": source_in, "images": image_in, "llm_stream": own_event_in}.items():
        entries: Any = message.get(name) or []
        assert [entry.pop("index") for entry in entries] == list(range(len(entries)))
        read += map(event_in, entries)
    servers = {event.index for event in events if isinstance(event, ToolCall) and event.server}
    texts = (Delta, Reasoning, Refusal)
    beside = [
        event
        for event in events
        if not (isinstance(event, texts) or (isinstance(event, ToolCall) and event.index not in servers))
    ]
    told = to_be_told(beside)
    assert sorted(map(repr, read)) == sorted(map(repr, told))


@given(data=st.data(), events=well_formed_sequences(resets=True, agents=True))
def test_openai_wire_ends_where_it_would_have_to_start_again(data: st.DataObject, events: list[Event]) -> None:
    kinds = [type(event) for event in events]
    assume(Reset in kinds)
    chunks, error = read_by_the_sdk([written(OpenAIWire(), data.draw(batches(events)))])
    said = Said()
    told = [event for chunk in chunks[1:] for event in said.events_in(chunk["choices"][0]["delta"])]
    assert told == to_be_told(events[1 : kinds.index(Reset)])
    assert error and error["code"] == "upstream_cut" and error["retryable"]


@given(well_formed_sequences(agents=True))
def test_whole_completion_has_what_the_deltas_have(events: list[Event]) -> None:
    message = completion_of(events)["choices"][0]["message"]
    ChatCompletionMessage.model_validate(message)
    resets = [at for at, event in enumerate(events) if isinstance(event, Reset)]
    valid = events[resets[-1] + 1 :] if resets else events
    assert {name: message[name] for name in ("reasoning_details", "extra_content") if name in message} == (
        state_at_the_end(valid)
    )
    assert list(map(source_in, message.get("annotations", []))) == [each for each in valid if isinstance(each, Source)]
    own = list(map(own_event_in, message.get("llm_stream", [])))
    for kind in (ToolResult, Approval, Step):
        assert [each for each in own if isinstance(each, kind)] == [each for each in valid if isinstance(each, kind)]
    assert not any(isinstance(event, Data) and event.transient for event in own)
    servers = {event.id for event in valid if isinstance(event, ToolCall) and event.server}
    assert {event.id for event in own if isinstance(event, ToolCall)} == servers
    assert {call["id"] for call in message.get("tool_calls", [])}.isdisjoint(servers)
