"""AG-UI 1.0, as `HttpAgent` of @ag-ui/client reads it.

https://docs.ag-ui.com/concepts/events

Its parser takes LF only, and nothing but JSON in `data:`; its verifier takes no run for finished that has an open part.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import StreamError
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

AGUIEvent = dict[str, Any]

MOST_TOKENS = 2**53 - 1
"""A larger figure is left out: the client's schema would refuse the end of the run for it."""

_json = msgspec.json.Encoder().encode


class AGUIWire(Wire):
    """One run of a thread. `conversation` are its messages before the answer, as the client sent them.

    Text, refusal and tool calls make up one message of the assistant, under the stream's id. A `Reset` is told by a
    snapshot of the conversation without it, and the next attempt's is another; what was thought the client keeps.
    """

    def __init__(self, thread_id: str, run_id: str, conversation: Sequence[Mapping[str, Any]]) -> None:
        self._run = {"threadId": thread_id, "runId": run_id}
        self._conversation = conversation
        self._model = ""
        self._message_id = ""
        self._attempts = 1
        self._thoughts = 0
        self._open: Sequence[AGUIEvent] = ()
        self._kind = ""
        self._calls: dict[int, str] = {}
        self._failure: Failure | None = None
        self._usage: Usage | None = None

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        return b"".join(
            b"data: %b\n\n" % _json(written) for event in events for written in self._events(stream_id, event)
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

    # The parts of the answer…

    def _text(self, text: str) -> Iterator[AGUIEvent]:
        if not text:
            return
        named = {"messageId": self._message_id}
        if self._kind != "text":
            yield from self._close()
            self._kind, self._open = "text", [{"type": "TEXT_MESSAGE_END", **named}]
            yield {"type": "TEXT_MESSAGE_START", **named, "role": "assistant"}
        yield {"type": "TEXT_MESSAGE_CONTENT", **named, "delta": text}

    def _reasoning(self, stream_id: str, text: str) -> Iterator[AGUIEvent]:
        if not text:
            return
        if self._kind != "reasoning":
            yield from self._close()
            self._thoughts += 1
            named = {"messageId": f"{stream_id}-reasoning-{self._thoughts}"}
            self._kind = "reasoning"
            self._open = [{"type": "REASONING_MESSAGE_END", **named}, {"type": "REASONING_END", **named}]
            yield {"type": "REASONING_START", **named}
            yield {"type": "REASONING_MESSAGE_START", **named, "role": "reasoning"}
        thought = f"{stream_id}-reasoning-{self._thoughts}"
        yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": thought, "delta": text}

    def _tool_call(self, event: ToolCall) -> Iterator[AGUIEvent]:
        call_id = self._calls.get(event.index)
        if call_id is None:
            yield from self._close()
            call_id = self._calls[event.index] = event.id or f"{self._message_id}-call-{event.index}"
            named = {"toolCallId": call_id, "toolCallName": event.name or "unknown"}
            yield {"type": "TOOL_CALL_START", **named, "parentMessageId": self._message_id}
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

    # The end of the run…

    def _done(self, done: Done) -> Iterator[AGUIEvent]:
        """A call of a run that failed is left open: it is not whole, and must not be made."""
        yield from self._close()
        usage = {"usage": [usage]} if (usage := usage_of(self._usage, self._model)) else {}
        metadata = {"metadata": {"status": done.status} | cost_of(self._usage)}
        if self._failure or done.status in ("failed", "timed_out", "interrupted"):
            code = self._failure.code if self._failure else StreamError.code
            message = self._failure.message if self._failure else StreamError.message
            yield {"type": "RUN_ERROR", "message": message, "code": code, **usage, **metadata}
            return
        yield from self._end_calls()
        outcome = "success" if done.status in ("completed", "incomplete") else "cancelled"
        yield {"type": "RUN_FINISHED", **self._run, "outcome": {"type": outcome}, **usage, **metadata}


def usage_of(usage: Usage | None, model: str) -> dict[str, Any]:
    """One entry of AG-UI's list; nothing where there are no figures."""
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return {}
    total = None
    if usage.input_tokens is not None and usage.output_tokens is not None:
        total = usage.input_tokens + usage.output_tokens
    figures = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": total,
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cached_tokens,
    }
    known = {name: figure for name, figure in figures.items() if figure is not None and figure <= MOST_TOKENS}
    return {"model": model, **known}


def cost_of(usage: Usage | None) -> dict[str, Any]:
    """What AG-UI's usage has no place for."""
    if usage is None:
        return {}
    figures = {"source": usage.source, "cost": usage.cost, "currency": usage.currency}
    return {name: figure for name, figure in figures.items() if figure is not None}
