"""Assembles the tool calls of one answer from fragments, with any numbering that servers use.

In OpenAI's reference, the index says which call a fragment belongs to, and the first fragment of a call has its id and
name. Other servers leave out the index, give all calls the same one (Gemini), send no ids, repeat id and name on every
fragment, send the name after the id, or send the arguments as an object.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from ..events import ToolCall
from .opaque import Extra
from .opaque import Room
from .text import is_json
from .text import whole


class _Fragment:
    """One parsed fragment. Empty strings count as absent."""

    def __init__(self, fragment: Mapping[str, Any]) -> None:
        function = fragment.get("function")
        function = function if isinstance(function, (dict, Mapping)) else {}
        name, index = function.get("name"), fragment.get("index")
        self.id = whole(str(fragment["id"])) if fragment.get("id") else None
        self.name = whole(name) if name and isinstance(name, str) else None
        self.index = index if isinstance(index, int) else None
        self.arguments = _as_json(function.get("arguments"))
        self.extra = fragment.get("extra_content")


class _Call:
    """The received part of a call."""

    def __init__(self, fragment: _Fragment, room: Room) -> None:
        self.id = fragment.id
        self.name = fragment.name
        self.has_index = fragment.index is not None
        self.number: int | None = None
        """Our own number. None until the call is sent to readers, which is possible only with a name."""
        self.is_named_again = False
        self.extra = Extra(room)
        self._pieces: list[str] = []

    @property
    def arguments(self) -> str:
        return "".join(self._pieces)

    def add(self, arguments: str) -> None:
        if arguments:
            self._pieces.append(arguments)

    @property
    def opaque(self) -> dict[str, Any] | None:
        return {"extra_content": self.extra.content} if self.extra.content else None

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are a complete object."""
        return bool(self._pieces) and self._pieces[-1].rstrip().endswith("}") and is_json(self.arguments)


class ToolCalls:
    """The tool calls of one answer. Our numbers count from 0, in the order in which calls are sent to readers."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room or Room()
        self._next_number = 0
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}

    def events_of(self, fragments: Iterable[Any]) -> list[ToolCall]:
        """The events of the fragments in one chunk."""
        events: list[ToolCall] = []
        in_chunk: list[_Call] = []
        for fragment in _parse(fragments):
            call = self._call_of(fragment, in_chunk)
            in_chunk.append(call)
            events += self._events_of(call, fragment)
        return events

    def missing_from(self, calls: Iterable[Any]) -> list[ToolCall]:
        """The events for parts of a whole message's calls that were not in any fragment."""
        events: list[ToolCall] = []
        for position, fragment in enumerate(_parse(calls)):
            call = self._repeated(fragment, position)
            if call is None:
                call = self._begin(fragment)
            else:
                sent, arguments = call.arguments, fragment.arguments
                fragment.arguments = arguments[len(sent) :] if arguments.startswith(sent) else ""
            events += self._events_of(call, fragment)
        return events

    def end(self) -> list[ToolCall]:
        """The events of calls without a name."""
        return [self._first_event_of(call) for call in self._calls if call.number is None]

    def _call_of(self, fragment: _Fragment, in_chunk: list[_Call]) -> _Call:
        """The call that a fragment continues, or a new one."""
        if fragment.id and (call := self._by_id.get(fragment.id)):
            return call
        last = self._last_at(fragment)
        if last and last.is_named_again and not fragment.id:
            fragment.name = fragment.name or last.name
        if last is None or _begins(fragment, last, last in in_chunk):
            return self._begin(fragment)
        if fragment.name and fragment.name == last.name and last.is_whole:
            last.is_named_again = True  # or a second call of the same function, which its arguments will show
        if fragment.id:  # the id came after the name
            last.id = fragment.id
            self._by_id[fragment.id] = last
        return last

    def _last_at(self, fragment: _Fragment) -> _Call | None:
        """The call that the fragment would continue, by its index, else by order."""
        last = self._calls[-1] if self._calls else None
        if (index := fragment.index) is None:
            return last
        if index not in self._by_index:
            if fragment.id or fragment.name or last is None:
                return None
            by_order = self._calls[index] if 0 <= index < len(self._calls) else last
            self._by_index[index] = last if by_order.has_index else by_order
        return self._by_index[index]

    def _repeated(self, fragment: _Fragment, position: int) -> _Call | None:
        """The call that a whole message repeats: the call with the same id, else the call at the same position."""
        if fragment.id and (call := self._by_id.get(fragment.id)):
            return call
        call = self._calls[position] if position < len(self._calls) else None
        if call is None or (
            fragment.id and call.id and (fragment.name, fragment.arguments) != (call.name, call.arguments)
        ):
            return None
        return call

    def _begin(self, fragment: _Fragment) -> _Call:
        call = _Call(fragment, self._room)
        self._calls.append(call)
        if fragment.id:
            self._by_id[fragment.id] = call
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        return call

    def _events_of(self, call: _Call, fragment: _Fragment) -> list[ToolCall]:
        call.add(fragment.arguments)
        call.name = call.name or fragment.name
        opaque = call.opaque if call.extra.add(fragment.extra) else None
        if call.number is not None:
            is_news = fragment.arguments or opaque
            return [ToolCall(call.number, fragment.arguments, opaque=opaque)] if is_news else []
        return [self._first_event_of(call)] if call.name else []

    def _first_event_of(self, call: _Call) -> ToolCall:
        call.number, self._next_number = self._next_number, self._next_number + 1
        # clients need an id to answer a call
        id = call.id or f"call_{secrets.token_hex(12)}"
        return ToolCall(call.number, call.arguments, id, call.name, opaque=call.opaque)


def _begins(fragment: _Fragment, last: _Call, in_same_chunk: bool) -> bool:
    """Whether a fragment begins a call instead of continuing `last`. If the fragment has an id, the id is new."""
    if fragment.id:
        return bool(fragment.name or last.id or last.is_whole)
    if not fragment.name or not last.name:
        return False
    if fragment.name != last.name or (fragment.arguments.lstrip().startswith("{") and last.is_whole):
        return True
    return in_same_chunk and fragment.index is None  # no server sends two fragments of a call in one chunk


def _parse(fragments: Iterable[Any]) -> list[_Fragment]:
    return [_Fragment(each) for each in fragments if isinstance(each, Mapping)]


def _as_json(arguments: Any) -> str:
    if isinstance(arguments, str):
        return whole(arguments)
    if isinstance(arguments, (Mapping, list)):
        return whole(json.dumps(arguments, ensure_ascii=False, separators=(",", ":"), default=str))
    return ""
