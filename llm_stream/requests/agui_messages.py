"""Reads the messages of an AG-UI thread. In AG-UI, tool results and reasoning are separate messages."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from itertools import takewhile
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypeVar

import msgspec

from ..errors import InvalidField
from ..errors import RequestError
from ..wire.agui_opaque import message_id_in
from .conversation import PDF
from .opaque import CallState
from .opaque import MessageState
from .opaque import problem_with
from .reading import image_url

IGNORED_ROLES = ("reasoning", "activity")


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: str


class _ToolCall(msgspec.Struct, rename="camel"):
    id: Annotated[str, msgspec.Meta(min_length=1)]
    function: _Function
    encrypted_value: str | None = None


class _Source(msgspec.Struct, rename="camel"):
    type: str
    value: str
    mime_type: str = ""


class _Part(msgspec.Struct):
    type: str
    text: str = ""
    source: _Source | None = None
    metadata: Any = None


class Message(msgspec.Struct, rename="camel"):
    role: str
    id: str | None = None
    content: Any = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    error: str | None = None
    encrypted_value: str | None = None


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    """The `encryptedValue` of a message. `reasoning` is the provider's field name for the reasoning."""

    fields: MessageState = msgspec.field(default_factory=MessageState)
    reasoning: Literal["reasoning", "reasoning_content"] | None = None


StateT = TypeVar("StateT", _Kept, CallState)


def native_messages(messages: Sequence[Message], *, keeps_open: bool) -> list[dict[str, Any]]:
    """The messages in the form of `POST /chat`. Raises `RequestError` and msgspec's `ValidationError`.

    Calls without a result are dropped, because providers reject them. Empty messages are dropped, too. With
    `keeps_open`, the last message with calls keeps its open calls, because the request decides about them.
    """
    found = _merged(messages)
    calling = [message for message in found if "tool_calls" in message]
    for message in calling[:-1] if keeps_open else calling:
        message["tool_calls"] = [call for call in message["tool_calls"] if "result" in call or "error" in call]
        if not message["tool_calls"]:
            del message["tool_calls"]
    return [message for message in found if message["content"] or "tool_calls" in message]


def _merged(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages, with tool results moved into their calls and reasoning moved into its answer."""
    found: list[dict[str, Any]] = []
    called: dict[str | None, dict[str, Any]] = {}
    reasoning = _Reasoning(messages)
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message.role == "user":
            found.append({"role": "user", "content": _content(message.content, where)})
        elif message.role == "assistant":
            found.append(_answer(message, reasoning.before(number), where))
            called |= {call["id"]: call for call in found[-1].get("tool_calls", ())}
        elif message.role == "tool":
            if message.tool_call_id not in called:
                raise RequestError(f"The field '{where}.toolCallId' must be the id of an earlier call.")
            outcome = {"error": message.error} if message.error else {"result": _text(message.content)}
            called[message.tool_call_id] |= outcome
        elif message.role not in IGNORED_ROLES:
            raise RequestError(f"The field '{where}.role' must be 'user', 'assistant' or 'tool'.")
    return found


# Answers


class _Reasoning:
    """The reasoning messages of a thread, by the message that they belong to.

    Our own ids name that message. Reasoning with other ids belongs to the next message.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._by_id: dict[str, list[Message]] = {}
        for message in messages:
            if message.role == "reasoning":
                self._by_id.setdefault(message_id_in(message.id or ""), []).append(message)

    def before(self, number: int) -> list[Message]:
        named = self._by_id.get(self._messages[number].id or "")
        return named or self._just_before(number)

    def _just_before(self, number: int) -> list[Message]:
        found = takewhile(_is_unnamed_reasoning, reversed(self._messages[:number]))
        return list(reversed(list(found)))


def _is_unnamed_reasoning(message: Message) -> bool:
    return message.role == "reasoning" and not message_id_in(message.id or "")


def _answer(message: Message, reasoning: Sequence[Message], where: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"role": "assistant", "content": _text(message.content) or None}
    states: list[Any] = []
    if message.tool_calls:
        calls = [_call(call, f"{where}.toolCalls[{index}]") for index, call in enumerate(message.tool_calls)]
        answer["tool_calls"] = calls
        states += [call["opaque"] for call in calls if "opaque" in call]
    if message.encrypted_value:
        kept = _read(message.encrypted_value, _Kept, f"{where}.encryptedValue")
        states.append(kept.fields)
        answer["opaque"] = _with_reasoning(kept, reasoning)
    if problem := problem_with(states):
        raise InvalidField(f"The field '{where}.encryptedValue' {problem}.")
    return answer


def _with_reasoning(kept: _Kept, reasoning: Sequence[Message]) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(kept.fields)
    if kept.reasoning and (text := "".join(_text(message.content) for message in reasoning)):
        return {kept.reasoning: text} | fields
    return fields


def _call(call: _ToolCall, where: str) -> dict[str, Any]:
    plain = {"id": call.id, "type": "function", "function": msgspec.to_builtins(call.function)}
    if call.encrypted_value:
        plain["opaque"] = msgspec.to_builtins(_read(call.encrypted_value, CallState, f"{where}.encryptedValue"))
    return plain


def _read(value: str, kind: type[StateT], where: str) -> StateT:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidField(f"The field '{where}' must be the value of the event REASONING_ENCRYPTED_VALUE.") from error


# Content


def _content(content: Any, where: str) -> str | list[dict[str, Any]]:
    """The content of a user's message: a text, or parts."""
    if isinstance(content, str) and content:
        return content
    parts = [_part(part, f"{where}.content[{index}]") for index, part in enumerate(_parts(content))]
    if not parts:
        raise InvalidField(f"The field '{where}.content' is missing or empty.")
    return parts


def _part(part: _Part, where: str) -> dict[str, Any]:
    if part.type == "text":
        return {"type": "text", "text": part.text}
    if part.type == "document":
        return {"type": "file", "file": _document(part, where)}
    return {"type": "image_url", "image_url": {"url": _image(part, where)}}


def _image(part: _Part, where: str) -> str:
    source = part.source
    if part.type != "image" or source is None or source.type not in ("url", "data"):
        raise InvalidField(f"The field '{where}' must be text, an image with its 'url' or its 'data', or a document.")
    url = source.value if source.type == "url" else f"data:{source.mime_type};base64,{source.value}"
    return image_url(url, f"{where}.source.value")


def _document(part: _Part, where: str) -> dict[str, str]:
    """The document's name is the `filename` of the part's metadata, because a part has no field for it."""
    source = part.source
    if source is None or source.type != "data" or source.mime_type != "application/pdf":
        raise InvalidField(
            f"The field '{where}.source' must be a PDF with its 'data' and the mimeType application/pdf."
        )
    name = part.metadata.get("filename") if isinstance(part.metadata, Mapping) else None
    filename = name if isinstance(name, str) and name else "document.pdf"
    return {"filename": filename, "file_data": f"{PDF}{source.value}"}


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in _parts(content))


def _parts(content: Any) -> list[_Part]:
    """Raises msgspec's `ValidationError`."""
    return msgspec.convert(content or [], list[_Part])
