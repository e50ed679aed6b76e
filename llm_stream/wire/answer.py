"""A whole answer as one JSON object: what there is of it so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Reasoning
from ..events import Refusal
from ..events import Reset
from ..events import Start
from ..events import ToolCall
from ..events import Usage


class Answer(msgspec.Struct, omit_defaults=True):
    """`status` is `running` until the stream has ended."""

    id: str
    model: str | None
    status: str
    finish_reason: str | None
    text: str
    usage: dict[str, Any] | None
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[dict[str, Any]] = []
    error: dict[str, Any] | None = None


def answer_of(events: Sequence[Event]) -> Answer:
    """Read a log from its beginning."""
    start = events[0]
    assert isinstance(start, Start)
    answer = Answer(start.id, start.model, "running", None, "", None)
    voids = [at for at, event in enumerate(events) if isinstance(event, Reset)]
    said = events[voids[-1] :] if voids else events
    answer.text = "".join(event.text for event in said if isinstance(event, Delta))
    answer.reasoning = "".join(event.text for event in said if isinstance(event, Reasoning))
    answer.refusal = "".join(event.text for event in said if isinstance(event, Refusal))
    answer.tool_calls = _tool_calls(said)
    for event in events[-3:]:
        if isinstance(event, Failure):
            answer.error = msgspec.to_builtins(event)
        elif isinstance(event, Usage):
            answer.usage = msgspec.to_builtins(event)
        elif isinstance(event, Done):
            answer.status, answer.finish_reason = event.status, event.finish_reason
    return answer


def _tool_calls(events: Sequence[Event]) -> list[dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, ToolCall):
            call = calls.setdefault(event.index, {"id": event.id, "name": event.name, "arguments": ""})
            call["arguments"] += event.arguments
    return list(calls.values())
