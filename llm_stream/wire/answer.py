"""An answer, complete or so far, as one JSON object."""

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
    """`status` is `running` until the stream ends."""

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
    """Build the answer from all events of a log so far."""
    start = events[0]
    assert isinstance(start, Start)
    answer = Answer(start.id, start.model, "running", None, "", None)
    resets = [at for at, event in enumerate(events) if isinstance(event, Reset)]
    valid = events[resets[-1] :] if resets else events
    answer.text = "".join(event.text for event in valid if isinstance(event, Delta))
    answer.reasoning = "".join(event.text for event in valid if isinstance(event, Reasoning))
    answer.refusal = "".join(event.text for event in valid if isinstance(event, Refusal))
    answer.tool_calls = _tool_calls(valid)
    if failure := failure_of(events):
        answer.error = msgspec.to_builtins(failure)
    for event in events[-2:]:
        if isinstance(event, Usage):
            answer.usage = msgspec.to_builtins(event)
        elif isinstance(event, Done):
            answer.status, answer.finish_reason = event.status, event.finish_reason
    return answer


def failure_of(events: Sequence[Event]) -> Failure | None:
    """The failure in a log, which ends with `failure`, `usage`, `done`."""
    return next((event for event in events[-3:] if isinstance(event, Failure)), None)


def _tool_calls(events: Sequence[Event]) -> list[dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, ToolCall):
            call = calls.setdefault(event.index, {"id": event.id, "name": event.name, "arguments": ""})
            call["arguments"] += event.arguments
    return list(calls.values())
