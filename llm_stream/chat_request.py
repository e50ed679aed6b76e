"""A request to a model, independent of the client's protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import msgspec

from .errors import InvalidField

Message = Mapping[str, Any]

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+\Z")]


def checked_key(key: str) -> str:
    """Raises `InvalidField`."""
    try:
        return msgspec.convert(key, Key)
    except msgspec.ValidationError as error:
        raise InvalidField("The field 'key' must be 1 to 128 visible characters of ASCII.") from error


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

    def fingerprint(self) -> bytes:
        """Equal for two requests that differ in their key at most. Raises `InvalidField`."""
        try:
            encoded = msgspec.json.encode(msgspec.structs.replace(self, key=None), order="deterministic")
        except RecursionError as error:
            raise InvalidField("The body is nested too deeply.") from error
        return hashlib.sha256(encoded).digest()


def from_program(
    messages: Sequence[Message] | None,
    prompt: str | None,
    model: str,
    max_output_tokens: int,
    temperature: float | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    key: str | None = None,
) -> ChatRequest:
    """A trusted request from the app's own code: `messages`, or a `prompt`. Raises `TypeError`, `InvalidField`."""
    if (messages is None) == (prompt is None):
        raise TypeError("give either messages or prompt, or an iterable to stream")
    if not (messages or prompt):
        raise InvalidField("The field 'prompt' is empty.")
    return ChatRequest(
        messages=messages if messages is not None else [{"role": "user", "content": prompt}],
        model=model,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        tools=tools,
        key=key,
    )
