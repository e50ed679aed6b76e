"""Tool calls and their results in the Vercel AI SDK's UI message stream."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import msgspec

from ..events import Approval
from ..events import Event
from ..events import ToolCall
from ..events import ToolResult

Chunk = dict[str, Any]

NOT_JSON = "The arguments of this call are not valid JSON."
BROKE_OFF = "The answer ended before this call was complete."

IMPOSSIBLE = object()


class _Call:
    """A call so far."""

    def __init__(self, id: str, event: ToolCall) -> None:
        self.id = id
        self.name = event.name or "unknown"
        self.server = event.server
        self.arguments = ""
        self.metadata: Mapping[str, Any] = {}
        self.is_available = False

    @property
    def names(self) -> Chunk:
        """`providerExecuted` keeps the client from running the call."""
        return {"toolCallId": self.id, "toolName": self.name} | ({"providerExecuted": True} if self.server else {})

    @property
    def input(self) -> Any:
        """The parsed arguments; `IMPOSSIBLE` if they are not valid JSON, or not complete yet."""
        try:
            return msgspec.json.decode(self.arguments) if self.arguments.strip() else {}
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return IMPOSSIBLE


class Calls:
    """The calls of one response.

    A client executes its own call as soon as the call is available, so that chunk comes only at the end of a complete
    answer. A server call becomes available when its arguments are complete, so that the page can show it.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}

    @property
    def is_empty(self) -> bool:
        """Whether this step has no calls yet."""
        return not self._calls

    def has(self, event: Event) -> bool:
        """Whether the event is a further fragment of a known call."""
        return isinstance(event, ToolCall) and event.index in self._calls

    def chunks_of(self, stream_id: str, event: ToolCall | ToolResult | Approval) -> Iterator[Chunk]:
        if isinstance(event, ToolCall):
            yield from self._fragment(stream_id, event)
        elif isinstance(event, Approval):
            yield from self._available_on_server()
            yield {"type": "tool-approval-request", "approvalId": event.id, "toolCallId": event.call_id}
        else:
            yield from self._available_on_server()
            yield from _result(event)

    def carry(self, message: Mapping[str, Any]) -> Iterator[Chunk]:
        """Send the opaque state of the step's message with the last call."""
        call = list(self._calls.values())[-1]
        call.metadata = {**call.metadata, "message": message}
        if call.is_available:
            yield self._available(call)

    def end_step(self) -> Iterator[Chunk]:
        yield from self._available_on_server()
        self._calls.clear()

    def end(self, *, is_whole: bool) -> Iterator[Chunk]:
        """End the calls. Those of an incomplete answer end with an error."""
        for call in self._calls.values():
            if call.is_available:
                continue
            if not is_whole or call.input is IMPOSSIBLE:
                yield _unavailable(call, NOT_JSON if is_whole else BROKE_OFF)
            else:
                yield self._available(call)
        self._calls.clear()

    def _fragment(self, stream_id: str, event: ToolCall) -> Iterator[Chunk]:
        call = self._calls.get(event.index)
        if call is None:
            call = self._calls[event.index] = _Call(event.id or f"{stream_id}-call-{event.index}", event)
            yield {"type": "tool-input-start", **call.names}
        if event.opaque:
            call.metadata = {**call.metadata, "opaque": {**call.metadata.get("opaque", {}), **event.opaque}}
        if event.arguments:
            call.arguments += event.arguments
            yield {"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": event.arguments}
        if call.server and call.arguments.rstrip().endswith("}") and call.input is not IMPOSSIBLE:
            yield self._available(call)

    def _available_on_server(self) -> Iterator[Chunk]:
        """Make server calls available: any other event after the calls means that their arguments are complete."""
        for call in self._calls.values():
            if call.server and not call.is_available:
                call.is_available = True
                yield _unavailable(call, NOT_JSON) if call.input is IMPOSSIBLE else self._available(call)

    @staticmethod
    def _available(call: _Call) -> Chunk:
        call.is_available = True
        metadata = metadata_of(**call.metadata) if call.metadata else {}
        return {"type": "tool-input-available", **call.names, "input": call.input, **metadata}


def metadata_of(**ours: Any) -> Chunk:
    return {"providerMetadata": {"llm_stream": ours}}


def _unavailable(call: _Call, problem: str) -> Chunk:
    given = call.arguments if call.input is IMPOSSIBLE else call.input
    return {"type": "tool-input-error", **call.names, "input": given, "errorText": problem}


def _result(event: ToolResult) -> Iterator[Chunk]:
    """A tool's result. The call may belong to an earlier response, if this response continues its message."""
    common = {"toolCallId": event.id, "providerExecuted": True}
    if event.error is not None:
        yield {"type": "tool-output-error", **common, "errorText": event.error}
    else:
        yield {"type": "tool-output-available", **common, "output": event.result}
