"""AG-UI 1.0, as `HttpAgent` of @ag-ui/client reads it.

https://docs.ag-ui.com/concepts/events

Its parser accepts only LF line ends and JSON in `data:`. Its verifier rejects a finished run with an open part.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import StreamError
from ..events import WHOLE
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
from ..events import Step
from ..events import ToolCall
from ..events import ToolResult
from ..events import Usage
from . import Wire
from . import without_none
from .agui_calls import AGUIEvent
from .agui_calls import Calls
from .agui_data import agui_data
from .agui_opaque import encrypted_value
from .agui_opaque import reasoning_id

MOST_TOKENS = 2**53 - 1
"""Larger figures are omitted: the client's schema would reject the end of the run."""

DECISION = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["approved"],
    "additionalProperties": False,
}
"""The schema of the decision in the client's `resume`, for a call that waits for approval."""

_json = msgspec.json.Encoder().encode


class AGUIWire(Wire):
    """One run of a thread. `conversation` holds the messages before the answer, as the client sent them.

    Each call of the model is a step. Its text, refusal and tool calls form one assistant message. The first message has
    the stream's id. Tool results are separate messages, so the client's next run has the whole conversation.

    A `Reset` sends a snapshot of the conversation without the answer, and the retry writes a new one. The client keeps
    the reasoning and the state.
    """

    def __init__(self, thread_id: str, run_id: str, conversation: Sequence[Mapping[str, Any]]) -> None:
        self._run = {"threadId": thread_id, "runId": run_id}
        self._conversation = conversation
        self._model = ""
        self._stream_id = self._message_id = ""
        self._messages = 1
        self._has_message = False
        self._reasonings = 0
        self._open: Sequence[AGUIEvent] = ()
        self._kind = ""
        self._step = 1
        self._is_in_step = False
        self._calls = Calls()
        self._approvals: list[Approval] = []
        self._failure: Failure | None = None
        self._usage: Usage | None = None

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        return b"".join(
            b"data: %b\n\n" % _json(agui_event) for event in events for agui_event in _WRITERS[type(event)](self, event)
        )

    def _start(self, event: Start) -> Iterator[AGUIEvent]:
        self._model, self._stream_id = event.model or "", event.id
        self._message_id = self._stream_id
        yield {"type": "RUN_STARTED", **self._run}

    # The messages

    def _text(self, event: Delta | Refusal) -> Iterator[AGUIEvent]:
        if not event.text:
            return
        message = {"messageId": self._message_id}
        if self._kind != "text":
            yield from self._begin("text", {"type": "TEXT_MESSAGE_END", **message})
            self._has_message = True
            yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
        yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": event.text}

    def _reasoning(self, event: Reasoning) -> Iterator[AGUIEvent]:
        if not event.text:
            return
        is_new = self._kind != "reasoning"
        self._reasonings += is_new
        message = {"messageId": reasoning_id(self._message_id, self._reasonings)}
        if is_new:
            end = {"type": "REASONING_MESSAGE_END", **message}
            yield from self._begin("reasoning", end, {"type": "REASONING_END", **message})
            yield {"type": "REASONING_START", **message}
            yield {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"}
        yield {"type": "REASONING_MESSAGE_CONTENT", **message, "delta": event.text}

    def _tool_call(self, event: ToolCall) -> Iterator[AGUIEvent]:
        if self._calls.is_new(event):
            yield from self._begin("")
            self._has_message = True
        yield from self._calls.fragment(event, self._message_id)

    def _tool_result(self, event: ToolResult) -> Iterator[AGUIEvent]:
        yield from self._calls.end()
        yield from self._calls.result(event, self._stream_id)

    def _approval(self, event: Approval) -> Iterator[AGUIEvent]:
        self._approvals.append(event)
        return self._calls.end()

    def _opaque(self, event: Opaque) -> Iterator[AGUIEvent]:
        """Omits the opaque state of a step without a message, because the next run does not resend that step."""
        yield from self._close()
        yield from self._calls.end()
        if self._has_message:
            yield encrypted_value("message", self._message_id, event)

    def _begin(self, kind: str, *ends: AGUIEvent) -> Iterator[AGUIEvent]:
        """Begin a part that `ends` will close. The first part begins the step, because approved calls run before it."""
        yield from self._close()
        yield from self._begin_step()
        self._kind, self._open = kind, ends

    def _close(self) -> Iterator[AGUIEvent]:
        yield from self._open
        self._kind, self._open = "", ()

    def _next_message(self) -> None:
        self._messages += 1
        self._message_id = f"{self._stream_id}-{self._messages}"
        self._has_message, self._reasonings = False, 0

    def _data(self, event: Source | File | Data | Partial) -> Iterator[AGUIEvent]:
        yield agui_data(event)

    # The calls of the model

    def _next_step(self, event: Step) -> Iterator[AGUIEvent]:
        yield from self._close()
        yield from self._calls.end()
        yield from self._finish_step()
        self._step = event.number
        self._next_message()
        yield from self._begin_step()

    def _begin_step(self) -> Iterator[AGUIEvent]:
        if not self._is_in_step:
            self._is_in_step = True
            yield {"type": "STEP_STARTED", "stepName": f"step-{self._step}"}

    def _finish_step(self) -> Iterator[AGUIEvent]:
        if self._is_in_step:
            self._is_in_step = False
            yield {"type": "STEP_FINISHED", "stepName": f"step-{self._step}"}

    def _reset(self, event: Reset) -> Iterator[AGUIEvent]:
        yield from self._close()
        yield from self._calls.end(all_of_them=True)
        yield from self._finish_step()
        self._calls.clear()
        self._approvals.clear()
        self._step = 1
        self._next_message()
        yield {"type": "MESSAGES_SNAPSHOT", "messages": self._conversation}

    # The end of the run

    def _keep_failure(self, event: Failure) -> Iterator[AGUIEvent]:
        self._failure = event
        return iter(())

    def _keep_usage(self, event: Usage) -> Iterator[AGUIEvent]:
        self._usage = event
        return iter(())

    def _done(self, done: Done) -> Iterator[AGUIEvent]:
        """End the run. A failed run leaves its step and tool calls open, so the client does not execute the calls."""
        yield from self._close()
        usage = {"usage": [usage]} if (usage := usage_of(self._usage, self._model)) else {}
        metadata = {"metadata": {"status": done.status} | cost_of(self._usage)}
        if self._failure or done.status in ("failed", "timed_out", "interrupted"):
            error = self._failure or StreamError
            yield {"type": "RUN_ERROR", "message": error.message, "code": error.code, **usage, **metadata}
            return
        yield from self._calls.end(all_of_them=True)
        yield from self._finish_step()
        yield {"type": "RUN_FINISHED", **self._run, "outcome": self._outcome(done), **usage, **metadata}

    def _outcome(self, done: Done) -> dict[str, Any]:
        if done.status not in WHOLE:
            return {"type": "cancelled"}
        if self._approvals:
            return {"type": "interrupt", "interrupts": [interrupt_of(approval) for approval in self._approvals]}
        pending = self._calls.pending
        return {"type": "success"} | ({"pendingToolCallIds": pending} if pending else {})


_WRITERS: dict[type[Event], Callable[[AGUIWire, Any], Iterator[AGUIEvent]]] = {
    Start: AGUIWire._start,
    Delta: AGUIWire._text,
    Refusal: AGUIWire._text,
    Reasoning: AGUIWire._reasoning,
    ToolCall: AGUIWire._tool_call,
    ToolResult: AGUIWire._tool_result,
    Approval: AGUIWire._approval,
    Step: AGUIWire._next_step,
    Source: AGUIWire._data,
    File: AGUIWire._data,
    Data: AGUIWire._data,
    Partial: AGUIWire._data,
    Opaque: AGUIWire._opaque,
    Reset: AGUIWire._reset,
    Failure: AGUIWire._keep_failure,
    Usage: AGUIWire._keep_usage,
    Done: AGUIWire._done,
}


def interrupt_of(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "reason": "tool_call",
        "message": f"Allow the call of {approval.name!r}?",
        "toolCallId": approval.call_id,
        "responseSchema": DECISION,
    }


def usage_of(usage: Usage | None, model: str) -> dict[str, Any]:
    """One entry of AG-UI's usage list; empty if no figures are known."""
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return {}
    figures = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cached_tokens,
    }
    return {"model": model} | {name: n for name, n in figures.items() if n is not None and n <= MOST_TOKENS}


def cost_of(usage: Usage | None) -> dict[str, Any]:
    """The fields that AG-UI's usage lacks."""
    if usage is None:
        return {}
    return without_none({"source": usage.source, "cost": usage.cost, "currency": usage.currency})
