"""Every wire: any answer decodes back to itself through an independent parser, at any split of the bytes."""

from __future__ import annotations

import json
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
from openai import APIError
from openai import OpenAI

from llm_stream.events import CONTENT
from llm_stream.events import KINDS
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
from llm_stream.wire.native import NativeWire
from llm_stream.wire.openai import OpenAIWire

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


@given(st.data(), well_formed_sequences())
def test_native_wire_decodes_back_to_itself(data: st.DataObject, events: list[Event]) -> None:
    body = written(NativeWire(), data.draw(batches(events)))
    read = list(messages(data.draw(splits(body))))
    assert [number for number, _, _ in read] == [f"{STREAM_ID}-{n}" for n in range(1, len(events) + 1)]
    assert [msgspec.convert(json.loads(payload), KINDS[kind]) for _, kind, payload in read] == events


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


def said_in(delta: dict[str, Any]) -> Iterable[Event]:
    """The events that a delta was made of."""
    kinds = {"content": Delta, "reasoning_content": Reasoning, "refusal": Refusal}
    for name, value in delta.items():
        if name == "tool_calls":
            for call in value:
                function = call["function"]
                yield ToolCall(call["index"], function["arguments"], call.get("id"), function.get("name"))
        else:
            yield kinds[name](value)


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
        assert done.finish_reason in (reasons[-1], "function_call", "eos", "max_tokens", None)


@pytest.mark.parametrize("read", [read_by_the_sdk, read_plainly])
@given(data=st.data(), events=well_formed_sequences(resets=False), include_usage=st.booleans())
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
    said = [event for choice in choices for event in said_in(choice["delta"])]
    assert said == [event for event in events if type(event) in CONTENT]
    is_known = usage.input_tokens is not None or usage.output_tokens is not None
    told = [usage_in(chunk["usage"]) for chunk in chunks if chunk.get("usage")]
    assert told == ([usage] if is_known and include_usage else [])
    check_ending(events, [choice["finish_reason"] for choice in (first, *choices)], error)


@given(data=st.data(), events=well_formed_sequences(resets=True))
def test_openai_wire_ends_where_it_would_have_to_start_again(data: st.DataObject, events: list[Event]) -> None:
    kinds = [type(event) for event in events]
    assume(Reset in kinds)
    chunks, error = read_by_the_sdk([written(OpenAIWire(), data.draw(batches(events)))])
    said = [event for chunk in chunks[1:] for event in said_in(chunk["choices"][0]["delta"])]
    assert said == events[1 : kinds.index(Reset)]
    assert error and error["code"] == "upstream_cut" and error["retryable"]
