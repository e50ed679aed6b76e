"""The app of `served.py`, with a transform that lets no word through before it has seen all of it."""

from __future__ import annotations

from collections.abc import Iterator

from llm_stream import Delta
from llm_stream import Event
from llm_stream import LLMStream
from llm_stream.transforms import smooth

from .served import app

llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]
llm.transform(smooth())


@llm.transform
def redacted(events: Iterator[Event]) -> Iterator[Event]:
    """Cuts the answer off where it speaks of what it must not."""
    for event in events:
        if isinstance(event, Delta) and "forbidden" in event.text:
            return
        yield Delta(event.text.replace("password", "[redacted]")) if isinstance(event, Delta) else event
