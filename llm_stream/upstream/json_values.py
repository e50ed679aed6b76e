"""JSON as servers write it: with halves of UTF-16 pairs, or several values one behind another."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_value_at = json.JSONDecoder().raw_decode
_begin_at = re.compile(r"\s*(?=[{\[])").match


def decode(text: bytes | str) -> Any:
    """The one value in it. Raises `ValueError` and `RecursionError`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return json.loads(text)  # knows half a UTF-16 pair, which some servers send


def is_value(text: bytes | str) -> bool:
    """Whether it is one value, and nothing else."""
    try:
        decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def split(text: bytes) -> tuple[list[bytes], bytes]:
    """The objects and arrays that it begins with, and what comes after them."""
    if is_value(text):
        return [text], b""
    written, at = text.decode(errors="replace"), 0
    values = []
    while begin := _begin_at(written, at):
        try:
            _, end = _value_at(written, begin.end())
        except (ValueError, RecursionError):
            break
        values.append(written[at:end].encode())
        at = end
    return values, written[at:].encode()
