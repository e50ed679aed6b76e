"""The AI SDK's message stream: any answer, through a parser that knows the table of its chunks and their order.

`tests/clients/test_ai_sdk.py` has the same answers read by the SDK itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

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
from llm_stream.wire.ui import STARTED_AGAIN
from llm_stream.wire.ui import UIWire

from .sequences import STREAM_ID
from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written
from .test_wire_fuzz import messages

FIELDS: dict[str, dict[str, type]] = {
    "start": {"messageId": str},
    "start-step": {},
    "text-start": {"id": str},
    "text-delta": {"id": str, "delta": str},
    "text-end": {"id": str},
    "reasoning-start": {"id": str},
    "reasoning-delta": {"id": str, "delta": str},
    "reasoning-end": {"id": str},
    "tool-input-start": {"toolCallId": str, "toolName": str},
    "tool-input-delta": {"toolCallId": str, "inputTextDelta": str},
    "tool-input-available": {"toolCallId": str, "toolName": str, "input": object},
    "tool-input-error": {"toolCallId": str, "toolName": str, "input": object, "errorText": str},
    "finish-step": {},
    "message-metadata": {"messageMetadata": dict},
    "finish": {"finishReason": str, "messageMetadata": dict},
    "abort": {"reason": str},
    "error": {"errorText": str},
}
"""All chunks that are sent here, of those that ai 5, 6 and 7 have in common."""

REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}

Said = tuple[str, ...]


class Message:
    """What a client makes of a response; whatever would make it stumble fails here."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.said: list[Said] = []
        self.calls: dict[str, Any] = {}
        self.errors: dict[str, str] = {}
        self.metadata: dict[str, Any] = {}
        self.reason: str | None = None
        self.problem: str | None = None
        self.aborted: str | None = None
        self._open: dict[str, str] = {}
        self._names: dict[str, str] = {}
        *payloads, end = [data for _, _, data in messages(pieces)]
        assert end == "[DONE]"
        chunks = [json.loads(payload) for payload in payloads]
        assert [chunk["type"] for chunk in chunks[:2]] == ["start", "start-step"]
        assert [chunk["type"] for chunk in chunks].count("finish-step") == 1
        for chunk in chunks:
            self._take(chunk)
        assert chunks[-1]["type"] in ("finish", "error")
        assert not self._open

    def _take(self, chunk: dict[str, Any]) -> None:
        kind = chunk["type"]
        for name, wanted in FIELDS[kind].items():
            assert isinstance(chunk[name], wanted)
        assert set(chunk) - set(FIELDS[kind]) <= {"type", "providerMetadata"}
        assert None not in chunk.values() or kind.startswith("tool-input")
        assert self.problem is None and self.reason is None, "something comes after the end"
        what, _, step = kind.partition("-")
        if what in ("text", "reasoning"):
            self._part(what, step, chunk)
        elif what == "tool":
            self._call(step, chunk)
        elif kind == "start":
            assert chunk["messageId"] == STREAM_ID
        elif kind == "finish-step":
            assert not self._open and set(self._names) == set(self.calls) | set(self.errors)
        elif kind == "error":
            self.problem = chunk["errorText"]
        elif kind == "abort":
            self.aborted = chunk["reason"]
        self.metadata |= chunk.get("messageMetadata", {})
        self.reason = chunk.get("finishReason")
        assert self.reason is None or self.reason in REASONS

    def _part(self, what: str, step: str, chunk: dict[str, Any]) -> None:
        if step == "start":
            assert not self._open
            self._open[chunk["id"]] = "refusal" if "providerMetadata" in chunk else what
        elif step == "delta":
            self.said.append((self._open[chunk["id"]], chunk["delta"]))
        else:
            del self._open[chunk["id"]]

    def _call(self, step: str, chunk: dict[str, Any]) -> None:
        call = chunk["toolCallId"]
        if step == "input-start":
            assert not self._open and call not in self._names
            self._names[call] = chunk["toolName"]
            self.said.append(("call", call, chunk["toolName"]))
        elif step == "input-delta":
            assert call in self._names
            self.said.append(("arguments", call, chunk["inputTextDelta"]))
        elif step == "input-available":
            assert chunk["toolName"] == self._names[call]
            self.calls[call] = chunk["input"]
        else:
            self.errors[call] = chunk["errorText"]


def said(events: Sequence[Event]) -> list[Said]:
    """The same of the events themselves."""
    kinds = {Delta: "text", Reasoning: "reasoning", Refusal: "refusal"}
    told: list[Said] = []
    for event in events:
        if isinstance(event, (Delta, Reasoning, Refusal)):
            told.append((kinds[type(event)], event.text))
        elif isinstance(event, ToolCall):
            if event.name is not None:
                told.append(("call", f"call_{event.index}", event.name))
            if event.arguments:
                told.append(("arguments", f"call_{event.index}", event.arguments))
    return told


def read_json(text: str) -> tuple[bool, Any]:
    """Whether it is what JSON's own grammar allows, and what it says."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return True, json.loads(text, parse_constant=refuse) if text.strip() else {}
    except ValueError:
        return False, None


def check_end(message: Message, events: Sequence[Event]) -> None:
    usage, done = events[-2], events[-1]
    assert isinstance(usage, Usage) and isinstance(done, Done)
    assert message.metadata["status"] == done.status
    figures = message.metadata["usage"]
    assert figures.get("inputTokens") == usage.input_tokens
    assert figures.get("outputTokens") == usage.output_tokens
    assert figures.get("reasoningTokens") == usage.reasoning_tokens
    assert figures.get("cachedInputTokens") == usage.cached_tokens
    assert figures.get("cost") == (None if usage.cost is None else str(usage.cost))
    failure = events[-3] if isinstance(events[-3], Failure) else None
    assert message.problem == (failure.message if failure else None)
    if failure:
        assert message.metadata["error"]["code"] == failure.code
    elif done.status in ("completed", "incomplete"):
        reasons = {"content_filter": "content-filter", "tool_calls": "tool-calls", "function_call": "tool-calls"}
        plain = {"stop": "stop", "length": "length", None: "stop"}
        assert message.reason == (reasons | plain).get(done.finish_reason, "other")
    else:
        assert (message.reason, message.aborted) == ("other", done.status)


@given(st.data(), well_formed_sequences(resets=False))
def test_any_answer_decodes_back_to_itself(data: st.DataObject, events: list[Event]) -> None:
    body = written(UIWire(), data.draw(batches(events)))
    message = Message(data.draw(splits(body)))
    assert message.said == said(events)
    check_end(message, events)
    assert isinstance(events[-1], Done)
    is_whole = events[-1].status in ("completed", "incomplete")
    for call in {f"call_{event.index}" for event in events if isinstance(event, ToolCall)}:
        arguments = "".join(
            text for kind, name, *rest in message.said if (kind, name) == ("arguments", call) for text in rest
        )
        is_json, value = read_json(arguments)
        if is_whole and is_json:
            assert message.calls[call] == value
        else:
            assert call in message.errors


@given(st.data(), well_formed_sequences())
def test_attempt_that_was_void_is_never_followed_by_another(data: st.DataObject, events: list[Event]) -> None:
    last = max((at for at, event in enumerate(events) if isinstance(event, Reset)), default=0)
    message = Message([written(UIWire(), data.draw(batches(events)))])
    if message.problem == STARTED_AGAIN:
        assert message.said == said(events[:last])
        assert not message.metadata and not message.calls
    else:
        assert message.said == said(events[last:])
        check_end(message, events)


@given(well_formed_sequences())
def test_reader_that_comes_later_has_the_last_attempt_alone(events: list[Event]) -> None:
    last = max((at for at, event in enumerate(events) if isinstance(event, Reset)), default=0)
    message = Message([written(UIWire(), [events])])
    assert message.said == said(events[last:])
    check_end(message, events)


def test_answer_may_go_on_with_a_message_that_is_there() -> None:
    body = UIWire("a1").encode(STREAM_ID, 1, [Start(STREAM_ID, "m", 1)])
    assert body.startswith(b'data: {"type":"start","messageId":"a1"}\n\n')
