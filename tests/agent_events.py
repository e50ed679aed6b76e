"""What an agent's stream has beside text, for each client to read. `served.py` sends it at `/agent`."""

from __future__ import annotations

from llm_stream import Data
from llm_stream import Delta
from llm_stream import Event
from llm_stream import Source
from llm_stream import Step
from llm_stream import ToolCall
from llm_stream import ToolResult

EVENTS: list[Event] = [
    ToolCall(0, '{"city":"Pune"}', "call_w", "weather", server=True),
    ToolResult("call_w", "weather", {"sky": "clear"}),
    Source("https://example.com/a", "A", start=0, end=5),
    Data("map", {"zoom": 1}, id="m"),
    Step(2),
    Delta("Clear."),
]

RESULT = {"id": "call_w", "name": "weather", "result": {"sky": "clear"}}
SOURCE = {"url": "https://example.com/a", "title": "A", "start": 0, "end": 5}
DATA = {"name": "map", "data": {"zoom": 1}, "id": "m"}
STEP = {"number": 2}
