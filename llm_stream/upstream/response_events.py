"""Decodes the events of the Responses API into our events.

The decoder requires only the fields that it uses: servers leave out `sequence_number`, `output_index` and
`content_index`, name the model only at the end, and change an item's id from one event to the next. So the decoder
distinguishes texts by their order. Content that a server did not stream is taken from the whole part, item or response.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping
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
from .ending import Ending
from .figures import later
from .figures import usage_of
from .figures import was_bought
from .opaque import Room
from .refusals import error_in_body
from .refusals import is_error
from .refusals import is_refusal
from .response_calls import ResponseCalls
from .response_items import ReasoningItems
from .response_items import ToolItems
from .response_items import mapping
from .response_items import mappings
from .response_text import Texts
from .response_text import parts_of
from .source import Attempt
from .text import decode_json
from .text import whole

PREFIX = "response."
ENDS = ("completed", "incomplete", "failed", "cancelled")
REASONS = {"max_output_tokens": "length"}
"""The reasons for an incomplete answer that have another name in chat completions."""

PROGRESS = re.compile(r"response\.(\w+_call)\.([a-z_]+)").fullmatch
NO_STATUS = ("partial_image",)

TEXT_DELTA = "response.output_text.delta"


class _PlainDelta(msgspec.Struct, gc=False):
    """The type of nearly all events of an answer. Other fields, such as padding, are skipped."""

    type: Literal["response.output_text.delta"]
    delta: str


_decode_plain = msgspec.json.Decoder(_PlainDelta).decode


class ResponseDecoder:
    """Decodes the events of one answer, in order, and records the model, tier and figures in its `attempt`."""

    def __init__(self, attempt: Attempt | None = None) -> None:
        self.attempt = attempt or Attempt(accepted=True)
        self._ending: Ending | None = None
        self._has_begun = False
        self._may_be_plain = False
        room = Room()
        self._text = Texts(Delta)
        self._refusal = Texts(Refusal)
        self._reasoning = Texts(Reasoning, "\n\n")
        self._calls = ResponseCalls(room)
        self._reasoning_items = ReasoningItems(room)
        self._tools = ToolItems()
        self._add = self._text.add_whole
        self._handlers: dict[str, Callable[[Mapping[str, Any]], list[Event]]] = {
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.content_part.added": lambda _: self._text.begin_part(),
            "response.content_part.done": lambda event: self._part_done(mapping(event.get("part"))),
            TEXT_DELTA: lambda event: self._text.add(event.get("delta")),
            "response.output_text.done": lambda event: self._text.end_part(event.get("text")),
            "response.output_text.annotation.added": self._annotation_added,
            "response.refusal.delta": lambda event: self._refusal.add(event.get("delta")),
            "response.refusal.done": lambda event: self._refusal.end_part(event.get("refusal")),
            "response.reasoning_summary_part.added": lambda _: self._reasoning.begin_part(),
            "response.reasoning_summary_text.delta": lambda event: self._reasoning.add(event.get("delta")),
            "response.reasoning_summary_text.done": lambda event: self._reasoning.end_part(event.get("text")),
            "response.reasoning_text.delta": lambda event: self._reasoning.add(event.get("delta")),
            "response.reasoning_text.done": lambda event: self._reasoning.end_part(event.get("text")),
            "response.reasoning.delta": lambda event: self._reasoning.add(event.get("delta")),
            "response.reasoning.done": lambda event: self._reasoning.end_part(event.get("text")),
            "response.function_call_arguments.delta": self._calls.add,
            "response.function_call_arguments.done": self._calls.complete,
        }

    def feed(self, payload: bytes) -> list[Event]:
        """The events of one payload. Raises `UpstreamError`."""
        if self._may_be_plain:
            try:
                if text := _decode_plain(payload).delta:
                    self._add(text)
                    return [Delta(text)]
                return []
            except (ValueError, RecursionError):
                pass  # another event
        return self.events(_event_in(payload))

    def events(self, event: Mapping[str, Any]) -> list[Event]:
        """Our events for one decoded event. Raises `UpstreamError` for an error."""
        if self._ending is not None:
            return []
        kind = event.get("type")
        if not isinstance(kind, str) or not kind.startswith(PREFIX):
            return self._of_another_kind(event)
        response = mapping(event.get("response"))
        if response:
            self._read(response)
        if (status := kind.removeprefix(PREFIX)) in ENDS:
            return self._end(_status_of(response, status), response)
        handler = self._handlers.get(kind)
        events = handler(event) if handler else self._progress(kind, event)
        self._has_begun = self._has_begun or bool(events)
        self._may_be_plain = self._has_begun and not self._text.halves
        return events

    @property
    def is_whole(self) -> bool:
        return self._ending is not None

    def end(self) -> Ending:
        """The ending of the answer. Raises `UpstreamError` if the answer is incomplete."""
        if self._ending is None:
            raise UpstreamCut()
        self.attempt.is_whole = True
        return Ending(self._ending.status, self._ending.finish_reason, usage=self.attempt.figures)

    def _of_another_kind(self, event: Mapping[str, Any]) -> list[Event]:
        """Handles an error, and the whole response of a server that does not stream. Other events are ignored."""
        if event.get("object") == "response":
            self._read(event)
            return self._end(_status_of(event, "completed"), event)
        if is_error(event) if self._has_begun else is_refusal(event):
            raise self._failure(event)
        return []

    def _read(self, response: Mapping[str, Any]) -> None:
        attempt = self.attempt
        if attempt.upstream_model is None and isinstance(response.get("model"), str):
            attempt.upstream_model = whole(response["model"]) or None
        if attempt.request_id is None and isinstance(response.get("id"), str):
            attempt.request_id = whole(response["id"]) or None
        if isinstance(response.get("service_tier"), str):
            attempt.service_tier = whole(response["service_tier"])
        if usage := usage_of(mapping(response.get("usage"))):
            attempt.figures = later(attempt.figures, usage)

    def _failure(self, error: Mapping[str, Any]) -> UpstreamError:
        """The error. Before any content or figures, the error is a refusal, so the call is not billed."""
        if not self._has_begun and not was_bought(self.attempt.figures):
            self.attempt.accepted, self.attempt.figures = False, None
        return error_in_body(error)

    def _end(self, status: str, response: Mapping[str, Any]) -> list[Event]:
        """The rest of the answer, which may be only in the whole response. Raises `UpstreamError`."""
        if status == "failed":
            raise self._failure({"error": response.get("error") or {}})
        if status == "cancelled":
            raise UpstreamError()
        self._may_be_plain = False
        events = self._missing_from(response.get("output"))
        events += self._calls.end()
        if opaque := self._reasoning_items.event():
            events.append(opaque)
        if status == "incomplete":
            reason = mapping(response.get("incomplete_details")).get("reason")
            finish = REASONS.get(str(reason), whole(str(reason or "incomplete")))
            self._ending = Ending("incomplete", finish)
        elif self._is_cut_silently(response):
            self._ending = Ending("incomplete", "length")
        else:
            self._ending = Ending("completed", "tool_calls" if self._calls else "stop")
        return events

    def _is_cut_silently(self, response: Mapping[str, Any]) -> bool:
        """Whether the limit cut the answer off. llama.cpp sends no `incomplete_details`, so only the token count shows
        it.
        """
        limit, figures = self.attempt.asked.max_output_tokens, self.attempt.figures
        written = figures.output_tokens if figures else None
        return "incomplete_details" not in response and None not in (limit, written) and written == limit

    def _missing_from(self, output: Any) -> list[Event]:
        items = mappings(output)
        messages = [item for item in items if item.get("type") == "message"]
        events = self._reasoning.complete([part for item in items for part in parts_of(item, "reasoning")])
        events += self._text.complete([part for item in messages for part in parts_of(item, "output_text")])
        events += self._refusal.complete([part for item in messages for part in parts_of(item, "refusal")])
        events += self._tools.cited([part for item in messages for part in mappings(item.get("content"))])
        for item in items:
            events += self._tools.of_item(item)
        events += self._calls.missing_from([item for item in items if item.get("type") == "function_call"])
        self._reasoning_items.replace(items)
        return events

    def _item_added(self, event: Mapping[str, Any]) -> list[Event]:
        item = mapping(event.get("item"))
        kind = item.get("type")
        if kind == "message":
            self._text.begin_item()
            self._refusal.begin_item()
        elif kind == "reasoning":
            self._reasoning.begin_item()
        elif kind == "function_call":
            return self._calls.begin_item(event, item)
        return self._tools.of_item(item)

    def _item_done(self, event: Mapping[str, Any]) -> list[Event]:
        item = mapping(event.get("item"))
        kind = item.get("type")
        if kind == "message":
            before = self._text.before_item
            events = self._text.end_item(parts_of(item, "output_text"))
            events += self._refusal.end_item(parts_of(item, "refusal"))
            return events + self._tools.cited(mappings(item.get("content")), before)
        if kind == "reasoning":
            self._reasoning_items.add(item)
            return self._reasoning.end_item(parts_of(item, "reasoning"))
        if kind == "function_call":
            return self._calls.end_item(event, item)
        return self._tools.of_item(item)

    def _part_done(self, part: Mapping[str, Any]) -> list[Event]:
        if part.get("type") == "refusal":
            return self._refusal.end_part(part.get("refusal"))
        if part.get("type") != "output_text":
            return []
        before = self._text.before_part
        return self._text.end_part(part.get("text")) + self._tools.cited([part], before)

    def _annotation_added(self, event: Mapping[str, Any]) -> list[Event]:
        return self._tools.cited([{"annotations": [event.get("annotation")]}], self._text.before_part)

    def _progress(self, kind: str, event: Mapping[str, Any]) -> list[Event]:
        """The progress of a provider's tool."""
        found = PROGRESS(kind)
        if found is None or found[1] == "function_call" or found[2] in NO_STATUS:
            return []
        return self._tools.progress(found[1], event.get("item_id"), found[2])


def _status_of(response: Mapping[str, Any], status: str) -> str:
    """The response's own status, which takes precedence over the name of the event."""
    own = response.get("status")
    return own if own in ENDS else status


def _event_in(payload: bytes) -> dict[str, Any]:
    """Raises `UpstreamGarbled`."""
    try:
        value = decode_json(payload)
    except (ValueError, RecursionError) as error:
        raise UpstreamGarbled() from error
    if isinstance(value, dict):
        return value
    raise UpstreamGarbled()
