"""One question in the form of each protocol that the blueprint speaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

Message = dict[str, Any]
Form = Callable[..., dict[str, Any]]

HI: list[Message] = [{"role": "user", "content": "hi"}]


def _native(messages: list[Message], **options: Any) -> dict[str, Any]:
    return {"messages": messages, **options}


def _responses(messages: list[Message], **options: Any) -> dict[str, Any]:
    return {"input": messages, **options}


def _ui(messages: list[Message], **options: Any) -> dict[str, Any]:
    parts = [{"role": each["role"], "parts": [{"type": "text", "text": each["content"]}]} for each in messages]
    return {"id": uuid4().hex, "messages": [{"id": str(n), **each} for n, each in enumerate(parts)], **options}


def _agui(messages: list[Message], tools: Any = (), **options: Any) -> dict[str, Any]:
    body = {"threadId": "t", "runId": uuid4().hex, "messages": [{"id": "1", **each} for each in messages]}
    return body | {"tools": list(tools), "forwardedProps": options}


FORMS: dict[str, Form] = {
    "/llm/chat": _native,
    "/llm/v1/chat/completions": _native,
    "/llm/v1/responses": _responses,
    "/llm/ui/chat": _ui,
    "/llm/agui": _agui,
}
