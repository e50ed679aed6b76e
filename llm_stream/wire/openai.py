"""OpenAI's wire: chat completion chunks, or one chat completion.

It writes only `data:` lines and comments, because openai-python fails on a comment after an `id:` or `retry:` line.
https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors.statuses import status_of
from ..events import WHOLE
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Reasoning
from ..events import Refusal
from ..events import Reset
from ..events import Start
from ..events import ToolCall
from ..events import ToolResult
from ..events import Usage
from . import Wire
from . import without_none
from .answer import failure_of
from .answer import snapshot_of
from .extension import STATE
from .extension import Calls
from .extension import Deltas
from .extension import is_for_client
from .extension import message_fields

END = b"data: [DONE]\n\n"

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter")
"""The finish reasons that OpenAI clients know. Providers have more."""

ERROR_TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
ERROR_CODES = {"context_too_long": "context_length_exceeded"}
"""Frameworks that see OpenAI's code shorten the conversation and retry."""

BROKEN_OFF = "The answer broke off and started again, and this format cannot take text back. Please try again."
STOPPED = "The answer was stopped before it was complete."

_json = msgspec.json.Encoder().encode


class OpenAIWire(Wire):
    def __init__(self, *, include_usage: bool = False) -> None:
        self._include_usage = include_usage
        self._head = b""
        self._failure: Failure | None = None
        self._usage: Usage | None = None
        self._calls = Calls()
        self._deltas = Deltas()
        self.is_over = False

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        return b"".join(self._frame(stream_id, event) for event in events if not self.is_over)

    def _frame(self, stream_id: str, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._chunk({"content": event.text})
        if isinstance(event, Reasoning):
            return self._chunk({"reasoning_content": event.text})
        if isinstance(event, Refusal):
            return self._chunk({"refusal": event.text})
        if isinstance(event, ToolCall) and (number := self._calls.number_of(event)) is not None:
            return self._chunk({"tool_calls": [_fragment(stream_id, number, event)]})
        if isinstance(event, Start):
            self._head = _json(_identity(event, "chat.completion.chunk"))[:-1]
            return self._chunk({"role": "assistant", "content": ""})
        if isinstance(event, Reset):
            self._failure = Failure(event.reason, BROKEN_OFF, retryable=True, error_id=stream_id)
            return self._end(None)
        if isinstance(event, Done):
            self._failure = self._failure or early_end(stream_id, event)
            return self._end(event)
        if isinstance(event, (Failure, Usage)):
            self._store(event)
            return b""
        if isinstance(event, ToolResult):
            self._calls.close(event)
        delta = self._deltas.of(event)
        return self._chunk(delta) if delta else b""

    def _store(self, event: Failure | Usage) -> None:
        """Keep the event for the end: usage must come before an error, because clients stop reading at an error."""
        if isinstance(event, Failure):
            self._failure = event
        else:
            self._usage = event

    def _end(self, done: Done | None) -> bytes:
        self.is_over = True
        frames = []
        if done and not self._failure:
            if state := self._deltas.end():
                frames.append(self._chunk(state))
            frames.append(self._chunk({}, finish_reason(done, self._calls.are_open)))
        if self._include_usage and self._usage and (usage := usage_of(self._usage)):
            frames.append(b'%b,"choices":[],"usage":%b}\n\n' % (b"data: " + self._head, _json(usage)))
        if self._failure:
            error = error_of(self._failure, status_of(self._failure.code))
            frames.append(b"data: %b\n\n" % _json(error))
        return b"".join([*frames, END])

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return b'data: %b,"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._head,
            _json(delta),
            _json(reason),
            b',"usage":null' if self._include_usage else b"",
        )


def completion_of(events: Sequence[Event]) -> dict[str, Any]:
    """A complete answer as a chat completion."""
    start = events[0]
    assert isinstance(start, Start)
    answer = snapshot_of(events)
    open_calls = filter(is_for_client, answer.tool_calls)
    calls = [_whole_call(start.id, number, call) for number, call in enumerate(open_calls)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or (None if calls or answer.refusal else ""),
        "refusal": answer.refusal or None,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if calls:
        message["tool_calls"] = calls
    message |= message_fields(events)
    done, usage = events[-1], events[-2]
    assert isinstance(done, Done) and isinstance(usage, Usage)
    reason = finish_reason(done, bool(calls))
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    figures = usage_of(usage)
    return _identity(start, "chat.completion") | {"choices": [choice]} | ({"usage": figures} if figures else {})


def failure_in(events: Sequence[Event]) -> Failure | None:
    """The reason why an ended log has no complete answer; None if the answer is complete."""
    start, done = events[0], events[-1]
    assert isinstance(start, Start) and isinstance(done, Done)
    return failure_of(events) or early_end(start.id, done)


def early_end(stream_id: str, done: Done) -> Failure | None:
    """An error for a stopped stream: without one, a client would treat the partial answer as complete."""
    if done.status in WHOLE:
        return None
    return Failure(done.status, STOPPED, retryable=False, error_id=stream_id)


def error_of(failure: Failure, status: int, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's format, plus our own fields."""
    error = {
        "message": failure.message,
        "type": ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": param,
        "code": ERROR_CODES.get(failure.code, failure.code),
        "retryable": failure.retryable,
        "error_id": failure.error_id,
    }
    return {"error": error}


def finish_reason(done: Done, has_open_calls: bool) -> str:
    """`has_open_calls`: there are calls that the client must run. Otherwise the reason must not be `tool_calls`."""
    if done.finish_reason in FINISH_REASONS and (has_open_calls or done.finish_reason != "tool_calls"):
        return done.finish_reason
    if done.status == "incomplete":
        return "length"
    return "tool_calls" if has_open_calls else "stop"


def usage_of(usage: Usage) -> dict[str, Any] | None:
    """The usage; None if no figures are known. Omits unknown fields, which the SDK reads as None."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    figures = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": without_none({"cached_tokens": usage.cached_tokens}) or None,
        "completion_tokens_details": without_none({"reasoning_tokens": usage.reasoning_tokens}) or None,
        "source": usage.source,
        "cost": None if usage.cost is None else float(usage.cost),  # providers send a number
        "currency": usage.currency,
    }
    return without_none(figures)


def _identity(start: Start, kind: str) -> dict[str, Any]:
    return {"id": start.id, "object": kind, "created": start.created, "model": start.model or ""}


def _fragment(stream_id: str, number: int, call: ToolCall) -> dict[str, Any]:
    """A fragment of a tool call. Only a call's first fragment has the id and the name."""
    fragment: dict[str, Any] = {"index": number, "function": {"arguments": call.arguments}}
    if call.name is not None or call.id is not None:
        fragment |= {"id": call.id or _call_id(stream_id, number), "type": "function"}
        fragment["function"]["name"] = call.name
    return fragment | _extra(call.opaque)


def _whole_call(stream_id: str, number: int, call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["arguments"]}
    id = call["id"] or _call_id(stream_id, number)
    return {"id": id, "type": "function", "function": function} | _extra(call.get("opaque"))


def _extra(opaque: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (opaque or {}).items() if name in STATE}


def _call_id(stream_id: str, number: int) -> str:
    """An id for calls of an app's generator that sets none: clients need an id to send the call's result."""
    return f"call_{stream_id}_{number}"
