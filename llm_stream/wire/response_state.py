"""The opaque state that a provider expects back with a step, in a field that Responses API clients return unchanged.

The field is the `encrypted_content` of a reasoning item at the end of the step. Our content is not encrypted, because
clients of the other protocols can read this state as well.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from base64 import urlsafe_b64encode
from typing import Any

import msgspec

from ..events import Event
from ..events import Opaque
from ..events import Reasoning
from ..events import ToolCall

PREFIX = "llm_stream."
"""The prefix that distinguishes our content from a provider's."""


class State(msgspec.Struct, frozen=True, array_like=True):
    message: dict[str, Any]
    """Fields of the message."""
    calls: dict[str, dict[str, Any]]
    """Fields of its calls, by their ids."""


class StateOfStep:
    """Collects the state of one step."""

    def __init__(self) -> None:
        self._reasoning: list[str] = []
        self._opaque = Opaque()
        self._calls: dict[str, dict[str, Any]] = {}

    def add(self, event: Event, call_id: str | None = None) -> None:
        """`call_id` is the id of the call that a `ToolCall` belongs to."""
        if isinstance(event, Reasoning):
            self._reasoning.append(event.text)
        elif isinstance(event, Opaque):
            self._opaque = event
        elif isinstance(event, ToolCall) and event.opaque and call_id:
            self._calls.setdefault(call_id, {}).update(event.opaque)

    def encoded(self) -> str | None:
        """The state as a string; None if the step has no state."""
        opaque = self._opaque
        fields = {opaque.reasoning: "".join(self._reasoning)} if opaque.reasoning else {}
        state = State(fields | opaque.fields, self._calls)
        if not (state.message or state.calls):
            return None
        return PREFIX + urlsafe_b64encode(msgspec.json.encode(state)).decode()


def decoded(content: str) -> State | None:
    """The state; None if we did not make the content. Raises `ValueError` for damaged content."""
    if not content.startswith(PREFIX):
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(content.removeprefix(PREFIX)), type=State)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the state of a step is damaged") from error
