"""Parses the text and JSON that servers send: content in parts, broken UTF-16 pairs, several values in one body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_value_at = json.JSONDecoder().raw_decode
_begin_at = re.compile(r"\s*(?=[{\[])").match


def text_of(content: Any) -> str:
    """The text of content, which is a string, null, or (Mistral) a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(text_of(part.get("text")) for part in content if isinstance(part, Mapping))
    return ""


def whole(text: str) -> str:
    """Replace lone surrogates (halves of UTF-16 pairs), which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def whole_json(value: Any) -> Any:
    """Replace lone surrogates in all texts of a JSON value."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.loads(whole(json.dumps(value, ensure_ascii=False)))
    return value


def size_of(value: Any) -> int:
    """The size in bytes, as JSON."""
    try:
        return len(msgspec.json.encode(value))
    except UnicodeEncodeError:
        return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


class Halves:
    """Holds back half a UTF-16 pair at the end of a piece, because some servers split text inside a pair."""

    def __init__(self) -> None:
        self._half = ""

    def __bool__(self) -> bool:
        return bool(self._half)

    def clear(self) -> None:
        self._half = ""

    def joined(self, text: str) -> str:
        """The text that can be passed on after this piece."""
        if self._half:
            text, self._half = self._half + text, ""
        elif text.isascii():
            return text
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return whole(text)


class Said(list[str]):
    """The pieces of a text that were passed on."""

    def joined(self) -> str:
        """The whole text. From now on it is one piece, because some servers make this join necessary for each piece."""
        said = "".join(self)
        if said:
            self[:] = [said]
        return said

    def missing_from(self, text: str) -> str | None:
        """The rest of `text` after the pieces that were passed on; None if `text` does not begin with them.

        Providers trim the whole text but not its pieces, so blanks at either end of the pieces are ignored.
        """
        said = self.joined()
        if not text.startswith(said):
            said, text = said.strip(), text.lstrip()
        return text[len(said) :] if text.startswith(said) else None


def decode_json(text: bytes | str) -> Any:
    """Decode a single JSON value. Raises `ValueError` and `RecursionError`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return json.loads(text)  # accepts lone surrogates, which some servers send


def is_json(text: bytes | str) -> bool:
    """Whether the text is exactly one JSON value."""
    try:
        decode_json(text)
    except (ValueError, RecursionError):
        return False
    return True


def split_json(body: bytes) -> tuple[list[bytes], bytes]:
    """Split off the objects and arrays at the start of a body; return them and the rest."""
    if is_json(body):
        return [body], b""
    text, at = body.decode(errors="replace"), 0
    values = []
    while begin := _begin_at(text, at):
        try:
            _, end = _value_at(text, begin.end())
        except (ValueError, RecursionError):
            break
        values.append(text[at:end].encode())
        at = end
    return values, text[at:].encode()
