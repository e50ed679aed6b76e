"""Extra fields of chat completions, for the parts of an answer other than text and the client's tool calls.

`annotations` are OpenAI's field. `images` and `reasoning_details` are OpenRouter's, `extra_content` is Google's. All
other parts are in `llm_stream`, a list of `{"<type of the event>": {its fields}}`. SDKs keep unknown fields.

Calls that run on the server must not be in `tool_calls`, because frameworks would run them. Each entry of a delta has
an `index`, because SDKs use it to join the deltas of a list and fail without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import msgspec

from ..events import Approval
from ..events import Data
from ..events import Event
from ..events import File
from ..events import Opaque
from ..events import Source
from ..events import Step
from ..events import ToolCall
from ..events import ToolResult
from .answer import fields_of
from .answer import opaque_of
from .answer import tool_calls_of
from .answer import valid_part_of

OWN = "llm_stream"
STATE = ("reasoning_details", "reasoning_items", "extra_content")
"""Fields of a message that the provider expects to get back on the next turn."""


class Calls:
    """The calls of one response. Numbers the client's own calls, because the client sees only those."""

    def __init__(self) -> None:
        self._numbers: dict[int, int | None] = {}
        self._next_number = 0
        self._open: dict[str | None, int] = {}

    @property
    def are_open(self) -> bool:
        """Whether there are calls that the client must run."""
        return bool(self._open)

    def number_of(self, event: ToolCall) -> int | None:
        """The call's number for the client; None if the call runs on the server."""
        if event.index not in self._numbers:
            self._numbers[event.index] = None if event.server else self._next_number
            if not event.server:
                self._open[event.id] = self._next_number
                self._next_number += 1
        return self._numbers[event.index]

    def close(self, result: ToolResult) -> None:
        """Remove a call that has a result: the app's generator may run a tool itself."""
        self._open.pop(result.id, None)


class Deltas:
    """The extra fields of the deltas of one response."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._state = Opaque()

    def of(self, event: Event) -> dict[str, Any] | None:
        """The extra fields of an event's delta; None if it has none, or if `end()` returns them."""
        if isinstance(event, Opaque):
            self._state = event
            return None
        if isinstance(event, Step):
            self._state = Opaque()
        for name, entry in _entries(event):
            number, self._counts[name] = self._counts[name], self._counts[name] + 1
            return {name: [{"index": number} | entry]}
        return None

    def end(self) -> dict[str, Any]:
        """The opaque state of the last step only, because clients would join it with the state of earlier steps."""
        return state_of(self._state)


def message_fields(events: Sequence[Event]) -> dict[str, Any]:
    """The extra fields of a whole message."""
    valid = valid_part_of(events)
    fields: dict[str, Any] = {}
    for event in _kept(valid):
        for name, entry in _entries(event):
            fields.setdefault(name, []).append(entry)
    last_step = max((at for at, event in enumerate(valid) if isinstance(event, Step)), default=0)
    return fields | state_of(opaque_of(valid[last_step:]))


def state_of(opaque: Opaque) -> dict[str, Any]:
    return {name: opaque.fields[name] for name in STATE if name in opaque.fields}


def is_for_client(call: dict[str, Any]) -> bool:
    """Whether the client must still run this call of a snapshot."""
    return not ("server" in call or "result" in call or "error" in call)


def _entries(event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and values of the fields for an event."""
    if isinstance(event, Source):
        yield "annotations", {"type": "url_citation", "url_citation": _citation(event)}
    elif isinstance(event, File) and event.media_type.startswith("image/"):
        yield "images", {"type": "image_url", "image_url": {"url": event.url}}
    elif isinstance(event, (ToolCall, ToolResult, Approval, Step, File, Data)):
        yield OWN, {event.type: fields_of(event)}


def _citation(source: Source) -> dict[str, Any]:
    """A URL citation. Clients that validate it require all four fields. Without a position, the range is empty."""
    place = {"start_index": source.start or 0, "end_index": source.end or 0}
    return {"url": source.url, "title": source.title or "", **place}


def _kept(events: Sequence[Event]) -> Iterable[Event]:
    """The events to keep: each server call as one event, and the latest version of data that is not transient.

    Each is at the position of its first event.
    """
    calls, _ = tool_calls_of(events)
    begun: set[int] = set()
    kept: dict[Any, Event] = {}
    for number, event in enumerate(events):
        if isinstance(event, ToolCall):
            if event.index not in begun:
                call = calls[len(begun)]
                begun.add(event.index)
                if not is_for_client(call):
                    whole = {"arguments": call["arguments"], "opaque": call.get("opaque")}
                    kept[number] = msgspec.structs.replace(event, **whole)
        elif not isinstance(event, Data):
            kept[number] = event
        elif not event.transient:
            kept[(event.name, event.id) if event.id else number] = event
    return kept.values()
