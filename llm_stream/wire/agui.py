"""AG-UI 1.0, as `HttpAgent` of @ag-ui/client reads it.

https://docs.ag-ui.com/concepts/events

Its parser accepts only LF line ends and JSON in `data:`. Its verifier rejects a finished run with an open part.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import StreamError
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
from ..events import Usage
from . import Wire
from . import without_none

AGUIEvent = dict[str, Any]

MOST_TOKENS = 2**53 - 1
"""Larger figures are omitted: the client's schema would reject the end of the run."""

_json = msgspec.json.Encoder().encode


class AGUIWire(Wire):
    """One run of a thread. `conversation` holds the messages before the answer, as the client sent them.

    Text, refusal and tool calls form one assistant message, whose id is the stream's. A `Reset` sends a snapshot of the
    conversation without that message, and the retry writes a new one. The client keeps the reasoning.
    """

    def __init__(self, thread_id: str, run_id: str, conversation: Sequence[Mapping[str, Any]]) -> None:
        self._run = {"threadId": thread_id, "runId": run_id}
        self._conversation = conversation
        self._model = ""
        self._message_id = ""
        self._attempts = 1
        self._reasonings = 0
        self._open: Sequence[AGUIEvent] = ()
        self._kind = ""
        self._calls: dict[int, str] = {}
        self._failure: Failure | None = None
        self._usage: Usage | None = None

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        return b"".join(
            b"data: %b\n\n" % _json(agui_event) for event in events for agui_event in self._events(stream_id, event)
        )

    def _events(self, stream_id: str, event: Event) -> Iterator[AGUIEvent]:
        if isinstance(event, (Delta, Refusal)):
            yield from self._text(event.text)
        elif isinstance(event, Reasoning):
            yield from self._reasoning(stream_id, event.text)
        elif isinstance(event, ToolCall):
            yield from self._tool_call(event)
        elif isinstance(event, Start):
            self._model, self._message_id = event.model or "", event.id
            yield {"type": "RUN_STARTED", **self._run}
        elif isinstance(event, Reset):
            yield from self._reset(stream_id)
        elif isinstance(event, Failure):
            self._failure = event
        elif isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Done):
            yield from self._done(event)

    # The parts of the answer

    def _text(self, text: str) -> Iterator[AGUIEvent]:
        if not text:
            return
        message = {"messageId": self._message_id}
        if self._kind != "text":
            yield from self._close()
            self._kind, self._open = "text", [{"type": "TEXT_MESSAGE_END", **message}]
            yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
        yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": text}

    def _reasoning(self, stream_id: str, text: str) -> Iterator[AGUIEvent]:
        if not text:
            return
        is_new = self._kind != "reasoning"
        self._reasonings += is_new
        message = {"messageId": f"{stream_id}-reasoning-{self._reasonings}"}
        if is_new:
            yield from self._close()
            self._kind = "reasoning"
            self._open = [{"type": "REASONING_MESSAGE_END", **message}, {"type": "REASONING_END", **message}]
            yield {"type": "REASONING_START", **message}
            yield {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"}
        yield {"type": "REASONING_MESSAGE_CONTENT", **message, "delta": text}

    def _tool_call(self, event: ToolCall) -> Iterator[AGUIEvent]:
        call_id = self._calls.get(event.index)
        if call_id is None:
            yield from self._close()
            call_id = self._calls[event.index] = event.id or f"{self._message_id}-call-{event.index}"
            call = {"toolCallId": call_id, "toolCallName": event.name or "unknown"}
            yield {"type": "TOOL_CALL_START", **call, "parentMessageId": self._message_id}
        if event.arguments:
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": event.arguments}

    def _close(self) -> Iterator[AGUIEvent]:
        yield from self._open
        self._kind, self._open = "", ()

    def _end_calls(self) -> Iterator[AGUIEvent]:
        for call_id in self._calls.values():
            yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
        self._calls.clear()

    def _reset(self, stream_id: str) -> Iterator[AGUIEvent]:
        yield from self._close()
        yield from self._end_calls()
        self._attempts += 1
        self._message_id = f"{stream_id}-{self._attempts}"
        yield {"type": "MESSAGES_SNAPSHOT", "messages": self._conversation}

    # The end of the run

    def _done(self, done: Done) -> Iterator[AGUIEvent]:
        """A failed run leaves its tool calls open: they may be incomplete, so the client must not execute them."""
        yield from self._close()
        usage = {"usage": [usage]} if (usage := usage_of(self._usage, self._model)) else {}
        metadata = {"metadata": {"status": done.status} | cost_of(self._usage)}
        if self._failure or done.status in ("failed", "timed_out", "interrupted"):
            error = self._failure or StreamError
            yield {"type": "RUN_ERROR", "message": error.message, "code": error.code, **usage, **metadata}
            return
        yield from self._end_calls()
        outcome = "success" if done.status in WHOLE else "cancelled"
        yield {"type": "RUN_FINISHED", **self._run, "outcome": {"type": outcome}, **usage, **metadata}


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
