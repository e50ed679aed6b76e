"""Merges events of a whole log, because code that builds an answer from a log visits each event many times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ..events import Delta
from ..events import Event
from ..events import Reasoning
from ..events import Refusal
from ..events import ToolCall

TEXTS = (Delta, Reasoning, Refusal)


def merged(events: Sequence[Event]) -> list[Event]:
    """The same answer with fewer events: joins neighbouring pieces of text, and of one call's arguments."""
    whole: list[Event] = []
    for key, run in groupby(events, _key):
        if key is None:
            whole += run
        else:
            whole.append(_joined(key, run))
    return whole


def _key(event: Event) -> type | int | None:
    """Neighbours with the same key are joined. None for an event that stays separate."""
    kind = type(event)
    if kind in TEXTS:
        return kind
    if isinstance(event, ToolCall) and event == ToolCall(event.index, event.arguments):
        return event.index
    return None


def _joined(key: Any, run: Any) -> Event:
    if isinstance(key, int):
        return ToolCall(key, "".join([event.arguments for event in run]))
    event: Event = key("".join([event.text for event in run]))
    return event
