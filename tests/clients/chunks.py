"""Chunks of an upstream that are more than text."""

from __future__ import annotations

from typing import Any


def tool_call(index: int, arguments: str, **named: str) -> dict[str, Any]:
    """A fragment of a call; its first one is `named` by `id` and `name`."""
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if named:
        call |= {"id": named["id"], "type": "function"}
        call["function"]["name"] = named["name"]
    return _delta({"tool_calls": [call]})


def thought(text: str) -> dict[str, Any]:
    return _delta({"reasoning_content": text})


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
