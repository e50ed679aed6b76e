"""Decodes the Responses API's items other than texts and calls: reasoning, the provider's tools, and sources."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from ..events import Data
from ..events import Event
from ..events import File
from ..events import Opaque
from .citations import Citations
from .opaque import Room
from .text import size_of
from .text import whole
from .text import whole_json

OURS = ("message", "reasoning", "function_call")
IMAGE = "image_generation_call"
TOLD = ("status", "name", "server_label", "action")
"""The fields of an item that readers get. The results may be long, and only the model needs them."""

TOOL = "tool"
"""The name of the `data` event."""


class ReasoningItems:
    """The items to send back to the provider, which does not keep them itself."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0
        self._items: dict[Any, Mapping[str, Any]] = {}

    def add(self, item: Mapping[str, Any]) -> None:
        if item.get("encrypted_content"):
            self._items[item.get("id") or len(self._items)] = item

    def replace(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Replace the items by the items of the whole response, if it has any."""
        found = [item for item in items if item.get("type") == "reasoning" and item.get("encrypted_content")]
        if found:
            self._items = dict(enumerate(found))

    def event(self) -> Opaque | None:
        items = whole_json([dict(item) for item in self._items.values()])
        if not items or not self._room.resize(0, size_of(items)):
            return None
        return Opaque({"reasoning_items": items})


class ToolItems:
    """The actions of the provider's own tools, and their sources and files."""

    def __init__(self) -> None:
        self._citations = Citations()
        self._told: dict[str, dict[str, Any]] = {}

    def of_item(self, item: Mapping[str, Any]) -> list[Event]:
        kind, id = item.get("type"), item.get("id")
        if not isinstance(kind, str) or kind in OURS:
            return []
        fields = {name: value for name in TOLD if (value := item.get(name)) is not None}
        images = self._image_in(item) if kind == IMAGE else []
        return [*self._tell(kind, id, fields), *images]

    def progress(self, kind: str, id: Any, status: str) -> list[Event]:
        return self._tell(kind, id, {"status": status})

    def cited(self, parts: Iterable[Mapping[str, Any]], before: int = 0) -> list[Event]:
        """The sources of these parts. `before` is the number of characters of text before the first part."""
        events: list[Event] = []
        for part in parts:
            if annotations := mappings(part.get("annotations")):
                moved = [_moved(annotation, before) for annotation in annotations]
                events += self._citations.of_part({"annotations": moved})
            if isinstance(text := part.get("text"), str):
                before += len(text)
        return events

    def _tell(self, kind: str, id: Any, fields: Mapping[str, Any]) -> list[Event]:
        """The event for a change; empty without a change. An id is required: a later event replaces an earlier one."""
        if not isinstance(id, str) or not id:
            return []
        id = whole(id)
        before = self._told.get(id, {"type": whole(kind), "id": id})
        now = before | whole_json(dict(fields))
        if id in self._told and now == before:
            return []
        self._told[id] = now
        return [Data(TOOL, now, id)]

    def _image_in(self, item: Mapping[str, Any]) -> list[File]:
        result, format = item.get("result"), item.get("output_format")
        if not isinstance(result, str) or not result:
            return []
        url = whole(f"data:image/{format if isinstance(format, str) and format else 'png'};base64,{result}")
        return [file for file in self._citations.of_part({"images": [{"image_url": url}]}) if isinstance(file, File)]


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _moved(annotation: Mapping[str, Any], by: int) -> Mapping[str, Any]:
    """Converts an annotation's position in its part to a position in the text of the answer."""
    places = {name: place for name in ("start_index", "end_index") if isinstance(place := annotation.get(name), int)}
    return {**annotation, **{name: place + by for name, place in places.items()}} if by else annotation
