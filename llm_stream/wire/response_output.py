"""The output of a response: builds the items from the stream's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..events import Approval
from ..events import Delta
from ..events import Event
from ..events import File
from ..events import Opaque
from ..events import Reasoning
from ..events import Refusal
from ..events import Source
from ..events import Step
from ..events import ToolCall
from ..events import ToolResult
from .response_items import SERVER_LABEL
from .response_items import Call
from .response_items import Change
from .response_items import Item
from .response_items import Message
from .response_items import Thoughts
from .response_state import StateOfStep

APPROVAL = "mcpr_"
"""The prefix of an approval request's id. The rest is the signed question, so a decision needs no stored state."""


class Output:
    """The output of one response, in the order of its events."""

    def __init__(self, stream_id: str) -> None:
        self.items: list[dict[str, Any]] = []
        self._stream_id = stream_id
        self._message: Message | None = None
        self._thoughts: Thoughts | None = None
        self._calls: dict[int, Call] = {}
        self._all_calls: dict[str, Call] = {}
        self._state = StateOfStep()
        self._sources: list[Source] = []

    def writes_text(self) -> Message | None:
        """The open message whose text a `Delta` continues, if any."""
        return self._message if self._message is not None and self._message.writes_text else None

    def changes(self, event: Event) -> Iterator[Change]:
        """Encode each change before you take the next one: the items are mutable and keep changing."""
        if isinstance(event, Delta):
            yield from self._write("text", event.text)
        elif isinstance(event, Refusal):
            yield from self._write("refusal", event.text)
        elif isinstance(event, Reasoning):
            yield from self._think(event)
        elif isinstance(event, ToolCall):
            yield from self._call(event)
        elif isinstance(event, ToolResult):
            yield from self._result(event)
        elif isinstance(event, Approval):
            yield from self._ask(event)
        elif isinstance(event, Source):
            yield from self._cite(event)
        elif isinstance(event, File):
            yield from self._image(event)
        elif isinstance(event, Opaque):
            self._state.add(event)
        elif isinstance(event, Step):
            yield from self._end_step("completed")

    def close(self, status: str) -> Iterator[Change]:
        """End all items."""
        if self._sources:
            yield from self._open_message("text")
        yield from self._end_step(status)

    def _end_step(self, status: str) -> Iterator[Change]:
        """End the step's items, and add the opaque state that the provider expects back."""
        yield from self._close_written(status)
        for call in self._calls.values():
            yield from call.close(status)
        self._calls = {}
        content, self._state = self._state.encoded(), StateOfStep()
        if content is not None:
            fields = {"id": self._id("rs"), "type": "reasoning", "summary": [], "encrypted_content": content}
            yield from self._whole(fields)

    def update(self) -> None:
        """Copy the content so far into the fields of the open items."""
        for item in (self._message, self._thoughts, *self._calls.values()):
            if item is not None:
                item.update()

    # Text

    def _write(self, kind: str, text: str) -> Iterator[Change]:
        yield from self._open_message(kind)
        assert self._message is not None
        yield from self._message.write(kind, text)

    def _open_message(self, kind: str) -> Iterator[Change]:
        yield from self._close_thoughts()
        if self._message is None:
            self._message = self._add(Message(len(self.items), self._id("msg")))
            yield self._message.added()
        if self._sources and kind == "text":
            if not self._message.writes_text:
                yield from self._message.open("text")
            for source in self._sources:
                yield self._message.cite(source)
            self._sources = []

    def _cite(self, source: Source) -> Iterator[Change]:
        """A citation belongs to a text, so an early citation waits until the message has text."""
        if message := self.writes_text():
            yield message.cite(source)
        else:
            self._sources.append(source)

    def _think(self, event: Reasoning) -> Iterator[Change]:
        self._state.add(event)
        if self._thoughts is None:
            yield from self._close_written("completed")
            self._thoughts = self._add(Thoughts(len(self.items), self._id("rs")))
            yield from self._thoughts.open()
        yield self._thoughts.write(event.text)

    def _close_written(self, status: str) -> Iterator[Change]:
        yield from self._close_thoughts()
        if self._message is not None:
            yield from self._message.close(status)
            self._message = None

    def _close_thoughts(self) -> Iterator[Change]:
        if self._thoughts is not None:
            yield from self._thoughts.close()
            self._thoughts = None

    # Tools

    def _call(self, event: ToolCall) -> Iterator[Change]:
        call = self._calls.get(event.index)
        if call is None:
            yield from self._close_written("completed")
            call_id = event.id or f"call_{self._stream_id}_{event.index}"
            id = self._id("mcp" if event.server else "fc")
            call = self._calls[event.index] = self._add(Call(len(self.items), id, event, call_id))
            self._all_calls[call_id] = call
            yield from call.open()
        self._state.add(event, call.fields["call_id"])
        yield from call.write(event.arguments)

    def _result(self, event: ToolResult) -> Iterator[Change]:
        """Write a result. The call may belong to an earlier response, if the client has just approved it."""
        call = self._all_calls.get(event.id)
        if call is not None and call in self._calls.values():
            self._calls = {index: each for index, each in self._calls.items() if each is not call}
            yield from call.end(event)
        elif call is None:
            call = Call(len(self.items), self._id("mcp"), ToolCall(0, "", event.id, event.name, True), event.id)
            self._add(call)
            yield call.added()
            yield from call.end(event)

    def _ask(self, event: Approval) -> Iterator[Change]:
        call = self._all_calls.get(event.call_id)
        if call is not None:
            yield from call.end_arguments()
        arguments = call.fields["arguments"] if call else ""
        yield from self._whole(approval_request(event.id, event.call_id, event.name, arguments))

    # Files

    def _image(self, event: File) -> Iterator[Change]:
        """OpenAI's items can hold a file only if it is an inline image."""
        _, is_inline, data = event.url.partition(";base64,")
        if not (is_inline and event.media_type.startswith("image/")):
            return
        yield from self._close_written("completed")
        fields = {"id": self._id("ig"), "type": "image_generation_call", "status": "completed", "result": data}
        yield from self._whole(fields)

    def _whole(self, fields: dict[str, Any]) -> Iterator[Change]:
        item = self._add(Item(len(self.items), fields))
        yield item.added()
        yield item.done(None)

    def _add(self, item: Any) -> Any:
        self.items.append(item.fields)
        return item

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._stream_id}_{len(self.items)}"


def approval_request(token: str, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """`token` is the signed question, which is the id of an `Approval`."""
    fields = {"server_label": SERVER_LABEL, "name": name, "arguments": arguments, "call_id": call_id}
    return {"id": APPROVAL + token, "type": "mcp_approval_request", **fields}


def stream_of(item_id: str) -> str:
    """The id of the stream that an item belongs to, if we made the item's id."""
    return item_id.partition("_")[2].rpartition("_")[0]
