"""Tracks one kind of text in an answer of the Responses API: the text so far, and the missing rest of a whole text."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from ..events import Event
from .response_items import mappings
from .text import Halves
from .text import Said
from .text import whole


class Texts:
    """The answer has items, and an item has parts. Each level may repeat the text of the one below it."""

    def __init__(self, event_of: Callable[[str], Event], between: str = "") -> None:
        """`between` is inserted between two consecutive parts."""
        self._event_of = event_of
        self._between = between
        self._said = Said()
        self._item = 0
        self._part = 0
        self.halves = Halves()
        self.add_whole = self._said.append
        """Record a text that the caller passes on itself."""

    @property
    def before_item(self) -> int:
        """The number of characters before the current item."""
        return sum(map(len, self._said[: self._item]))

    @property
    def before_part(self) -> int:
        return sum(map(len, self._said[: self._part]))

    def begin_item(self) -> list[Event]:
        self._item = self._part = len(self._said)
        return []

    def begin_part(self) -> list[Event]:
        self._part = len(self._said)
        return []

    def add(self, delta: Any) -> list[Event]:
        if not isinstance(delta, str) or not delta or not (text := self.halves.joined(delta)):
            return []
        if self._between and self._said and self._part == len(self._said):
            text = self._between + text
        self._said.append(text)
        return [self._event_of(text)]

    def end_part(self, text: Any) -> list[Event]:
        """The rest of a part. May be called twice for a part: for the end of its text and for its own end."""
        said = "".join(self._said[self._part :])
        if said:  # otherwise, each end would join all pieces again
            self._said[self._part :] = [said]
        if not isinstance(text, str) or said.endswith(whole(text)):
            return []
        return self._rest(self._part, text)

    def end_item(self, parts: Sequence[str]) -> list[Event]:
        events = self._rest(self._item, self._between.join(parts))
        self.begin_item()
        return events

    def complete(self, parts: Sequence[str]) -> list[Event]:
        """The rest of the answer. `parts` are the parts of the whole answer."""
        return self._rest(0, self._between.join(parts))

    def _rest(self, begin: int, text: str) -> list[Event]:
        """The rest of `text`; nothing if `text` contradicts the text that was passed on."""
        self.halves.clear()
        said = Said(self._said[begin:])
        rest = said.missing_from(whole(text)) if text else None
        if not rest:
            return []
        if begin and not said:
            rest = self._between + rest
        self._said.append(rest)
        return [self._event_of(rest)]


def parts_of(item: Mapping[str, Any], kind: str) -> list[str]:
    """The texts of one kind in a whole item. For reasoning: the reasoning itself, or else its summary."""
    if kind == "reasoning":
        if item.get("type") != "reasoning":
            return []
        parts = mappings(item.get("content")) or mappings(item.get("summary"))
    else:
        parts = [part for part in mappings(item.get("content")) if part.get("type") == kind]
    texts = (part.get("refusal" if kind == "refusal" else "text") for part in parts)
    return [text for text in texts if text and isinstance(text, str)]
