"""A chat completion chunk becomes events.

Written against what providers send, not against what the reference says they send: empty or missing `choices`,
`content: null` or a list of parts, usage on any chunk or none, a tool call without an index, reasoning under two names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Literal

import msgspec

from ..errors import UpstreamCut
from ..errors import UpstreamError
from ..errors import UpstreamGarbled
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Reasoning
from ..events import Refusal
from ..events import Status
from ..events import ToolCall
from ..events import Usage
from . import json_values
from .figures import later
from .figures import usage_of
from .refusals import error_in_stream

MAX_TOOL_CALLS = 10_000

INCOMPLETE = ("length", "content_filter", "max_tokens")
BROKEN = ("error", "abort")  # OpenRouter, SGLang and vLLM: the answer ended, but not by the model's will


class _PlainDelta(msgspec.Struct, gc=False):
    """Text, and nothing else: a field of another type, or one more of those that matter, does not fit."""

    content: str
    reasoning: None = None
    reasoning_content: None = None
    refusal: None = None
    tool_calls: None = None


class _PlainChoice(msgspec.Struct, gc=False):
    delta: _PlainDelta
    index: Literal[0] = 0
    finish_reason: None = None


class _PlainChunk(msgspec.Struct, gc=False):
    choices: tuple[_PlainChoice]
    usage: None = None
    error: None = None
    x_groq: None = None


_decode_plain = msgspec.json.Decoder(_PlainChunk).decode
"""Nearly all chunks of an answer are plain; read so, they cost a third."""


class ChunkDecoder:
    """Reads the chunks of one answer, in order."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.service_tier: str | None = None
        self._tool_ids: dict[int, str] = {}
        self._tool_index = -1
        self._half = ""

    def feed(self, payload: bytes) -> list[Event]:
        """The events of one chunk, as it was sent. Raises `UpstreamError`."""
        if self.model is not None and not self._half:
            try:
                (choice,) = _decode_plain(payload).choices
                return [Delta(choice.delta.content)] if choice.delta.content else []
            except (msgspec.DecodeError, ValueError):
                pass  # it is more than a piece of text
        chunk, *more = _chunks_in(payload)
        events = self.events(chunk)
        for chunk in more:
            events += self.events(chunk)
        return events

    def events(self, chunk: Mapping[str, Any]) -> list[Event]:
        """The events of one chunk. Raises `UpstreamError` for an error that arrives in the stream."""
        if error := _error_in(chunk):
            raise error_in_stream(error)
        if self.model is None and isinstance(chunk.get("model"), str):
            self.model = chunk["model"] or None
        self._read_usage(chunk)
        choices = chunk.get("choices")
        if not choices or not isinstance(choices, list) or not isinstance(choices[0], Mapping):
            return []
        choice = choices[0]
        if choice.get("index"):  # another of several answers: one was asked for
            return []
        if choice.get("finish_reason"):
            self.finish_reason = whole(str(choice["finish_reason"]))
        delta = choice.get("delta") or choice.get("message")
        return self._content(delta) if isinstance(delta, Mapping) else []

    def end(self) -> list[Event]:
        """The terminal events. Raises `UpstreamError` if the answer is not whole."""
        events: list[Event] = [self.usage] if self.usage else []
        return [*events, self.done()]

    def done(self) -> Done:
        """How the answer ended. Raises `UpstreamError` if it is not whole."""
        reason = self.finish_reason
        if reason is None:
            raise UpstreamCut()
        if reason in BROKEN:
            raise UpstreamError()
        status: Status = "incomplete" if reason in INCOMPLETE else "completed"
        return Done(status=status, finish_reason=reason)

    def _content(self, delta: Mapping[str, Any]) -> list[Event]:
        events: list[Event] = []
        # servers that know both names send the same text under both
        if text := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
            events.append(Reasoning(whole(text)))
        if (content := _text(delta.get("content"))) and (text := self._joined(content)):
            events.append(Delta(text))
        if refusal := _text(delta.get("refusal")):
            events.append(Refusal(whole(refusal)))
        if isinstance(calls := delta.get("tool_calls"), list):
            events += [self._tool_call(call) for call in calls if isinstance(call, Mapping)]
        return events

    def _joined(self, text: str) -> str:
        """Some servers cut text between the two halves of a UTF-16 pair; the first waits for the second."""
        if self._half:
            text, self._half = self._half + text, ""
        elif text.isascii():
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return whole(text)

    def _tool_call(self, call: Mapping[str, Any]) -> ToolCall:
        function = call.get("function")
        function = function if isinstance(function, Mapping) else {}
        call_id = whole(str(call["id"])) if call.get("id") else None
        index = call.get("index")
        if (
            not isinstance(index, int)
            or not 0 <= index < MAX_TOOL_CALLS
            or (call_id and self._tool_ids.get(index, call_id) != call_id)
        ):
            # no index, or one that another call has already: a new id starts a new call, else it is the last one's
            known = next((i for i, known in self._tool_ids.items() if known == call_id), None)
            index = known if known is not None else self._tool_index + 1 if call_id else max(self._tool_index, 0)
        first = index not in self._tool_ids
        self._tool_index = max(self._tool_index, index)
        self._tool_ids.setdefault(index, str(call_id))
        arguments, name = function.get("arguments"), function.get("name")
        return ToolCall(
            index=index,
            arguments=whole(arguments) if isinstance(arguments, str) else "",
            id=call_id if first else None,
            name=whole(name) if first and isinstance(name, str) else None,
        )

    def _read_usage(self, chunk: Mapping[str, Any]) -> None:
        given = _mapping(chunk.get("usage") or _mapping(chunk.get("x_groq")).get("usage"))
        tier = chunk.get("service_tier") or given.get("service_tier")
        if isinstance(tier, str):
            self.service_tier = whole(tier)
        if usage := usage_of(given):
            self.usage = later(self.usage, usage)


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _chunks_in(payload: bytes) -> list[dict[str, Any]]:
    """One, or (Google) a list of them. Raises `UpstreamGarbled`."""
    try:
        value = json_values.decode(payload)
    except (ValueError, RecursionError) as error:
        raise UpstreamGarbled() from error
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return value
    raise UpstreamGarbled()


def _error_in(chunk: Mapping[str, Any]) -> Any:
    """The error that a chunk holds, in any of its forms: `{"error": …}`, and flat ones that the SDK lets through."""
    if error := chunk.get("error"):
        return error
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return chunk
    return None


def _text(content: Any) -> str:
    """Content is a string, or null, or (Mistral) a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, Mapping))
    return ""


def whole(text: str) -> str:
    """The text, without halves of UTF-16 pairs: they cannot be sent to anybody."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
