"""The items of a response: one class for each kind, with the events that it sends while the item grows.

A call that runs on the server is an `mcp_call`, because clients do not run calls of this type.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..chat_request import tool_message
from ..events import Source
from ..events import ToolCall
from ..events import ToolResult
from .answer import fields_of

SERVER_LABEL = "llm_stream"

Change = tuple[str, dict[str, Any]]
"""The type of an event, and its fields without `sequence_number`."""


class Item:
    """An item, complete or still growing."""

    def __init__(self, index: int, fields: dict[str, Any]) -> None:
        self.index = index
        self.fields = fields

    def change(self, type: str, **fields: Any) -> Change:
        return f"response.{type}", {"item_id": self.fields["id"], "output_index": self.index, **fields}

    def added(self) -> Change:
        return "response.output_item.added", {"output_index": self.index, "item": self.fields}

    def done(self, status: str | None = "completed") -> Change:
        if status:
            self.fields["status"] = status
        return "response.output_item.done", {"output_index": self.index, "item": self.fields}


class Message(Item):
    """The assistant's message. At most one of its parts is open: text, or a refusal."""

    def __init__(self, index: int, id: str) -> None:
        super().__init__(index, {"id": id, "type": "message", "status": "in_progress", "role": "assistant"})
        self._parts: list[dict[str, Any]] = []
        self.fields["content"] = self._parts
        self._kind = ""
        self.pieces: list[str] = []

    def write(self, kind: str, text: str) -> Iterator[Change]:
        """`kind` is `text` or `refusal`."""
        if kind != self._kind:
            yield from self.open(kind)
        self.pieces.append(text)
        if kind == "text":
            yield self._change("output_text.delta", delta=text, logprobs=[])
        else:
            yield self._change("refusal.delta", delta=text)

    def open(self, kind: str) -> Iterator[Change]:
        yield from self._close_part()
        self._kind, self.pieces = kind, []
        is_text = kind == "text"
        part = (
            {"type": "output_text", "text": "", "annotations": [], "logprobs": []} if is_text else {"type": "refusal"}
        )
        self._parts.append(part if is_text else part | {"refusal": ""})
        yield self._change("content_part.added", part=self._parts[-1])

    def cite(self, source: Source) -> Change:
        annotations = self._parts[-1]["annotations"]
        annotations.append(_citation(source))
        return self._change(
            "output_text.annotation.added", annotation_index=len(annotations) - 1, annotation=annotations[-1]
        )

    @property
    def writes_text(self) -> bool:
        return self._kind == "text"

    def close(self, status: str) -> Iterator[Change]:
        yield from self._close_part()
        yield self.done(status)

    def update(self) -> None:
        """Copy the text so far into the part's fields."""
        if self._kind:
            self._parts[-1][self._kind] = "".join(self.pieces)

    def _close_part(self) -> Iterator[Change]:
        if not self._kind:
            return
        self.update()
        text = self._parts[-1][self._kind]
        if self._kind == "text":
            yield self._change("output_text.done", text=text, logprobs=[])
        else:
            yield self._change("refusal.done", refusal=text)
        yield self._change("content_part.done", part=self._parts[-1])
        self._kind = ""

    def _change(self, type: str, **fields: Any) -> Change:
        return self.change(type, content_index=len(self._parts) - 1, **fields)


class Thoughts(Item):
    """The model's reasoning, sent as a summary because every client shows summaries."""

    def __init__(self, index: int, id: str) -> None:
        super().__init__(index, {"id": id, "type": "reasoning", "summary": []})
        self._pieces: list[str] = []

    def open(self) -> Iterator[Change]:
        yield self.added()
        part = {"type": "summary_text", "text": ""}
        self.fields["summary"].append(part)
        yield self.change("reasoning_summary_part.added", summary_index=0, part=part)

    def write(self, text: str) -> Change:
        self._pieces.append(text)
        return self.change("reasoning_summary_text.delta", summary_index=0, delta=text)

    def update(self) -> None:
        self.fields["summary"][0]["text"] = "".join(self._pieces)

    def close(self) -> Iterator[Change]:
        self.update()
        (part,) = self.fields["summary"]
        yield self.change("reasoning_summary_text.done", summary_index=0, text=part["text"])
        yield self.change("reasoning_summary_part.done", summary_index=0, part=part)
        yield self.done(None)


class Call(Item):
    """A tool call, which either the client or the server runs."""

    def __init__(self, index: int, id: str, call: ToolCall, call_id: str) -> None:
        name: dict[str, Any] = {"call_id": call_id, "name": call.name or "", "arguments": ""}
        self.is_servers = call.server
        if call.server:
            rest = {"type": "mcp_call", "server_label": SERVER_LABEL, "output": None, "error": None}
        else:
            rest = {"type": "function_call"}
        super().__init__(index, {"id": id, "status": "in_progress", **rest, **name})
        self._pieces: list[str] = []
        self._kind = "mcp_call_arguments" if call.server else "function_call_arguments"
        self._has_arguments = False

    def open(self) -> Iterator[Change]:
        yield self.added()
        if self.is_servers:
            yield self.change("mcp_call.in_progress")

    def write(self, arguments: str) -> Iterator[Change]:
        if arguments:
            self._pieces.append(arguments)
            yield self.change(f"{self._kind}.delta", delta=arguments)

    def update(self) -> None:
        self.fields["arguments"] = "".join(self._pieces)

    def end_arguments(self) -> Iterator[Change]:
        if not self._has_arguments:
            self._has_arguments = True
            self.update()
            name = {} if self.is_servers else {"name": self.fields["name"]}
            yield self.change(f"{self._kind}.done", arguments=self.fields["arguments"], **name)

    def end(self, result: ToolResult) -> Iterator[Change]:
        yield from self.end_arguments()
        self.fields |= _outcome(result)
        if self.is_servers:
            yield self.change("mcp_call.failed" if result.error is not None else "mcp_call.completed")
        yield self.done("failed" if result.error is not None and self.is_servers else "completed")

    def close(self, status: str) -> Iterator[Change]:
        yield from self.end_arguments()
        yield self.done("incomplete" if self.is_servers else status)


def _outcome(result: ToolResult) -> dict[str, Any]:
    content = tool_message(fields_of(result) | {"id": result.id})["content"]
    if result.error is None:
        return {"output": content}
    return {
        "output": None,
        "error": {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": content}]},
    }


def _citation(source: Source) -> dict[str, Any]:
    """A URL citation with all fields, because some clients validate it."""
    place = {"start_index": source.start or 0, "end_index": source.end or 0}
    return {"type": "url_citation", "url": source.url, "title": source.title or "", **place}
