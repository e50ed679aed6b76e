"""Decodes chat completion chunks into events.

The decoder accepts what providers really send, which is more than the reference allows: empty or missing `choices`,
`content: null` or a list of parts, usage on any chunk or none, a tool call without an index, reasoning under two names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from typing import Any
from typing import Literal

import msgspec

from ..errors import UpstreamCut
from ..errors import UpstreamError
from ..errors import UpstreamGarbled
from ..events import Delta
from ..events import Event
from ..events import Reasoning
from ..events import Refusal
from .citations import CITING
from .citations import Citations
from .ending import Ending
from .figures import later
from .figures import usage_of
from .figures import was_bought
from .opaque import MessageState
from .opaque import Room
from .refusals import error_in_body
from .refusals import is_error
from .refusals import is_refusal
from .source import Attempt
from .text import Halves
from .text import Said
from .text import decode_json
from .text import text_of
from .text import whole
from .thoughts import Thoughts
from .tool_calls import ToolCalls

WORDS = (
    "content", "reasoning_content", "reasoning", "reasoning_details",
    "refusal", "tool_calls", "function_call", "images",
)  # fmt: skip

INCOMPLETE = ("length", "content_filter", "max_tokens")
FILTERED = ("safety", "recitation", "blocklist", "prohibited_content", "spii")
"""Gemini's own names for `content_filter`, in lower case."""
BROKEN = ("error", "abort", "insufficient_system_resource")
"""OpenRouter; SGLang and vLLM; DeepSeek: the server ended the answer, not the model."""


_NoList = Annotated[list[Any], msgspec.Meta(max_length=0)] | None


class _PlainDelta(msgspec.Struct, gc=False):
    """A delta with only text: decoding fails if a field has another type, or if another relevant field is set."""

    content: str
    reasoning: None = None
    reasoning_content: None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning_details: _NoList = None
    extra_content: None = None
    annotations: _NoList = None
    images: _NoList = None


class _PlainChoice(msgspec.Struct, gc=False):
    delta: _PlainDelta
    index: Literal[0] = 0
    finish_reason: None = None


class _PlainChunk(msgspec.Struct, gc=False):
    choices: tuple[_PlainChoice]
    usage: None = None
    error: None = None
    x_groq: None = None
    citations: _NoList = None
    search_results: _NoList = None


_decode_plain = msgspec.json.Decoder(_PlainChunk).decode
"""Nearly all chunks of an answer are plain. This decoder takes a third of the time."""


class ChunkDecoder:
    """Decodes the chunks of one answer, in order, and records the model, tier and figures in its `attempt`."""

    def __init__(self, attempt: Attempt | None = None) -> None:
        self.attempt = attempt or Attempt(accepted=True)
        self.finish_reason: str | None = None
        self._has_choices = False
        self._has_deltas = False
        self._may_be_plain = False
        self._text = Said()
        self._reasoning = Said()
        self._refusal = Said()
        room = Room()
        self._tool_calls = ToolCalls(room)
        self._state = MessageState(room)
        self._citations = Citations()
        self._thoughts = Thoughts()
        self._halves = Halves()

    def feed(self, payload: bytes) -> list[Event]:
        """The events of one payload. Raises `UpstreamError`."""
        if self._may_be_plain:
            try:
                if text := _decode_plain(payload).choices[0].delta.content:
                    self._text.append(text)
                    return [Delta(text)]
                return []
            except (ValueError, RecursionError):
                pass  # not a plain chunk
        chunk, *more = _chunks_in(payload)
        events = self.events(chunk)
        for chunk in more:
            events += self.events(chunk)
        return events

    def events(self, chunk: Mapping[str, Any]) -> list[Event]:
        """The events of one decoded chunk. Raises `UpstreamError` for an error object."""
        if not self._has_choices or is_error(chunk):
            self._raise_error(chunk)
        attempt = self.attempt
        if attempt.upstream_model is None and isinstance(chunk.get("model"), str):
            attempt.upstream_model = whole(chunk["model"]) or None
        self._read_usage(chunk)
        choice = _choice_in(chunk)
        self._has_choices |= bool(choice)
        cited = self._citations.of_chunk(chunk) if any(name in chunk for name in CITING) else []
        if not choice or choice.get("index"):  # one of several answers, though we asked for one
            return [*cited]
        delta, message = _mapping(choice.get("delta")), _mapping(choice.get("message"))
        reason = choice.get("finish_reason")
        self._has_deltas |= bool(delta)
        events = self._events_in(delta) if delta else []
        if message and (reason or not delta):
            events += self._missing_from(message)
        events += cited
        if reason:
            self.finish_reason = _reason_of(reason)
            events += self._tool_calls.end()
        if self.finish_reason and (state := self._state.event(self._reasoning.joined())):
            events.append(state)
        is_begun = self._has_deltas and attempt.upstream_model is not None
        self._may_be_plain = is_begun and not self._halves and not self._thoughts.are_open
        return events

    @property
    def is_whole(self) -> bool:
        return self.finish_reason is not None

    def end(self) -> Ending:
        """The ending of the answer. Raises `UpstreamError` if the answer is incomplete."""
        reason = self.finish_reason
        if reason is None:
            raise UpstreamCut()
        if reason in BROKEN:
            raise UpstreamError()
        self.attempt.is_whole = True
        return Ending("incomplete" if reason in INCOMPLETE else "completed", reason, usage=self.attempt.figures)

    def _raise_error(self, chunk: Mapping[str, Any]) -> None:
        """Raise `UpstreamError` if the chunk is an error. An error before any choice or figures is a refusal."""
        if self.finish_reason and self.finish_reason not in BROKEN:
            return  # the answer has ended; OpenRouter repeats a length cut-off as an error
        has_begun = self._has_choices or was_bought(self.attempt.figures) or _has_words(_choice_in(chunk))
        if not (is_error(chunk) if has_begun else is_refusal(chunk)):
            return
        figures = usage_of(_figures_in(chunk))
        if figures and was_bought(figures):
            self.attempt.figures = later(self.attempt.figures, figures)
        elif not has_begun:  # nothing was bought
            self.attempt.accepted, self.attempt.figures = False, None
        raise error_in_body(chunk)

    def _events_in(self, delta: Mapping[str, Any]) -> list[Event]:
        events: list[Event] = []
        thoughts, content = self._thoughts.split(delta, text_of(delta.get("content")))
        if reasoning := self._state.reasoning_in(delta) or thoughts:
            text = whole(reasoning)
            events.append(Reasoning(text))
            self._reasoning.append(text)
        if content and (text := self._halves.joined(content)):
            events.append(Delta(text))
            self._text.append(text)
        if refusal := text_of(delta.get("refusal")):
            text = whole(refusal)
            events.append(Refusal(text))
            self._refusal.append(text)
        if calls := _calls_in(delta):
            events += self._tool_calls.events_of(calls)
        self._state.add(delta)
        return [*events, *self._citations.of_part(delta)]

    def _missing_from(self, message: Mapping[str, Any]) -> list[Event]:
        """Events for the unsent part of a `message`, which has the whole answer so far. Some servers stream so."""
        self._halves.clear()
        events: list[Event] = []
        thoughts, content = Thoughts().split(message, text_of(message.get("content")))
        if text := self._rest(self._reasoning, self._state.reasoning_in(message) or thoughts):
            events.append(Reasoning(text))
        if text := self._rest(self._text, content):
            events.append(Delta(text))
        if text := self._rest(self._refusal, text_of(message.get("refusal"))):
            events.append(Refusal(text))
        self._state.complete(message)
        events += self._tool_calls.missing_from(_calls_in(message))
        return [*events, *self._citations.of_part(message)]

    def _rest(self, said: Said, text: str) -> str:
        text = whole(text)
        rest = said.missing_from(text)
        if rest is None:  # if `text` contradicts the deltas, the deltas win
            rest = "" if self._has_deltas else text
        said.append(rest)
        return rest

    def _read_usage(self, chunk: Mapping[str, Any]) -> None:
        figures = _figures_in(chunk)
        tier = chunk.get("service_tier") or figures.get("service_tier")
        if isinstance(tier, str):
            self.attempt.service_tier = whole(tier)
        if figures and (usage := usage_of(figures)):
            self.attempt.figures = later(self.attempt.figures, usage)


NOTHING: Mapping[str, Any] = {}


def _reason_of(word: Any) -> str:
    name = str(word).partition(":")[0].lower()  # Gemini: `content_filter: RECITATION`
    if name in FILTERED:
        return "content_filter"
    return name if name in INCOMPLETE else whole(str(word))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if value and isinstance(value, (dict, Mapping)) else NOTHING


def _choice_in(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = chunk.get("choices")
    return _mapping(choices[0]) if choices and isinstance(choices, list) else NOTHING


def _has_words(choice: Mapping[str, Any]) -> bool:
    parts = choice.get("delta"), choice.get("message")
    return any(part.get(kind) for part in map(_mapping, parts) for kind in WORDS)


def _figures_in(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(chunk.get("usage") or _mapping(chunk.get("x_groq")).get("usage"))


def _chunks_in(payload: bytes) -> list[dict[str, Any]]:
    """One chunk, or (Google) a list of them. Raises `UpstreamGarbled`."""
    try:
        value = decode_json(payload)
    except (ValueError, RecursionError) as error:
        raise UpstreamGarbled() from error
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return value
    raise UpstreamGarbled()


def _calls_in(delta: Mapping[str, Any]) -> list[Any]:
    """The tool calls, or the single function call that old servers send."""
    calls, function = delta.get("tool_calls"), _mapping(delta.get("function_call"))
    if calls and isinstance(calls, list):
        return calls
    return [{"function": function}] if function else []
