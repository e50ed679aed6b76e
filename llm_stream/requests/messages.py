"""OpenAI's messages: who may say what, and what of it is passed on.

Answers come back as they went out, with fields that no provider takes as a question: those are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ..chat_request import Message as PlainMessage
from . import WrongParameter
from .reading import is_image_url


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct):
    """Without what a client may have added when it put the fragments together, their index for example."""

    id: str
    function: _CalledFunction
    type: Literal["function"] = "function"


class _Part(msgspec.Struct, omit_defaults=True):
    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: str | None = None
    image_url: dict[str, str | None] | None = None
    input_audio: dict[str, str | None] | None = None
    file: dict[str, str | None] | None = None
    refusal: str | None = None


class Message(msgspec.Struct, omit_defaults=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None


def plain(messages: Sequence[Message], *, may_instruct: bool) -> list[PlainMessage]:
    """What is passed on of them. Raises `WrongParameter`.

    `may_instruct` says whether the caller may speak for the operator, and for a tool that nobody has called.
    """
    called: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not may_instruct:
            _check_role(message, called, where)
        _check_content(message, where)
        if message.tool_calls and message.role != "assistant":
            field = f"{where}.tool_calls"
            raise WrongParameter(f"The field '{field}' belongs to the role 'assistant' only.", field)
        called.update(call.id for call in message.tool_calls or ())
    given: list[PlainMessage] = msgspec.to_builtins(messages)
    return given


def _check_role(message: Message, called: set[str], where: str) -> None:
    if message.role in ("system", "developer"):
        raise WrongParameter(f"The field '{where}.role' may not be '{message.role}' in a browser.", f"{where}.role")
    if message.role == "tool" and message.tool_call_id not in called:
        field = f"{where}.tool_call_id"
        raise WrongParameter(f"The field '{field}' must name a call of an assistant's message before it.", field)


def _check_content(message: Message, where: str) -> None:
    is_said = message.content is not None or (
        message.role == "assistant" and (message.tool_calls or message.refusal is not None)
    )
    if not is_said:
        raise WrongParameter(f"The field '{where}.content' is missing.", f"{where}.content")
    if message.role == "tool" and not message.tool_call_id:
        raise WrongParameter(f"The field '{where}.tool_call_id' is missing.", f"{where}.tool_call_id")
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        _check_part(part, f"{where}.content[{index}]")


def _check_part(part: _Part, where: str) -> None:
    """A part holds what its type says; files and pictures by value, or by a public address."""
    value = getattr(part, part.type)
    if value is None:
        raise WrongParameter(f"The field '{where}.{part.type}' is missing.", f"{where}.{part.type}")
    if part.type == "image_url" and not is_image_url(value.get("url")):
        field = f"{where}.image_url.url"
        raise WrongParameter(f"The field '{field}' must be an https: or data:image/ URL.", field)
    if part.type == "file" and value.get("file_id") is not None:  # of the operator's account, whoever has put it there
        field = f"{where}.file.file_id"
        raise WrongParameter(f"The field '{field}' cannot be used here: send the file itself, as 'file_data'.", field)
