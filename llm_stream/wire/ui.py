"""The UI message stream of the Vercel AI SDK, version 1: what `useChat` of ai 5, 6 and 7 reads.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol

Only what all three know is written: a chunk of an unknown type, a null, or a part that was not opened is fatal to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import StreamError
from ..events import CONTENT
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

HEADERS = {"X-Vercel-AI-UI-Message-Stream": "v1"}

END = b"data: [DONE]\n\n"

FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}
"""Others are `other`: ai 5, 6 and 7 have no more than these and `error` in common."""

STARTED_AGAIN = "The answer broke off and is being written again. Please try again."
NOT_JSON = "The arguments of this call are not valid JSON."
BROKE_OFF = "The answer ended before this call could be made."

REFUSED = {"llm_stream": {"refusal": True}}
"""The provider metadata of a text in which the model declines: the protocol has no other place for it."""

Chunk = dict[str, Any]

_json = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    """A tool call as far as it has come."""

    id: str
    name: str
    arguments: str = ""


class UIWire(Wire):
    """`message_id` is that of the message which the answer goes on with; it is the stream's for a message of its own.

    What a `Reset` has made void is left out where it has not been written yet. Where it has, the response ends with
    an error: these clients cannot take text back, and what follows would stand behind it as if it belonged there. The
    stream goes on, and whoever reads it from its start has the new attempt alone.
    """

    def __init__(self, message_id: str | None = None) -> None:
        self._message_id = message_id
        self._model = ""
        self._parts = 0
        self._open: tuple[str, str] | None = None
        self._is_refusal = False
        self._calls: dict[int, _Call] = {}
        self._has_content = False
        self.is_over = False
        self._failure: Failure | None = None
        self._usage: Usage | None = None

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        written = events if self._has_content else _not_void(events)
        return b"".join(self._frames(stream_id, written))

    def _frames(self, stream_id: str, events: Sequence[Event]) -> Iterator[bytes]:
        for event in events:
            if self.is_over:
                return
            for chunk in self._chunks(stream_id, event):
                yield b"data: %b\n\n" % _json(chunk)
            if self.is_over:
                yield END

    def _chunks(self, stream_id: str, event: Event) -> Iterator[Chunk]:
        if isinstance(event, Delta):
            yield from self._part("text", event.text)
        elif isinstance(event, Reasoning):
            yield from self._part("reasoning", event.text)
        elif isinstance(event, Refusal):
            yield from self._part("text", event.text, is_refusal=True)
        elif isinstance(event, ToolCall):
            yield from self._tool_call(stream_id, event)
        elif isinstance(event, Start):
            self._model = event.model or ""
            yield {"type": "start", "messageId": self._message_id or event.id}
            yield {"type": "start-step"}
        elif isinstance(event, Reset):
            yield from self._broken_off(STARTED_AGAIN)
        elif isinstance(event, Failure):
            self._failure = event
        elif isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Done):
            yield from self._done(event)

    # The parts of the message…

    def _part(self, kind: str, text: str, *, is_refusal: bool = False) -> Iterator[Chunk]:
        if not text:
            return
        self._has_content = True
        if self._open is None or self._open[0] != kind or self._is_refusal != is_refusal:
            yield from self._close()
            self._parts += 1
            self._open, self._is_refusal = (kind, f"{kind}-{self._parts}"), is_refusal
            about = {"providerMetadata": REFUSED} if is_refusal else {}
            yield {"type": f"{kind}-start", "id": self._open[1], **about}
        yield {"type": f"{kind}-delta", "id": self._open[1], "delta": text}

    def _close(self) -> Iterator[Chunk]:
        if self._open is not None:
            kind, part_id = self._open
            self._open = None
            yield {"type": f"{kind}-end", "id": part_id}

    def _tool_call(self, stream_id: str, event: ToolCall) -> Iterator[Chunk]:
        call = self._calls.get(event.index)
        if call is None:
            self._has_content = True
            yield from self._close()
            call = _Call(event.id or f"{stream_id}-call-{event.index}", event.name or "unknown")
            self._calls[event.index] = call
            yield {"type": "tool-input-start", "toolCallId": call.id, "toolName": call.name}
        if event.arguments:
            call.arguments += event.arguments
            yield {"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": event.arguments}

    def _end_calls(self, *, is_whole: bool) -> Iterator[Chunk]:
        """The client makes a call as soon as it is told that it is there: never one of an answer that broke off."""
        for call in self._calls.values():
            named = {"toolCallId": call.id, "toolName": call.name}
            try:
                arguments = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
                problem = None if is_whole else BROKE_OFF
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                arguments, problem = call.arguments, NOT_JSON if is_whole else BROKE_OFF
            if problem is None:
                yield {"type": "tool-input-available", **named, "input": arguments}
            else:
                yield {"type": "tool-input-error", **named, "input": arguments, "errorText": problem}
        self._calls.clear()

    # Its end…

    def _done(self, done: Done) -> Iterator[Chunk]:
        metadata = self._metadata(done)
        if self._failure or done.status in ("failed", "timed_out", "interrupted"):
            problem = self._failure.message if self._failure else StreamError.message
            yield from self._broken_off(problem, {"type": "message-metadata", "messageMetadata": metadata})
            return
        is_whole = done.status in ("completed", "incomplete")
        yield from self._end_step(is_whole=is_whole)
        if not is_whole:
            yield {"type": "abort", "reason": done.status}
        unnamed = "stop" if done.status == "completed" and done.finish_reason is None else "other"
        reason = FINISH_REASONS.get(done.finish_reason or "", unnamed)
        yield {"type": "finish", "finishReason": reason, "messageMetadata": metadata}
        self.is_over = True

    def _broken_off(self, problem: str, *before: Chunk) -> Iterator[Chunk]:
        """The parts are closed first, because nothing is read after an error."""
        yield from self._end_step(is_whole=False)
        yield from before
        yield {"type": "error", "errorText": problem}
        self.is_over = True

    def _end_step(self, *, is_whole: bool) -> Iterator[Chunk]:
        yield from self._close()
        yield from self._end_calls(is_whole=is_whole)
        yield {"type": "finish-step"}

    def _metadata(self, done: Done) -> Mapping[str, Any]:
        metadata: dict[str, Any] = {"model": self._model, "status": done.status}
        if self._usage is not None:
            metadata["usage"] = usage_of(self._usage)
        if failure := self._failure:
            metadata["error"] = {"code": failure.code, "retryable": failure.retryable, "errorId": failure.error_id}
        return metadata


def usage_of(usage: Usage) -> dict[str, Any]:
    """Under the names that the AI SDK has for them; what is not known is absent."""
    total = None
    if usage.input_tokens is not None and usage.output_tokens is not None:
        total = usage.input_tokens + usage.output_tokens
    figures = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": total,
        "cachedInputTokens": usage.cached_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "source": usage.source,
        "cost": usage.cost,
        "currency": usage.currency,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _not_void(events: Sequence[Event]) -> Sequence[Event]:
    """Without what a `Reset` among them takes back."""
    last = max((at for at, event in enumerate(events) if isinstance(event, Reset)), default=-1)
    void = (*CONTENT, Reset)
    return [event for at, event in enumerate(events) if at > last or not isinstance(event, void)]
