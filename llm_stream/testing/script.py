"""Scripts for the scripted upstream, and the chunks that they produce."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from time import time
from typing import Any


@dataclass(frozen=True)
class Pause:
    """Send nothing for this many seconds."""

    seconds: float


class Gate:
    """Send nothing until the test opens the gate. `reached` is set when a request waits at the gate."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def open(self) -> None:
        self.opened.set()


@dataclass(frozen=True)
class Stall:
    """Send nothing until the client disconnects; with `before_headers`, not even the status."""

    before_headers: bool = False


@dataclass(frozen=True)
class Cut:
    """Break the connection by a reset, or by a clean close before the end of the body."""

    reset: bool = True


Step = str | bytes | Mapping[str, Any] | Pause | Gate | Stall | Cut
"""A string is a piece of the answer, a mapping a whole chunk. Bytes are sent unchanged."""


@dataclass(frozen=True)
class Script:
    """One answer. Unless cut, it ends with `finish_reason`, the usage if requested, and `[DONE]`."""

    steps: Iterable[Step]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """A whole body that replaces the steps."""
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | bool = True
    """False: send no usage, even if requested."""
    done: bool = True
    segment: int | None = None
    """Send this many bytes at a time."""


class Chunks:
    """Encodes the chunks of one answer."""

    def __init__(self, script: Script, request: Mapping[str, Any]) -> None:
        self._script = script
        self._request = request
        self._count = 0
        self._frame = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": int(time())}
        self._frame["model"] = str(request.get("model", "scripted"))

    def encode(self, step: Step) -> bytes:
        if isinstance(step, bytes):
            return step
        if isinstance(step, str):
            self._count += 1
            role = {"role": "assistant"} if self._count == 1 else {}
            return self._data([{"index": 0, "delta": role | {"content": step}, "finish_reason": None}])
        assert isinstance(step, Mapping)
        return b"data: " + to_json(step) + b"\n\n"

    def end(self) -> Iterator[bytes]:
        script = self._script
        if script.finish_reason is not None:
            yield self._data([{"index": 0, "delta": {}, "finish_reason": script.finish_reason}])
        wanted = (self._request.get("stream_options") or {}).get("include_usage")
        if isinstance(script.usage, Mapping):
            yield self._data([], usage=script.usage)
        elif script.usage and wanted and script.finish_reason is not None:
            read = sum(len(str(message.get("content")).split()) for message in self._request.get("messages", ()))
            total = {"prompt_tokens": read, "completion_tokens": self._count, "total_tokens": read + self._count}
            yield self._data([], usage=total)
        if script.done:
            yield b"data: [DONE]\n\n"

    def _data(self, choices: list[Any], **more: Any) -> bytes:
        return b"data: " + to_json(self._frame | {"choices": choices} | more) + b"\n\n"


def to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
