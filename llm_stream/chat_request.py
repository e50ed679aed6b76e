"""A request to a model, independent of the client's protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import msgspec

from .errors import InvalidField

Message = Mapping[str, Any]

MAX_METADATA_BYTES = 4096
"""The size as JSON. Metadata is kept with the stream, in its record and in the ledger: use it for ids only."""

MAX_OPAQUE_BYTES = 262_144
"""The size as JSON, per message: the provider's own fields of the message and of its calls."""

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+\Z")]


class Decision(msgspec.Struct, frozen=True):
    """A reader's decision about a tool call that waits for approval."""

    approved: bool
    reason: str | None = None


def checked_key(key: str) -> str:
    """Raises `InvalidField`."""
    try:
        return msgspec.convert(key, Key)
    except msgspec.ValidationError as error:
        raise InvalidField("The field 'key' must have 1 to 128 visible ASCII characters.") from error


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """An independent copy. Raises `TypeError` if it is not JSON, and `InvalidField` if it cannot be stored."""
    try:
        encoded = msgspec.json.encode(metadata or {})
    except (UnicodeEncodeError, RecursionError) as error:
        raise InvalidField("The metadata is not JSON: it has a lone surrogate or is nested too deeply.") from error
    if len(encoded) > MAX_METADATA_BYTES:
        raise InvalidField(f"The metadata has {len(encoded)} bytes as JSON; the limit is {MAX_METADATA_BYTES}.")
    copy = msgspec.json.decode(encoded)
    if not isinstance(copy, dict):
        raise TypeError(f"metadata must be a mapping of JSON values, not {type(metadata).__name__}")
    return copy


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a model. It is trusted: untrusted input is checked in `requests/`."""

    messages: Sequence[Message]
    model: str
    max_output_tokens: int
    temperature: float | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    options: Mapping[str, Any] = {}
    """Further upstream parameters, passed on unchecked."""
    key: str | None = None
    approvals: Mapping[str, Decision] = {}
    """Decisions by the id of the `approval` event. The last messages have the calls, without a result."""

    def fingerprint(self) -> bytes:
        """Equal for two requests that differ in nothing but their key. Raises `InvalidField`."""
        try:
            encoded = msgspec.json.encode(msgspec.structs.replace(self, key=None), order="deterministic")
        except RecursionError as error:
            raise InvalidField("The body is nested too deeply. Send flatter JSON.") from error
        return hashlib.sha256(encoded).digest()


def from_program(
    messages: Sequence[Message] | None,
    prompt: str | None,
    model: str,
    max_output_tokens: int,
    temperature: float | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    key: str | None = None,
    approvals: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> ChatRequest:
    """A trusted request from the app's own code: `messages`, or a `prompt`. Raises `TypeError`, `InvalidField`.

    `approvals` may be passed on unchecked from the reader, because each id is signed.
    """
    if (messages is None) == (prompt is None):
        raise TypeError("pass exactly one of messages, prompt and an iterable to stream")
    if not (messages or prompt):
        raise InvalidField("The field 'prompt' is empty. Send a text.")
    return ChatRequest(
        messages=_plain(messages) if messages is not None else [{"role": "user", "content": prompt}],
        model=model,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        tools=tools or None,
        options=options or {},
        key=key,
        approvals=decisions(approvals or {}),
    )


def _plain(messages: Sequence[Message]) -> list[Message]:
    return [
        plain for message in messages for plain in (expanded(message) if isinstance(message, Mapping) else [message])
    ]


def decisions(approvals: Any) -> dict[str, Decision]:
    """Converts `{id: true}` or `{id: {"approved": false, "reason": "…"}}`. Raises `InvalidField`."""
    try:
        parsed = msgspec.convert(approvals, dict[str, bool | Decision])
    except msgspec.ValidationError as error:
        raise InvalidField(
            "The field 'approvals' must have true, false or {'approved', 'reason'?} for each id."
        ) from error
    return {id: decision if isinstance(decision, Decision) else Decision(decision) for id, decision in parsed.items()}


def expanded(message: Mapping[str, Any]) -> Iterator[Message]:
    """Converts a message of `POST /chat` into messages of the chat completions API.

    In that API, tool results are separate messages. The provider's own fields (`opaque`) go back into the message and
    the calls, where the provider had put them.
    """
    calls = message.get("tool_calls") or ()
    plain = {name: value for name, value in message.items() if name not in ("opaque", "tool_calls")}
    if calls:
        plain["tool_calls"] = [_plain_call(call) for call in calls]
    yield plain | (message.get("opaque") or {})
    for call in calls:
        if "result" in call or "error" in call:
            yield tool_message(call)


def _plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in call.items() if name not in ("opaque", "result", "error")}
    return plain | (call.get("opaque") or {})


def tool_message(outcome: Mapping[str, Any]) -> Message:
    """A tool's result as a message to the model. `outcome` has the `id` of the call, and its `result` or `error`."""
    content = outcome["error"] if outcome.get("error") is not None else outcome.get("result")
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return {"role": "tool", "tool_call_id": outcome["id"], "content": text}
