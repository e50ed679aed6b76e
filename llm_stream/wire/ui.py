"""The Vercel AI SDK's UI message stream, version 1, for `useChat` of ai 5, 6 and 7.

https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol

It uses only chunks that all three versions support. They fail on an unknown chunk type, a null or an unopened part.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import StreamError
from ..events import CONTENT
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
from .ui_calls import Calls
from .ui_calls import Chunk
from .ui_calls import metadata_of

HEADERS = {"X-Vercel-AI-UI-Message-Stream": "v1"}

END = b"data: [DONE]\n\n"

FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}
"""All other reasons become `other`, because ai 5, 6 and 7 share only these and `error`."""

STARTED_AGAIN = "The answer broke off and is being written again. Please try again."
REFUSED = {"llm_stream": {"refusal": True}}
"""Provider metadata that marks a text as a refusal, because the protocol has no refusal part."""

_json = msgspec.json.Encoder().encode


class UIWire(Wire):
    """`message_id` is the message that the answer continues; by default a new message with the stream's id.

    The wire skips content before a `Reset` if it has not written that content yet. Otherwise the response ends with an
    error, because these clients cannot remove text and would append the retry's text. The stream continues, and a new
    reader gets only the retry's content.
    """

    def __init__(self, message_id: str | None = None) -> None:
        self._message_id = message_id
        self._model = ""
        self._parts = 0
        self._open: tuple[str, str] | None = None
        self._is_refusal = False
        self._sources = 0
        self._calls = Calls()
        self._has_content = False
        self.is_over = False
        self._failure: Failure | None = None
        self._usage: Usage | None = None

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        return b"".join(self._frames(stream_id, events if self._has_content else _skip_void(events)))

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
        elif isinstance(event, (ToolCall, ToolResult, Approval)):
            self._has_content = True
            if not self._calls.has(event):  # a further fragment of a call does not end a text
                yield from self._close()
            yield from self._calls.chunks_of(stream_id, event)
        elif isinstance(event, (Source, File, Data)):
            self._has_content = True
            yield self._attachment(stream_id, event)
        elif isinstance(event, Partial):
            yield {"type": "data-partial", "transient": True, "data": event.value}
        elif isinstance(event, Opaque):
            yield from self._opaque(event)
        elif isinstance(event, Step):
            yield from self._close()
            yield from self._calls.end_step()
            yield from ({"type": "finish-step"}, {"type": "start-step"})
        elif isinstance(event, Start):
            self._model = event.model or ""
            yield {"type": "start", "messageId": self._message_id or event.id}
            yield {"type": "start-step"}
        elif isinstance(event, Reset):
            yield from self._fail(STARTED_AGAIN)
        elif isinstance(event, Done):
            yield from self._done(event)
        else:
            self._store(event)

    def _store(self, event: Event) -> None:
        """Keep the event for the end of the message."""
        if isinstance(event, Failure):
            self._failure = event
        elif isinstance(event, Usage):
            self._usage = event

    # The parts of the message

    def _part(self, kind: str, text: str, *, is_refusal: bool = False) -> Iterator[Chunk]:
        if not text:
            return
        self._has_content = True
        if self._open is None or self._open[0] != kind or self._is_refusal != is_refusal:
            yield from self._close()
            self._parts += 1
            self._open, self._is_refusal = (kind, f"{kind}-{self._parts}"), is_refusal
            metadata = {"providerMetadata": REFUSED} if is_refusal else {}
            yield {"type": f"{kind}-start", "id": self._open[1], **metadata}
        yield {"type": f"{kind}-delta", "id": self._open[1], "delta": text}

    def _close(self, **metadata: Any) -> Iterator[Chunk]:
        if self._open is not None:
            kind, part_id = self._open
            self._open = None
            yield {"type": f"{kind}-end", "id": part_id, **metadata}

    def _attachment(self, stream_id: str, event: Source | File | Data) -> Chunk:
        if isinstance(event, Data):
            transient = event.transient or None
            fields = without_none({"type": f"data-{event.name}", "id": event.id, "transient": transient})
            return fields | {"data": event.data}
        if isinstance(event, File):
            return {"type": "file", "url": event.url, "mediaType": event.media_type}
        self._sources += 1
        place = without_none({"start": event.start, "end": event.end})
        metadata = metadata_of(**place) if place else {}
        source = {"type": "source-url", "sourceId": f"{stream_id}-source-{self._sources}", "url": event.url}
        return source | without_none({"title": event.title}) | metadata

    def _opaque(self, event: Opaque) -> Iterator[Chunk]:
        """Send the state with the open part, else with the last call, else with an empty text."""
        message = without_none({"fields": event.fields or None, "reasoning": event.reasoning})
        if self._open is None and self._calls.is_empty:
            self._parts += 1
            self._open = ("text", f"text-{self._parts}")
            yield {"type": "text-start", "id": self._open[1]}
        if self._open is not None:
            yield from self._close(**metadata_of(message=message))
        else:
            yield from self._calls.carry(message)

    # The end of the message

    def _done(self, done: Done) -> Iterator[Chunk]:
        metadata = self._metadata(done)
        if self._failure or done.status in ("failed", "timed_out", "interrupted"):
            error = self._failure or StreamError
            yield from self._fail(error.message, {"type": "message-metadata", "messageMetadata": metadata})
            return
        is_whole = done.status in WHOLE
        yield from self._end_step(is_whole=is_whole)
        if not is_whole:
            yield {"type": "abort", "reason": done.status}
        default = "stop" if done.status == "completed" and done.finish_reason is None else "other"
        reason = FINISH_REASONS.get(done.finish_reason or "", default)
        yield {"type": "finish", "finishReason": reason, "messageMetadata": metadata}
        self.is_over = True

    def _fail(self, problem: str, *before: Chunk) -> Iterator[Chunk]:
        """Send an error, but close all parts first, because clients stop reading at an error."""
        yield from self._end_step(is_whole=False)
        yield from before
        yield {"type": "error", "errorText": problem}
        self.is_over = True

    def _end_step(self, *, is_whole: bool) -> Iterator[Chunk]:
        yield from self._close()
        yield from self._calls.end(is_whole=is_whole)
        yield {"type": "finish-step"}

    def _metadata(self, done: Done) -> Mapping[str, Any]:
        metadata: dict[str, Any] = {"model": self._model, "status": done.status}
        if self._usage is not None:
            metadata["usage"] = usage_of(self._usage)
        if failure := self._failure:
            metadata["error"] = {"code": failure.code, "retryable": failure.retryable, "errorId": failure.error_id}
        return metadata


def usage_of(usage: Usage) -> dict[str, Any]:
    """Usage under the AI SDK's names, without unknown figures."""
    figures = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cachedInputTokens": usage.cached_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "source": usage.source,
        "cost": usage.cost,
        "currency": usage.currency,
    }
    return without_none(figures)


def _skip_void(events: Sequence[Event]) -> Sequence[Event]:
    """Remove the content that a `Reset` in `events` voids."""
    last = max((at for at, event in enumerate(events) if isinstance(event, Reset)), default=-1)
    void = (*CONTENT, Partial, Reset, Opaque, Step)
    return [event for at, event in enumerate(events) if at > last or not isinstance(event, void)]
