"""The answers of `python -m llm_stream.testing`: plain text, and long if the question asks for it."""

from __future__ import annotations

from typing import Any

from .responses import as_chat
from .script import Script
from .stand_in import spoken
from .stand_in import stand_in
from .stand_in import text_of

SHORT = """You asked: “{question}”

This is a scripted answer. It comes word by word, as a model would send it. Ask for a long story to have ten seconds \
for Stop, a reload or a closed tab."""

NIGHTS = 20
NIGHT = "Night {number}: the keeper climbs the stairs, lights the lamp, writes the weather into the book, and waits."
LONG_IF = ("long", "story", "count")


def tell(request: Any) -> Script:
    """A request with tools gets the answers of the demo, which call them."""
    request = as_chat(request)
    if request.get("tools"):
        return stand_in(request)
    question = text_of((request.get("messages") or [{}])[-1].get("content"))
    if any(word in question.lower() for word in LONG_IF):
        return Script(tuple(spoken("\n".join(NIGHT.format(number=number + 1) for number in range(NIGHTS)))))
    return Script(tuple(spoken(SHORT.format(question=question[:80]))))
