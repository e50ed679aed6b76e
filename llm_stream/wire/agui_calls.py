"""The tool calls of one AG-UI run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..chat_request import tool_message
from ..events import ToolCall
from ..events import ToolResult
from .agui_opaque import encrypted_value
from .answer import fields_of

AGUIEvent = dict[str, Any]


class _Call(msgspec.Struct):
    """A call so far. `server` is true if the tool runs on the server."""

    id: str
    server: bool
    is_open: bool = True
    has_result: bool = False
    opaque: dict[str, Any] = {}


class Calls:
    """Ends the calls of tools that run on the server once their arguments are complete.

    The client's calls stay open until the end of the run, because they may be incomplete and the client executes a call
    when it ends.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._results = 0

    def is_new(self, event: ToolCall) -> bool:
        return event.index not in self._calls

    def fragment(self, event: ToolCall, message_id: str) -> Iterator[AGUIEvent]:
        """`message_id` is the assistant's message that makes the call."""
        call = self._calls.get(event.index)
        if call is None:
            call = self._calls[event.index] = _Call(event.id or f"{message_id}-call-{event.index}", event.server)
            names = {"toolCallId": call.id, "toolCallName": event.name or "unknown"}
            yield {"type": "TOOL_CALL_START", **names, "parentMessageId": message_id}
        if event.arguments:
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": event.arguments}
        if event.opaque:
            call.opaque |= event.opaque
            yield encrypted_value("tool-call", call.id, call.opaque)

    def result(self, event: ToolResult, stream_id: str) -> Iterator[AGUIEvent]:
        """Write the result as a separate message. The call may belong to an earlier run."""
        for call in self._calls.values():
            call.has_result |= call.id == event.id
        self._results += 1
        content = tool_message(fields_of(event))["content"]
        ids = {"messageId": f"{stream_id}-result-{self._results}", "toolCallId": event.id}
        yield {"type": "TOOL_CALL_RESULT", **ids, "content": content, "role": "tool"}

    def end(self, *, all_of_them: bool = False) -> Iterator[AGUIEvent]:
        for call in self._calls.values():
            if call.is_open and (call.server or all_of_them):
                call.is_open = False
                yield {"type": "TOOL_CALL_END", "toolCallId": call.id}

    def clear(self) -> None:
        """Forget the calls. The ids of results are never reused."""
        self._calls.clear()

    @property
    def pending(self) -> list[str]:
        """The ids of the calls that the client must execute."""
        return [call.id for call in self._calls.values() if not (call.server or call.has_result)]
