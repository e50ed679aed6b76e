"""Decodes the function calls in an answer of the Responses API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from ..events import Event
from .opaque import Room
from .tool_calls import ToolCalls


class ResponseCalls:
    """Assembles calls. An event names its item by id, by index or not at all. Only the item has the `call_id`."""

    def __init__(self, room: Room) -> None:
        self._calls = ToolCalls(room)
        self._ids: list[str] = []
        """The `call_id`s in the order of the calls."""
        self._by_item: dict[str | int, str] = {}

    def __bool__(self) -> bool:
        return bool(self._ids)

    def begin_item(self, event: Mapping[str, Any], item: Mapping[str, Any]) -> list[Event]:
        call_id = str(item.get("call_id") or item.get("id") or f"call_{secrets.token_hex(12)}")
        self._ids.append(call_id)
        self._by_item |= dict.fromkeys(_keys(event.get("output_index"), item.get("id")), call_id)
        return [*self._calls.events_of([_fragment(call_id, item.get("arguments"), item.get("name"))])]

    def add(self, event: Mapping[str, Any]) -> list[Event]:
        """The events for a piece of the arguments."""
        call_id = self._of_item(event.get("output_index"), event.get("item_id")) or self._latest
        return [*self._calls.events_of([_fragment(call_id, event.get("delta"))])] if call_id else []

    def complete(self, event: Mapping[str, Any]) -> list[Event]:
        """The events for the complete arguments."""
        call_id = self._of_item(event.get("output_index"), event.get("item_id")) or self._latest
        return [*self._calls.missing_from([_fragment(call_id, event.get("arguments"))])] if call_id else []

    def end_item(self, event: Mapping[str, Any], item: Mapping[str, Any]) -> list[Event]:
        call_id = item.get("call_id") or self._of_item(event.get("output_index"), item.get("id"))
        return self._end(event, item, call_id)

    def missing_from(self, items: Sequence[Mapping[str, Any]]) -> list[Event]:
        """The events for unsent parts of `items`, which are all calls of the answer."""
        events: list[Event] = []
        for place, item in enumerate(items):
            call_id = item.get("call_id") or self._of_item(None, item.get("id"))
            events += self._end({}, item, call_id or (self._ids[place] if place < len(self._ids) else None))
        return events

    def end(self) -> list[Event]:
        return [*self._calls.end()]

    @property
    def _latest(self) -> str | None:
        return self._ids[-1] if self._ids else None

    def _of_item(self, index: Any, id: Any) -> str | None:
        """The `call_id` of an item, first by its index: some servers change an item's id between events."""
        return next((self._by_item[key] for key in _keys(index, id) if key in self._by_item), None)

    def _end(self, event: Mapping[str, Any], item: Mapping[str, Any], call_id: Any) -> list[Event]:
        if call_id not in self._ids:
            return self.begin_item(event, item)
        return [*self._calls.missing_from([_fragment(call_id, item.get("arguments"), item.get("name"))])]


def _keys(index: Any, id: Any) -> list[str | int]:
    return [key for key in (index, id) if isinstance(key, (str, int))]


def _fragment(call_id: str | None, arguments: Any, name: Any = None) -> dict[str, Any]:
    return {"id": call_id, "function": {"name": name, "arguments": arguments}}
