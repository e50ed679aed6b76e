"""AG-UI: any answer, through a parser that keeps the rules of its client's verifier.

`tests/clients/test_ag_ui.py` has the client itself.
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
from llm_stream.events import ToolCall
from llm_stream.events import Usage
from llm_stream.wire.agui import AGUIWire

from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written
from .test_wire_fuzz import messages

CONVERSATION = [{"id": "m1", "role": "user", "content": "hi"}]

STARTS = {"TEXT_MESSAGE_START", "REASONING_START", "REASONING_MESSAGE_START", "TOOL_CALL_START"}
ENDS = {"TEXT_MESSAGE_END", "REASONING_END", "REASONING_MESSAGE_END", "TOOL_CALL_END"}
CONTENT = {"TEXT_MESSAGE_CONTENT": "text", "REASONING_MESSAGE_CONTENT": "reasoning", "TOOL_CALL_ARGS": "arguments"}


class Run:
    """What the verifier lets through, as attempts at an answer."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.attempts: list[list[tuple[str, ...]]] = [[]]
        self._open: set[tuple[str, str]] = set()
        events = [json.loads(data) for _, _, data in messages(pieces)]
        assert events[0] == {"type": "RUN_STARTED", "threadId": "thread", "runId": "run"}
        self.end = events[-1]
        for event in events[1:-1]:
            assert None not in event.values()
            self._take(event)
        assert self.end["type"] in ("RUN_FINISHED", "RUN_ERROR")
        if self.end["type"] == "RUN_FINISHED":
            assert not self._open
        assert not {kind for kind, _ in self._open} - {"TOOL_CALL"}

    def _take(self, event: dict[str, Any]) -> None:
        kind, said = event["type"], self.attempts[-1]
        what, _, step = kind.rpartition("_")
        part = (what, event.get("messageId") or event.get("toolCallId", ""))
        if kind == "MESSAGES_SNAPSHOT":
            assert event["messages"] == CONVERSATION and not self._open
            self.attempts.append([])
        elif kind in STARTS:
            assert part not in self._open
            self._open.add(part)
            if what == "TOOL_CALL":
                said.append(("call", event["toolCallId"], event["toolCallName"]))
        elif kind in ENDS:
            self._open.remove(part)
        else:
            named = ("arguments", event["toolCallId"]) if kind == "TOOL_CALL_ARGS" else (CONTENT[kind],)
            assert step == "ARGS" or part in self._open
            said.append((*named, event["delta"]))


def said(events: Sequence[Event]) -> list[tuple[str, ...]]:
    told: list[tuple[str, ...]] = []
    for event in events:
        if isinstance(event, (Delta, Refusal)):
            told.append(("text", event.text))
        elif isinstance(event, Reasoning):
            told.append(("reasoning", event.text))
        elif isinstance(event, ToolCall):
            if event.name is not None:
                told.append(("call", f"call_{event.index}", event.name))
            if event.arguments:
                told.append(("arguments", f"call_{event.index}", event.arguments))
    return told


@given(st.data(), well_formed_sequences())
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
        outcome = "success" if done.status in ("completed", "incomplete") else "cancelled"
        assert run.end["outcome"] == {"type": outcome}
