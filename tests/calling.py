"""Scripts of a model that calls tools."""

from __future__ import annotations

import json
from typing import Any

from llm_stream.testing import Upstream


def fragment(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"id": "c", "model": "scripted", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def call(name: str, /, id: str | None = None, index: int = 0, **arguments: Any) -> dict[str, Any]:
    """A whole call in one fragment."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": index, "id": id or f"call_{name}", "type": "function", "function": function}


def calling(upstream: Upstream, *calls: dict[str, Any], text: str = "", **script: Any) -> None:
    """The model says `text`, and then makes these calls."""
    numbered = [made | {"index": number} for number, made in enumerate(calls)]
    pieces: list[Any] = [text] if text else []
    upstream.answer(*pieces, fragment({"tool_calls": numbered}), finish_reason="tool_calls", **script)
