"""The text of an answer: in a form that can be sent, and as far as it has been said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text_of(content: Any) -> str:
    """Content is a string, or null, or (Mistral) a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(text_of(part.get("text")) for part in content if isinstance(part, Mapping))
    return ""


def whole(text: str) -> str:
    """The text, without halves of UTF-16 pairs: they cannot be sent to anybody."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Said(list[str]):
    """The pieces of a text that were passed on so far."""

    def missing_from(self, text: str) -> str | None:
        """The end of `text` that was not passed on yet; None if `text` does not begin with what was.

        Providers trim the whole text but not its pieces, so blanks around what was passed on do not count.
        """
        said = "".join(self)
        if not text.startswith(said):
            said, text = said.strip(), text.lstrip()
        return text[len(said) :] if text.startswith(said) else None
