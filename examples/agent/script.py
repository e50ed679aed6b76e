"""A stand-in for a model: it calls the tool that the question names, and then answers with the tool's result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from llm_stream.testing import Pause
from llm_stream.testing import Script

PACE_S = 0.03

CALLS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "delete": ("delete_note", {"note": 2}),
    "grow": ("draw_growth", {"note": 1}),
    "water": ("search_notes", {"words": "water"}),
}


def answer_to(request: Any) -> Script:
    last = request["messages"][-1]
    if last["role"] == "tool":
        return Script([*spoken(f"The notebook says: {last['content']}")])
    called = next((call for word, call in CALLS.items() if word in str(last["content"]).lower()), None)
    if called is None:
        return Script([*spoken("Ask me when to water, how the basil grows, or to delete the note about mint.")])
    name, arguments = called
    function = {"name": name, "arguments": json.dumps(arguments)}
    delta = {"tool_calls": [{"index": 0, "id": f"call_{name}", "type": "function", "function": function}]}
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return Script([*spoken("I will look in the notebook. "), chunk], finish_reason="tool_calls")


def spoken(text: str) -> Iterator[str | Pause]:
    for word in text.split(" "):
        yield f"{word} "
        yield Pause(PACE_S)
