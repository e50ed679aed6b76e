"""What the upstream says, for each feature that the table of clients has, and what every client must make of it."""

from __future__ import annotations

from typing import Any

from ..conftest import Event

AWKWARD = [
    " leading",
    "  ",
    "two\nlines",
    "cr\rlf\ncrlf\r\nend",
    "half\r",
    "\nof one",
    "\u2028\u2029\u0085\x0b\x0c\x1c",
    "🧠漢字é\u0301👩‍👩‍👧",
    "data: [DONE]\n\n",
    "id: 7\nevent: done\nretry: 1",
    "\ufeff\x00",
    '"quotes" \\ \\n \\u0041 </script>',
    "trailing ",
    "\n",
]
"""Text that parsers of event streams, of lines or of JSON stumble over."""


def tool_call(arguments: str, *, index: int = 0, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    """A fragment of a tool call, as the upstream sends it; id and name with the first only."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return chunk(tool_calls=[{"index": index, "function": function} | ({"id": id, "type": "function"} if id else {})])


def reasoning(text: str) -> dict[str, Any]:
    return chunk(reasoning_content=text)


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


TOOLS = [
    tool_call("", id="call_a", name="weather"),
    tool_call('{"city":'),
    tool_call(' "Zürich\\n"}'),
    tool_call("{}", index=1, id="call_b", name="time"),
]
CALLED = [("call_a", "weather", '{"city": "Zürich\\n"}'), ("call_b", "time", "{}")]

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 50},
}
PRICES = {"openai/gpt-4o-mini": {"input": "14", "output": "58", "cached": "7", "currency": "INR"}}
USED = {
    "input_tokens": 1000,
    "output_tokens": 200,
    "cached_tokens": 400,
    "reasoning_tokens": 50,
    "source": "provider",
    "cost": "0.0228",
    "currency": "INR",
}


def called(events: list[Event]) -> list[tuple[str, str, str]]:
    """The tool calls, put together from their fragments."""
    calls: dict[int, dict[str, str]] = {}
    for _, kind, fragment in events:
        if kind == "tool_call":
            call = calls.setdefault(fragment["index"], {**fragment, "arguments": ""})
            call["arguments"] += fragment["arguments"]
    return [(call["id"], call["name"], call["arguments"]) for call in calls.values()]
