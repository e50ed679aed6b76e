"""Gemini's thoughts: marked pieces of the content, in a tag. The end of the tag may be in a piece of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPEN = "<thought>"
CLOSE = "</thought>"


class Thoughts:
    """Separates thoughts from the answer."""

    def __init__(self) -> None:
        self.are_open = False

    def split(self, part: Mapping[str, Any], content: str) -> tuple[str, str]:
        """The thoughts and the answer in the content of a delta or a message."""
        if _is_marked(part):
            thoughts, close, answer = (content if self.are_open else content.removeprefix(OPEN)).partition(CLOSE)
            self.are_open = not close
            return thoughts, answer
        if self.are_open and content:
            self.are_open = False
            return "", content.removeprefix(CLOSE)
        return "", content


def without_mark(extra: Any) -> Any:
    """An `extra_content` without the mark, which must not be sent back."""
    if not isinstance(extra, Mapping) or not isinstance(google := extra.get("google"), Mapping):
        return extra
    kept = {name: value for name, value in google.items() if name != "thought"}
    return {**extra, "google": kept} if kept else {name: value for name, value in extra.items() if name != "google"}


def _is_marked(part: Mapping[str, Any]) -> bool:
    extra = part.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    return isinstance(google, Mapping) and google.get("thought") is True
