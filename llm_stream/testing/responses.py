"""The scripted upstream's Responses API: plays the same scripts as events of this API."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from time import time
from typing import Any

from .script import Script
from .script import Step
from .script import to_json

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
CHAT_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


class ResponseEvents:
    """Encodes the events of one response. A mapping with a `type` is sent as an event; others are chunks or errors."""

    def __init__(self, script: Script, request: Mapping[str, Any]) -> None:
        self._script = script
        self._request = request
        self._response: dict[str, Any] = {
            "id": "resp_scripted", "object": "response", "created_at": int(time()), "status": "in_progress",
            "model": request.get("model", "scripted"), "error": None, "incomplete_details": None, "output": [],
        }  # fmt: skip
        self._number = 0
        self._pieces = 0
        self._items: list[dict[str, Any]] = []
        self._calls: dict[Any, dict[str, Any]] = {}
        self._figures: Mapping[str, Any] | None = None
        self._is_open = False
        self._has_ended = False

    def encode(self, step: Step) -> bytes:
        if isinstance(step, bytes):
            return step
        assert isinstance(step, (str, Mapping))
        return b"".join(self._encoded(step))

    def end(self) -> Iterator[bytes]:
        if self._script.finish_reason is not None and not self._has_ended:
            yield b"".join([*self._opening(), *self._finish(self._script.finish_reason)])

    def _encoded(self, step: str | Mapping[str, Any]) -> Iterator[bytes]:
        if isinstance(step, str):
            yield from self._opening()
            yield from self._text(step)
        elif "type" in step or "error" in step or "choices" not in step:
            yield _data(step)
        else:
            yield from self._opening()
            yield from self._chunk(step)

    def _chunk(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        self._figures = chunk.get("usage") or self._figures
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {}
            if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
                yield from self._reasoning(reasoning)
            if delta.get("content"):
                yield from self._text(delta["content"])
            for call in delta.get("tool_calls") or ():
                yield from self._call(call)
            if reason := choice.get("finish_reason"):
                yield from self._finish(reason)

    def _text(self, text: str) -> Iterator[bytes]:
        self._pieces += 1
        if not self._is_in("message"):
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield self._begin({"type": "message", "role": "assistant", "content": [part]})
            yield self._event("content_part.added", **self._place(), content_index=0, part=part)
        self._items[-1]["content"][0]["text"] += text
        yield self._event("output_text.delta", **self._place(), content_index=0, delta=text, logprobs=[])

    def _reasoning(self, text: str) -> Iterator[bytes]:
        if not self._is_in("reasoning"):
            part = {"type": "summary_text", "text": ""}
            yield self._begin({"type": "reasoning", "summary": [part]})
            yield self._event("reasoning_summary_part.added", **self._place(), summary_index=0, part=part)
        self._items[-1]["summary"][0]["text"] += text
        yield self._event("reasoning_summary_text.delta", **self._place(), summary_index=0, delta=text)

    def _is_in(self, kind: str) -> bool:
        return bool(self._items) and self._items[-1]["type"] == kind

    def _call(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        function = call.get("function") or {}
        if (item := self._calls.get(call.get("index"))) is None:
            item = {"type": "function_call", "call_id": call.get("id"), "name": function.get("name"), "arguments": ""}
            yield self._begin(item)
            self._calls[call.get("index")] = item = self._items[-1]
        if arguments := function.get("arguments"):
            item["arguments"] += arguments
            yield self._event("function_call_arguments.delta", **self._place(item), delta=arguments)

    def _begin(self, item: dict[str, Any]) -> bytes:
        self._items.append(item | {"id": f"item_{len(self._items)}", "status": "in_progress"})
        shown = {name: [] if isinstance(value, list) else value for name, value in self._items[-1].items()}
        return self._event("output_item.added", output_index=len(self._items) - 1, item=shown)

    def _finish(self, reason: str) -> Iterator[bytes]:
        self._has_ended = True
        for item in self._items:
            yield from self._close(item)
        status = "failed" if reason == "error" else "incomplete" if reason in REASONS else "completed"
        details = {"incomplete_details": {"reason": REASONS[reason]}} if reason in REASONS else {}
        error = {"error": {"code": "server_error", "message": "scripted"}} if status == "failed" else {}
        usage = None if error else self._usage()
        whole = self._response | {"status": status, "output": self._items, "usage": usage} | details | error
        yield self._event(status, response=whole)

    def _close(self, item: dict[str, Any]) -> Iterator[bytes]:
        item["status"] = "completed"
        place = self._place(item)
        if item["type"] == "message":
            (part,) = item["content"]
            place |= {"content_index": 0}
            yield self._event("output_text.done", **place, text=part["text"], logprobs=[])
            yield self._event("content_part.done", **place, part=part)
        elif item["type"] == "reasoning":
            (part,) = item["summary"]
            place |= {"summary_index": 0}
            yield self._event("reasoning_summary_text.done", **place, text=part["text"])
            yield self._event("reasoning_summary_part.done", **place, part=part)
        else:
            yield self._event("function_call_arguments.done", **place, arguments=item["arguments"], name=item["name"])
        yield self._event("output_item.done", output_index=place["output_index"], item=item)

    def _usage(self) -> Mapping[str, Any] | None:
        usage = self._script.usage
        figures = self._figures or (usage if isinstance(usage, Mapping) else None)
        if figures is not None:
            return dict(figures) | {name: figures[chat] for name, chat in CHAT_NAMES.items() if chat in figures}
        if not usage:
            return None
        messages = as_chat(self._request).get("messages", ())
        read = sum(len(str(message.get("content")).split()) for message in messages)
        return {"input_tokens": read, "output_tokens": self._pieces, "total_tokens": read + self._pieces}

    def _opening(self) -> Iterator[bytes]:
        if not self._is_open:
            self._is_open = True
            yield self._event("created", response=self._response)
            yield self._event("in_progress", response=self._response)

    def _place(self, item: dict[str, Any] | None = None) -> dict[str, Any]:
        item = item or self._items[-1]
        return {"item_id": item["id"], "output_index": int(item["id"].partition("_")[2])}

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return _data({"type": f"response.{kind}", "sequence_number": number} | fields)


def as_chat(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request of either API, translated to chat completions."""
    if "input" not in request:
        return request
    tools = [{"type": "function", "function": tool} for tool in request.get("tools") or ()]
    items = request["input"]
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    return {"messages": [_message_of(item) for item in items], "tools": tools}


def _message_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    if item.get("type") == "function_call":
        return {"role": "assistant", "tool_calls": [{"id": item["call_id"], "function": item}]}
    if item.get("type") == "function_call_output":
        return {"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}
    return item


def _data(event: Mapping[str, Any]) -> bytes:
    kind = event.get("type")
    name = b"event: " + str(kind).encode() + b"\n" if kind else b""
    return name + b"data: " + to_json(event) + b"\n\n"
