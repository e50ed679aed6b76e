"""Validates what clients bring back for the provider. Nothing here can know what it means, so it is only bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..chat_request import MAX_OPAQUE_BYTES


class CallState(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a call that its provider wants back."""

    extra_content: dict[str, Any] | None = None


class MessageState(CallState, forbid_unknown_fields=True, omit_defaults=True):
    """The fields of a message that its provider wants back."""

    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    reasoning_items: list[Any] | None = None


def problem_with(parts: Sequence[Any]) -> str | None:
    """What is wrong with the state of one message: its own, and that of its calls."""
    try:
        size = sum(len(msgspec.json.encode(part)) for part in parts)
    except RecursionError:
        return "is nested too deeply"
    if size <= MAX_OPAQUE_BYTES:
        return None
    return f"has {size} bytes as JSON, with those of its calls, and may have {MAX_OPAQUE_BYTES} at most"
