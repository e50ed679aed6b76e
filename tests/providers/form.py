"""One answer as a provider documents it, and what a reader and the record must get from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

Payload = Mapping[str, Any] | list[Any] | bytes
"""Bytes are sent unchanged, anything else as the data of an event."""

WORDS = "words of the provider that repeat the prompt"
"""The message of each error in a fixture. No reader may see it."""


@dataclass(frozen=True, kw_only=True)
class Form:
    source: str
    """Where the form is documented."""
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False
    """The connection ends in the middle of the body."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """The name and the arguments of each call."""
    opaque: Mapping[str, Any] | None = None
    """What the provider wants back with the message."""
    call_opaque: Mapping[str, Any] | None = None
    """The same with the first call."""

    ending: str = "completed"
    finish_reason: str | None = "stop"
    failure: str | None = None
    retryable: bool = False
    retry_after: str | None = None

    usage: str = "provider"
    tokens: tuple[int, int] | None = None
    """In and out. None: they are estimated here, or there are none."""
    cached: int | None = None
    thought: int | None = None
    """Tokens of the reasoning, which are also in the output."""
    cost: str | None = None
    """As the provider reports it, in US dollars."""


def sse(*payloads: Payload, done: bool = True, newline: str = "\n") -> bytes:
    """Server-sent events."""
    end = 2 * newline.encode()
    lines = [each if isinstance(each, bytes) else b"data: " + to_json(each) + end for each in payloads]
    return b"".join(lines) + (b"data: [DONE]" + end if done else b"")


def to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def refused(
    source: str,
    status: int,
    failure: str,
    error: Any,
    *,
    retryable: bool = False,
    retry_after: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Form:
    """An error before the stream: nothing was bought."""
    return Form(
        source=source,
        status=status,
        body=to_json(error),
        headers=headers or {},
        ending="failed",
        finish_reason=None,
        failure=failure,
        retryable=retryable,
        retry_after=retry_after,
        usage="none",
    )


def broken(
    source: str,
    body: bytes,
    failure: str,
    *,
    retryable: bool = False,
    usage: str = "estimated",
    **more: Any,
) -> Form:
    """An answer that breaks off after some text."""
    return Form(
        source=source,
        body=body,
        ending="failed",
        finish_reason=None,
        failure=failure,
        retryable=retryable,
        usage=usage,
        **more,
    )
