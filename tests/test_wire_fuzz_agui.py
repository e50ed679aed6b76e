"""AG-UI: any answer, through a parser that keeps the rules of its client's verifier.

`tests/clients/test_ag_ui.py` has the client itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.chat_request import tool_message
from llm_stream.events import Approval
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Partial
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Source
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.events import Usage
from llm_stream.wire.agui import AGUIWire
from llm_stream.wire.answer import fields_of

from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written
from .sequences_of_runs import PATCHES
from .sequences_of_runs import runs
from .test_wire_fuzz import messages

CONVERSATION = [{"id": "m1", "role": "user", "content": "hi"}]

STARTS = {"TEXT_MESSAGE_START", "REASONING_START", "REASONING_MESSAGE_START", "TOOL_CALL_START", "STEP_STARTED"}
ENDS = {"TEXT_MESSAGE_END", "REASONING_END", "REASONING_MESSAGE_END", "TOOL_CALL_END", "STEP_FINISHED"}
CONTENT = {"TEXT_MESSAGE_CONTENT": "text", "REASONING_MESSAGE_CONTENT": "reasoning", "TOOL_CALL_ARGS": "arguments"}
ANY_JSON = {"value", "snapshot", "delta"}

Told = list[tuple[Any, ...]]


class Run:
    """What the verifier lets through, as attempts at an answer."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.attempts: list[Told] = [[]]
        self._open: set[tuple[str, str]] = set()
        self._held: set[str] = set()
        """The ids of messages and calls that the client has."""
        events = [json.loads(data) for _, _, data in messages(pieces)]
        assert events[0] == {"type": "RUN_STARTED", "threadId": "thread", "runId": "run"}
        self.end = events[-1]
        for event in events[1:-1]:
            assert None not in [value for name, value in event.items() if name not in ANY_JSON]
            self._take(event)
        assert self.end["type"] in ("RUN_FINISHED", "RUN_ERROR")
        if self.end["type"] == "RUN_FINISHED":
            assert not self._open
        assert not {kind for kind, _ in self._open} - {"TOOL_CALL", "STEP"}

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        what = kind.rpartition("_")[0]
        part = (what, event.get("messageId") or event.get("toolCallId") or event.get("stepName", ""))
        if kind == "MESSAGES_SNAPSHOT":
            assert event["messages"] == CONVERSATION and not self._open
            self._held.clear()
            self.attempts.append([])
        elif kind in STARTS:
            assert part not in self._open
            self._open.add(part)
            self._held |= {part[1], event.get("parentMessageId", part[1])}
            self._begin(event)
        elif kind in ENDS:
            self._open.remove(part)
        elif kind in CONTENT:
            named = ("arguments", event["toolCallId"]) if kind == "TOOL_CALL_ARGS" else (CONTENT[kind],)
            assert part in self._open
            self.attempts[-1].append((*named, event["delta"]))
        else:
            self._take_whole(event)

    def _begin(self, event: dict[str, Any]) -> None:
        if event["type"] == "TOOL_CALL_START":
            self.attempts[-1].append(("call", event["toolCallId"], event["toolCallName"]))
        elif event["type"] == "STEP_STARTED" and event["stepName"] != "step-1":
            self.attempts[-1].append(("step", event["stepName"]))

    def _take_whole(self, event: dict[str, Any]) -> None:
        match event:
            case {"type": "TOOL_CALL_RESULT", "toolCallId": call, "content": content, "role": "tool"}:
                assert ("TOOL_CALL", call) not in self._open and event["messageId"] not in self._held
                self._held.add(event["messageId"])
                self.attempts[-1].append(("result", call, content))
            case {"type": "REASONING_ENCRYPTED_VALUE", "entityId": entity, "encryptedValue": value}:
                assert entity in self._held
                self.attempts[-1].append((event["subtype"], json.loads(value)))
            case {"type": "CUSTOM", "name": name, "value": value}:
                self.attempts[-1].append(("custom", name, value, event.get("metadata", {})))
            case {"type": "STATE_SNAPSHOT", "snapshot": state}:
                self.attempts[-1].append(("state", state))
            case {"type": "STATE_DELTA", "delta": delta}:
                self.attempts[-1].append(("state_delta", delta))
            case _:
                raise AssertionError(event)


def said(events: Sequence[Event]) -> Told:
    told: Told = []
    has_message = False
    opaque: dict[int, dict[str, Any]] = {}
    for event in events:
        has_message |= isinstance(event, (Delta, Refusal, ToolCall))
        if isinstance(event, (Delta, Refusal)):
            told.append(("text", event.text))
        elif isinstance(event, Reasoning):
            told.append(("reasoning", event.text))
        elif isinstance(event, ToolCall):
            if event.name is not None:
                told.append(("call", f"call_{event.index}", event.name))
            if event.arguments:
                told.append(("arguments", f"call_{event.index}", event.arguments))
            if event.opaque:
                opaque[event.index] = opaque.get(event.index, {}) | event.opaque
                told.append(("tool-call", opaque[event.index]))
        elif isinstance(event, ToolResult):
            told.append(("result", event.id, tool_message(fields_of(event))["content"]))
        elif isinstance(event, Step):
            has_message = False
            told.append(("step", f"step-{event.number}"))
        elif isinstance(event, Opaque) and has_message:
            told.append(("message", msgspec.to_builtins(event)))
        elif isinstance(event, (Source, File, Data, Partial)):
            told.append(shown(event))
    return told


def shown(event: Source | File | Data | Partial) -> tuple[Any, ...]:
    if isinstance(event, Partial):
        return ("custom", "partial", event.value, {})
    if not isinstance(event, Data):
        return ("custom", event.type, fields_of(event), {})
    if event.name == "state" or (event.name == "state_delta" and event.data in PATCHES):
        return (event.name, event.data)
    named = {"id": event.id} if event.id is not None else {}
    return ("custom", event.name, event.data, named | ({"transient": True} if event.transient else {}))


@given(st.data(), well_formed_sequences() | runs())
def test_any_answer_decodes_back_to_itself(data: st.DataObject, events: list[Event]) -> None:
    body = written(AGUIWire("thread", "run", CONVERSATION), data.draw(batches(events)))
    run = Run(data.draw(splits(body)))
    resets = [at for at, event in enumerate(events) if isinstance(event, Reset)]
    attempts = [events[begin:end] for begin, end in zip([0, *resets], [*resets, len(events)], strict=True)]
    assert run.attempts == [said(attempt) for attempt in attempts]
    usage, done = events[-2], events[-1]
    assert isinstance(usage, Usage) and isinstance(done, Done)
    figures = {"inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens}
    (told,) = run.end.get("usage", [{}])
    believable = {name: figure for name, figure in figures.items() if figure is not None and figure < 2**53}
    assert {name: told[name] for name in figures if name in told} == believable
    assert run.end["metadata"]["status"] == done.status
    failure = events[-3] if isinstance(events[-3], Failure) else None
    if failure:
        assert (run.end["code"], run.end["message"]) == (failure.code, failure.message)
    else:
        check_outcome(run.end["outcome"], attempts[-1], done)


def check_outcome(outcome: dict[str, Any], attempt: Sequence[Event], done: Done) -> None:
    asked = [event for event in attempt if isinstance(event, Approval)]
    if done.status not in ("completed", "incomplete"):
        assert outcome == {"type": "cancelled"}
    elif asked:
        assert outcome["type"] == "interrupt"
        told = [(interrupt["id"], interrupt["toolCallId"]) for interrupt in outcome["interrupts"]]
        assert told == [(event.id, event.call_id) for event in asked]
    else:
        pending = [event.id for event in attempt if isinstance(event, ToolCall) and event.name and not event.server]
        assert outcome == {"type": "success"} | ({"pendingToolCallIds": pending} if pending else {})
