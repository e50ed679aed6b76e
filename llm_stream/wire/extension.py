"""What OpenAI's form has beyond its reference: the fields in which an answer has more than text and calls.

`annotations` are OpenAI's own. `images` and `reasoning_details` are OpenRouter's, `extra_content` is Google's. The rest
is in `llm_stream`, a list of `{"<type of the event>": {its fields}}`. SDKs keep what they do not know.

Calls that run on the server must not be among `tool_calls`, because frameworks would run them. Entries of a delta have
an `index`: an SDK that puts the deltas of a list together goes by it, and fails without one.
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
"""Fields of a message that its provider wants back."""


class Calls:
    """The calls of one response, with the numbers that they have for the client, which is told of its own only."""

    def __init__(self) -> None:
        self._numbers: dict[int, int | None] = {}
        self._next_number = 0
        self._open: dict[str | None, int] = {}

    @property
    def are_open(self) -> bool:
        """Whether the client has to run any."""
        return bool(self._open)

    def number_of(self, event: ToolCall) -> int | None:
        """None if it runs on the server."""
        if event.index not in self._numbers:
            self._numbers[event.index] = None if event.server else self._next_number
            if not event.server:
                self._open[event.id] = self._next_number
                self._next_number += 1
        return self._numbers[event.index]

    def close(self, result: ToolResult) -> None:
        """A generator may run a tool by itself."""
        self._open.pop(result.id, None)


class Deltas:
    """The further fields of the deltas of one response."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._state = Opaque()

    def of(self, event: Event) -> dict[str, Any] | None:
        """None for an event that has none, or that has them at the end."""
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
        """The state of the last step: the others are over, and deltas would be put together."""
        return state_of(self._state)


def message_fields(events: Sequence[Event]) -> dict[str, Any]:
    """The further fields of a whole message."""
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
    """Whether a call of a snapshot is still to be run, by the client."""
    return not ("server" in call or "result" in call or "error" in call)


def _entries(event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    """The field in which an event goes, and what it is there."""
    if isinstance(event, Source):
        yield "annotations", {"type": "url_citation", "url_citation": _citation(event)}
    elif isinstance(event, File) and event.media_type.startswith("image/"):
        yield "images", {"type": "image_url", "image_url": {"url": event.url}}
    elif isinstance(event, (ToolCall, ToolResult, Approval, Step, File, Data)):
        yield OWN, {event.type: fields_of(event)}


def _citation(source: Source) -> dict[str, Any]:
    """Clients that check the form want all four. A place without a length is none."""
    place = {"start_index": source.start or 0, "end_index": source.end or 0}
    return {"url": source.url, "title": source.title or "", **place}


def _kept(events: Sequence[Event]) -> Iterable[Event]:
    """Each call that is not the client's to run, whole; and of the data what is no news of the moment, in its latest
    version. Each is where its first event stood."""
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
