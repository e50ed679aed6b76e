"""An answer, complete or so far, as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..events import Approval
from ..events import Data
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import File
from ..events import Opaque
from ..events import Partial
from ..events import Reasoning
from ..events import Refusal
from ..events import Reset
from ..events import Source
from ..events import Start
from ..events import ToolCall
from ..events import ToolResult
from ..events import Usage
from .merged import merged


class Snapshot(msgspec.Struct, omit_defaults=True):
    """`status` is `running` until the stream ends.

    A tool call is `{"id", "name", "arguments", "server"?, "result"? or "error"?, "approval"?}`. `server` is present if
    the tool runs on the server, and `approval` if the call waits for a decision. `results` belong to calls of an
    earlier stream. `parsed` is the JSON of an answer with a schema, once the answer is complete and matches. `messages`
    are the answer in the form that `POST /chat` takes on the next turn, if the answer has more than text.
    """

    id: str
    model: str | None
    status: str
    finish_reason: str | None
    text: str
    usage: dict[str, Any] | None
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    data: list[dict[str, Any]] = []
    parsed: Any = None
    messages: list[dict[str, Any]] = []
    error: dict[str, Any] | None = None


def snapshot_of(events: Sequence[Event]) -> Snapshot:
    """Build it from all events of a log so far."""
    start, events = events[0], merged(events)
    assert isinstance(start, Start)
    valid = valid_part_of(events)
    answer = Snapshot(start.id, start.model, "running", None, text_of(valid, Delta), None)
    answer.reasoning, answer.refusal = text_of(valid, Reasoning), text_of(valid, Refusal)
    answer.tool_calls, answer.results = tool_calls_of(valid)
    answer.sources = [fields_of(event) for event in valid if isinstance(event, Source)]
    answer.files = [fields_of(event) for event in valid if isinstance(event, File)]
    answer.data = _data(valid)
    answer.parsed = parsed_of(valid)
    if failure := failure_of(events):
        answer.error = fields_of(failure)
    for event in events[-2:]:
        if isinstance(event, Usage):
            answer.usage = fields_of(event)
        elif isinstance(event, Done):
            answer.status, answer.finish_reason = event.status, event.finish_reason
    return answer


def valid_part_of(events: Sequence[Event]) -> Sequence[Event]:
    """The events after the last `Reset`, which voids all earlier events."""
    resets = [at for at, event in enumerate(events) if isinstance(event, Reset)]
    return events[resets[-1] :] if resets else events


def text_of(events: Sequence[Event], kind: type[Delta] | type[Reasoning] | type[Refusal]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def parsed_of(events: Sequence[Event]) -> Any:
    """The JSON of the last answer in `events` that matches its schema; None if there is none."""
    return next((event.value for event in reversed(events) if isinstance(event, Partial) and event.whole), None)


def failure_of(events: Sequence[Event]) -> Failure | None:
    """The failure in a log, which ends with `failure`, `usage`, `done`."""
    return next((event for event in events[-3:] if isinstance(event, Failure)), None)


def fields_of(event: Event) -> dict[str, Any]:
    """The fields that are not None."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return fields


def opaque_of(events: Sequence[Event]) -> Opaque:
    return next((event for event in reversed(events) if isinstance(event, Opaque)), Opaque())


def tool_calls_of(events: Sequence[Event]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The calls with their results, and the results of earlier calls."""
    calls: dict[int, dict[str, Any]] = {}
    by_id: dict[str | None, dict[str, Any]] = {}
    arguments: dict[int, list[str]] = {}
    results: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, ToolCall):
            call = calls.get(event.index)
            if call is None:
                call = calls[event.index] = {"id": event.id, "name": event.name, "arguments": ""}
                by_id[event.id] = call
            arguments.setdefault(event.index, []).append(event.arguments)
            if event.server:
                call["server"] = True
            if event.opaque:
                call["opaque"] = call.get("opaque", {}) | event.opaque
        elif isinstance(event, ToolResult):
            if event.id in by_id:
                outcome = {name: value for name, value in fields_of(event).items() if name in ("result", "error")}
                by_id[event.id] |= outcome
            else:
                results.append(fields_of(event))
        elif isinstance(event, Approval) and event.call_id in by_id:
            by_id[event.call_id]["approval"] = event.id
    for index, pieces in arguments.items():
        calls[index]["arguments"] = "".join(pieces)
    return list(calls.values()), results


def _data(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The data that is kept: each item's latest version, at the position of its first version."""
    kept: dict[Any, dict[str, Any]] = {}
    for number, event in enumerate(events):
        if isinstance(event, Data) and not event.transient:
            kept[(event.name, event.id) if event.id else number] = fields_of(event)
    return list(kept.values())
