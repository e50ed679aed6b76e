"""Validates the provider's own fields that clients send back. Their meaning is unknown, so only the size is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..chat_request import MAX_OPAQUE_BYTES


class CallState(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The provider's own fields of a call, which must be sent back with the call."""

    extra_content: dict[str, Any] | None = None


class MessageState(CallState, forbid_unknown_fields=True, omit_defaults=True):
    """The provider's own fields of a message, which must be sent back with the message."""

    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    reasoning_items: list[Any] | None = None


def problem_with(parts: Sequence[Any]) -> str | None:
    """What is wrong with the state of one message and its calls; None if nothing is."""
    try:
        size = sum(len(msgspec.json.encode(part)) for part in parts)
    except RecursionError:
        return "is nested too deeply"
    if size <= MAX_OPAQUE_BYTES:
        return None
    return f"has {size} bytes as JSON together with its calls; the limit is {MAX_OPAQUE_BYTES}"
