"""Collects the provider's own fields of a message, which must be sent back with it. Only the provider can read them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..chat_request import MAX_OPAQUE_BYTES
from ..events import Opaque
from .text import size_of
from .text import text_of
from .text import whole_json
from .thoughts import without_mark

logger = logging.getLogger("llm_stream")

GROWING = ("text", "summary", "data")
"""The fields of a reasoning detail that arrive in pieces."""

REASONING_NAMES = ("reasoning_content", "reasoning")
"""The names of the field with the reasoning. Servers that use both names send the same text under both."""


class Room:
    """Limits the bytes of JSON that are kept for one message."""

    def __init__(self) -> None:
        self._left = MAX_OPAQUE_BYTES
        self._has_warned = False

    def resize(self, before: int, after: int) -> bool:
        """Whether a value of `before` bytes may grow to `after`. If not, its room is freed: the caller must drop it."""
        if after - before <= self._left:
            self._left -= after - before
            return True
        self._left += before
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the provider's own fields of a message have more than %d bytes, so the largest are dropped",
                MAX_OPAQUE_BYTES,
            )
        return False


class Extra:
    """The `extra_content` of a message or of a call. It may arrive in parts."""

    def __init__(self, room: Room) -> None:
        self.content: dict[str, Any] = {}
        self._room = room
        self._size = 0
        self._is_dropped = False

    def add(self, content: Any) -> bool:
        """Returns whether `content` changes the collected fields."""
        if self._is_dropped or not content or not isinstance(content, Mapping):
            return False
        merged = whole_json(_merged(self.content, content))
        if merged == self.content:
            return False
        size = size_of(merged)
        if not self._room.resize(self._size, size):
            self.content, self._is_dropped = {}, True
            return False
        self.content, self._size = merged, size
        return True


class _Detail:
    """One of OpenRouter's reasoning details. Its text arrives in pieces, and the last piece has the signature."""

    def __init__(self, fragment: Mapping[str, Any]) -> None:
        self._fields = dict(fragment)
        self._pieces = {name: [value] for name, value in fragment.items() if _grows(name, value)}

    def is_continued_by(self, fragment: Mapping[str, Any]) -> bool:
        """Two encrypted details may have the same index, but not the same id."""
        fields = self._fields
        if any(fields.get(name) != fragment.get(name) for name in ("index", "type")):
            return False
        return fields.get("id") is None or fragment.get("id") in (None, fields["id"])

    def add(self, fragment: Mapping[str, Any]) -> None:
        for name, value in fragment.items():
            if _grows(name, value) and name in self._pieces:
                self._pieces[name].append(value)
            elif value is not None or name not in self._fields:
                self._fields[name] = value
                if _grows(name, value):
                    self._pieces[name] = [value]

    def growth_by(self, fragment: Mapping[str, Any]) -> int:
        """An upper bound, in bytes."""
        fields = self._fields
        return sum(
            size_of(value)
            for name, value in fragment.items()
            if _grows(name, value) or (value is not None and value != fields.get(name))
        )

    def whole(self) -> dict[str, Any]:
        return self._fields | {name: "".join(pieces) for name, pieces in self._pieces.items()}


class _Details:
    """OpenRouter's `reasoning_details`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._details: list[_Detail] = []
        self._size = 0
        self._is_dropped = False

    def add(self, fragments: Any) -> None:
        for fragment in fragments if isinstance(fragments, list) else ():
            if isinstance(fragment, Mapping) and not self._is_dropped:
                self._add(fragment)

    def replace(self, fragments: Any) -> None:
        """Replace the details by the details of a whole message."""
        if fragments and isinstance(fragments, list) and not self._is_dropped:
            self._room.resize(self._size, 0)
            self._details, self._size = [], 0
            for fragment in fragments:
                if isinstance(fragment, Mapping) and not self._is_dropped:
                    self._append(fragment, size_of(fragment))

    def whole(self) -> list[dict[str, Any]]:
        details: list[dict[str, Any]] = whole_json([detail.whole() for detail in self._details])
        return details

    def _add(self, fragment: Mapping[str, Any]) -> None:
        if self._details and self._details[-1].is_continued_by(fragment):
            if self._take(self._details[-1].growth_by(fragment)):
                self._details[-1].add(fragment)
        else:
            self._append(fragment, size_of(fragment))

    def _append(self, fragment: Mapping[str, Any], size: int) -> None:
        if self._take(size):
            self._details.append(_Detail(fragment))

    def _take(self, size: int) -> bool:
        if self._room.resize(self._size, self._size + size):
            self._size += size
            return True
        self._details, self._is_dropped = [], True
        return False


class MessageState:
    """The provider's own fields of one message."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._details = _Details(room)
        self._extra = Extra(room)
        self._reasoning: str | None = None
        self._reasoning_size = 0
        self._told = Opaque()

    def add(self, delta: Mapping[str, Any]) -> None:
        self._details.add(delta.get("reasoning_details"))
        self._extra.add(without_mark(delta.get("extra_content")))

    def complete(self, message: Mapping[str, Any]) -> None:
        """Take the fields of a `message`, which is complete."""
        self._details.replace(message.get("reasoning_details"))
        self._extra.add(without_mark(message.get("extra_content")))

    def reasoning_in(self, part: Mapping[str, Any]) -> str:
        """The reasoning in `part`. Remembers the name of its field."""
        for name in REASONING_NAMES:
            if text := text_of(part.get(name)):
                if self._reasoning != REASONING_NAMES[0]:
                    self._reasoning = name
                return text
        return ""

    def event(self, reasoning: str) -> Opaque | None:
        """The event; None if there are no new fields. `reasoning` is sent back, too, so it counts towards the limit."""
        fields: dict[str, Any] = {}
        if details := self._details.whole():
            fields["reasoning_details"] = details
        if extra := self._extra.content:
            fields["extra_content"] = extra
        event = Opaque(fields, self._reasoning if self._has_room_for(reasoning) else None)
        if event == self._told:
            return None
        self._told = event
        return event

    def _has_room_for(self, reasoning: str) -> bool:
        size = size_of(reasoning)
        if not self._reasoning or not self._room.resize(self._reasoning_size, size):
            self._reasoning = None
            return False
        self._reasoning_size = size
        return True


def _grows(name: str, value: Any) -> bool:
    return name in GROWING and isinstance(value, str)


def _merged(content: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two objects recursively. For other values, the latest one wins, unless it is null."""
    merged = dict(content)
    for name, value in more.items():
        before = merged.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(before, value)
        elif value is not None or name not in merged:
            merged[name] = value
    return merged
