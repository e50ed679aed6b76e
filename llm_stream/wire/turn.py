"""An answer as messages: the part of it that the next turn sends."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from ..chat_request import Message
from ..chat_request import expanded
from ..chat_request import tool_message
from ..events import WHOLE
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Reasoning
from ..events import Refusal
from ..events import Step
from .answer import Snapshot
from .answer import opaque_of
from .answer import snapshot_of
from .answer import text_of
from .answer import tool_calls_of
from .answer import valid_part_of
from .merged import merged


def messages_of(events: Sequence[Event]) -> list[Message]:
    """The answer in the form of the chat completions API: the assistant's messages, and the results of its tools."""
    return plain(*turn_of(events))


def plain(results: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]) -> list[Message]:
    """The results and messages of `turn_of()` in the form of the chat completions API."""
    earlier = [tool_message(result) for result in results]
    return [*earlier, *(message for each in messages for message in expanded(each))]


def answer_of(events: Sequence[Event]) -> Snapshot:
    """The snapshot, with its messages if they have more than text."""
    events = merged(events)
    answer = snapshot_of(events)
    _, messages = turn_of(events)
    if any("tool_calls" in message or "opaque" in message for message in messages):
        answer.messages = messages
    return answer


def turn_of(events: Sequence[Event]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The results of earlier calls, and one message for each step, in the form of `POST /chat`.

    Omits calls without a result, because providers refuse them. Only the last calls of a complete answer stay: they
    wait for approval, or the client runs them and adds the results.
    """
    valid = valid_part_of(merged(events))
    is_whole = bool(valid) and isinstance(last := valid[-1], Done) and last.status in WHOLE
    steps = list(_steps(valid))
    _, earlier = tool_calls_of(valid)
    return earlier, [
        message for step in steps if (message := _message_of(step, keeps_open=is_whole and step is steps[-1]))
    ]


def message_of(step: Sequence[Event]) -> dict[str, Any] | None:
    """The message of one model call, with all its tool calls."""
    return _message_of(step, keeps_open=True)


def _message_of(step: Sequence[Event], *, keeps_open: bool) -> dict[str, Any] | None:
    """The step's message; None if it would be empty."""
    text, refusal, opaque = text_of(step, Delta), text_of(step, Refusal), opaque_of(step)
    calls = [_call(call) for call in tool_calls_of(step)[0] if keeps_open or "result" in call or "error" in call]
    if not (text or refusal or calls):
        return None
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if refusal:
        message["refusal"] = refusal
    if calls:
        message["tool_calls"] = calls
    reasoning = {opaque.reasoning: text_of(step, Reasoning)} if opaque.reasoning else {}
    if fields := reasoning | opaque.fields:
        message["opaque"] = fields
    return message


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["arguments"]}
    rest: dict[str, Any] = {name: call[name] for name in ("result", "error", "opaque") if name in call}
    return {"id": call["id"], "type": "function", "function": function, **rest}


def _steps(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Split at each `Step`."""
    begin = 0
    for at, event in enumerate(events):
        if isinstance(event, Step):
            yield events[begin:at]
            begin = at
    yield events[begin:]
