"""Converts messages and tools of chat completions to items and tools of the Responses API."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from ..chat_request import Message
from .text import text_of

Item = dict[str, Any]


def items_of(messages: Iterable[Message]) -> list[Item]:
    return [item for message in messages for item in _items_of(message)]


def tool_of(tool: Mapping[str, Any]) -> Item:
    """Converts a function. Any other tool, such as `{"type": "web_search"}`, is the provider's own and not changed.

    By default, functions are strict in this API, but not in chat completions.
    """
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return dict(tool)
    defaults: Item = {"parameters": {"type": "object", "properties": {}}, "strict": False}
    return {"type": "function", **defaults, **function}


def choice_of(choice: Any) -> Any:
    """Converts `tool_choice`, which is a word, one function, or a list of allowed tools."""
    if not isinstance(choice, Mapping):
        return choice
    kind = choice.get("type")
    fields = choice.get(kind) if isinstance(kind, str) else None
    if not isinstance(fields, Mapping):
        return choice
    plain = {"type": kind, **fields}
    if kind == "allowed_tools":
        plain["tools"] = [choice_of(tool) for tool in fields.get("tools") or ()]
    return plain


def _items_of(message: Message) -> Iterator[Item]:
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        output = _content_of(content, _input_part)
        yield {"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": output}
        return
    if role == "assistant":
        yield from _reasoning_in(message)
        content = _said_in(message)
        if content:
            yield {"type": "message", "role": role, "content": content}
        yield from map(_call_of, message.get("tool_calls") or ())
        return
    yield {"type": "message", "role": role, "content": _content_of(content, _input_part)}


def _reasoning_in(message: Message) -> Iterator[Item]:
    """The reasoning items of a message. Others are ignored: readers keep the items, and could add system messages."""
    items = message.get("reasoning_items")
    for item in items if isinstance(items, Sequence) else ():
        if isinstance(item, Mapping) and item.get("type") == "reasoning":
            yield dict(item)


def _said_in(message: Message) -> Any:
    content, refusal = message.get("content"), message.get("refusal")
    if not isinstance(refusal, str) or not refusal:
        return _content_of(content, _output_part)
    parts = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or ())
    return [_output_part(part) for part in [*parts, {"type": "refusal", "refusal": refusal}]]


def _content_of(content: Any, part_of: Callable[[Mapping[str, Any]], Item]) -> Any:
    """The content. A text is not converted to parts, because more servers understand plain text."""
    if content is None or isinstance(content, str):
        return content or ""
    if all(part.get("type") == "text" for part in content):
        return text_of(list(content))
    return [part_of(part) for part in content]


def _input_part(part: Mapping[str, Any]) -> Item:
    kind = part.get("type")
    if kind == "text":
        return {"type": "input_text", "text": part.get("text")}
    if kind == "image_url":
        image = part.get("image_url")
        fields = image if isinstance(image, Mapping) else {"url": image}
        detail = {"detail": fields["detail"]} if fields.get("detail") else {}
        return {"type": "input_image", "image_url": fields.get("url"), **detail}
    if kind == "file" and isinstance(part.get("file"), Mapping):
        return {"type": "input_file", **part["file"]}
    return dict(part)


def _output_part(part: Mapping[str, Any]) -> Item:
    return {"type": "output_text", "text": part.get("text")} if part.get("type") == "text" else dict(part)


def _call_of(call: Mapping[str, Any]) -> Item:
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    return {
        "type": "function_call",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": arguments,
    }
