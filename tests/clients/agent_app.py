"""The served app with an agent's tools, for clients that show what tools do."""

from __future__ import annotations

from collections.abc import Generator

from llm_stream import Data
from llm_stream import File
from llm_stream import LLMStream
from llm_stream import Source
from llm_stream import ToolError

from ..served import app

llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]


@llm.tool
def weather(city: str) -> dict[str, str]:
    """The weather in a city."""
    if city == "Atlantis":
        raise ToolError("There is no such city.")
    return {"city": city, "sky": "grey"}


@llm.tool
def look_up(topic: str) -> Generator[Data | File | Source, None, str]:
    """Look something up, and show what was found."""
    yield Data("state", {"found": 0})
    yield Source("https://example.org/rain", title="Rain")
    yield File("data:image/png;base64,AA==", "image/png", name="map.png")
    yield Data("state_delta", [{"op": "replace", "path": "/found", "value": 2}])
    yield Data("state_delta", {"found": "no patch"})
    yield Data("progress", None, id="p1", transient=True)
    return f"all about {topic}"


@llm.tool(needs_approval=True)
def delete(note: str) -> str:
    """Delete a note."""
    return f"{note} is gone"
