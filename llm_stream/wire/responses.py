"""The wire of OpenAI's Responses API: its events, or one response.

One event of the log may become several events here, so these have their own numbers. The numbers depend only on the
log, so any worker can serve a client that reconnects with `starting_after`.
https://platform.openai.com/docs/api-reference/responses
https://www.openresponses.org/specification
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import msgspec

from ..events import Data
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import File
from ..events import Reset
from ..events import Start
from ..events import Status
from ..events import Usage
from . import Wire
from . import sse
from .answer import fields_of
from .merged import merged
from .openai import BROKEN_OFF
from .openai import STOPPED
from .response_output import Output

PREFIX = "resp_"
"""The prefix of a response's id. The rest is the stream's id."""

REASONS = {"length": "max_output_tokens", "max_tokens": "max_output_tokens"}
"""OpenAI's names for our finish reasons. The other names are the same."""

CODES = {"upstream_throttled": "rate_limit_exceeded", "context_too_long": "invalid_prompt"}
"""OpenAI's codes for our failures. All other failures are a `server_error`."""

OWN = "llm_stream"

_json = msgspec.json.Encoder().encode

EndedAt = Callable[[], int | None]


class Response:
    """A response so far: the request's fields, and the output built from the events."""

    def __init__(self, asked: dict[str, Any], ended_at: EndedAt = lambda: None) -> None:
        """`asked` are the fields that repeat the request. `ended_at` returns the stream's end time in Unix seconds."""
        self.status = "queued" if asked.get("background") else "in_progress"
        self.output = Output("")
        self._asked = asked
        self._ended_at = ended_at
        self._id = ""
        self._created = 0
        self._model: str | None = None
        self._failure: Failure | None = None
        self._usage: Usage | None = None
        self._reason: str | None = None
        self._own: list[dict[str, Any]] = []

    def changes(self, event: Event) -> list[bytes]:
        """The frames for `event`, encoded except for their numbers."""
        if isinstance(event, Start):
            return self._start(event)
        if isinstance(event, Failure):
            self._failure = event
        elif isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, (Done, Reset)):
            return self._end(event)
        elif isinstance(event, (Data, File)):
            return [*self._encoded(event), self._extend(event)]
        else:
            self.status = "in_progress"
            return self._encoded(event)
        return []

    def fields(self) -> dict[str, Any]:
        """The response resource."""
        self.output.update()
        is_over = self.status not in ("queued", "in_progress")
        fields = {
            **self._asked,
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": self._ended_at() if self.status == "completed" else None,
            "status": self.status,
            "error": self._error() if self.status == "failed" else None,
            "incomplete_details": {"reason": self._reason} if self._reason else None,
            "model": self._model or "",
            "output": self.output.items,
            "usage": usage_of(self._usage) if is_over and self._usage else None,
        }
        return fields | ({OWN: self._own} if self._own else {})

    def _start(self, start: Start) -> list[bytes]:
        self._id, self._created, self._model = PREFIX + start.id, start.created, start.model
        self.output = Output(start.id)
        types = ["response.created"]
        if self.status == "queued":
            types.append("response.queued")
        first = [_frame(type, {"response": self.fields()}) for type in types]
        self.status = "in_progress"
        return [*first, _frame("response.in_progress", {"response": self.fields()})]

    def _encoded(self, event: Event) -> list[bytes]:
        return [_frame(*change) for change in self.output.changes(event)]

    def _extend(self, event: Data | File) -> bytes:
        """Send data and files that OpenAI's items cannot hold as our own event, and as a field of the response."""
        entry = {event.type: fields_of(event)}
        if isinstance(event, File) or not event.transient:
            self._own.append(entry)
        return _frame(f"{OWN}.{event.type}", fields_of(event))

    def _end(self, event: Done | Reset) -> list[bytes]:
        if isinstance(event, Reset):
            self._failure = Failure(event.reason, BROKEN_OFF, retryable=True, error_id=self._id)
            event = Done("failed")
        closing = [
            _frame(*change)
            for change in self.output.close("completed" if event.status == "completed" else "incomplete")
        ]
        self.status = _status_of(event.status)
        if event.status == "incomplete":
            reason = event.finish_reason or "length"
            self._reason = REASONS.get(reason, reason)
        if self.status == "failed" and self._failure is None:
            self._failure = Failure(event.status, STOPPED, retryable=False, error_id=self._id)
        return [*closing, _frame(f"response.{self.status}", {"response": self.fields()})]

    def _error(self) -> dict[str, Any]:
        """The error with OpenAI's code and our more exact one. `type` is there because some clients require it."""
        failure = self._failure
        assert failure is not None
        code = CODES.get(failure.code, "server_error")
        return {
            "type": code,
            "code": code,
            "message": failure.message,
            "failure": failure.code,
            "retryable": failure.retryable,
            "error_id": failure.error_id,
        }


class ResponsesWire(Wire):
    def __init__(self, asked: dict[str, Any], *, starting_after: int = -1, ended_at: EndedAt = lambda: None) -> None:
        """Write only the events after number `starting_after`. The wire still reads the log from its first event."""
        self._response = Response(asked, ended_at)
        self._number = 0
        self._starting_after = starting_after
        self._delta: tuple[object, bytes, bytes] | None = None
        self.is_over = False

    def opening(self, retry_ms: int = sse.RETRY_MS) -> bytes:
        """A comment: a reconnected client may wait for the next event, and gets no headers before the first byte."""
        return sse.HEARTBEAT if self._starting_after >= 0 else b""

    def encode(self, stream_id: str, first: int, events: Sequence[Event]) -> bytes:
        frames: list[bytes] = []
        for event in events:
            if self.is_over:
                break
            if type(event) is Delta and (frame := self._text_of(event)):
                frames.append(frame)
                continue
            frames += map(self._numbered, self._response.changes(event))
            self.is_over = self._response.status not in ("queued", "in_progress")
        return b"".join(frames)

    def _numbered(self, frame: bytes) -> bytes:
        number, self._number = self._number, self._number + 1
        return frame.replace(NUMBER, b"%d" % number, 1) if number > self._starting_after else b""

    def _text_of(self, event: Delta) -> bytes | None:
        """The frame of a `Delta` that continues a text. This is the most common event, so it reuses the last frame."""
        message = self._response.output.writes_text()
        if message is None or self._number <= self._starting_after:
            return None
        message.pieces.append(event.text)
        if self._delta is None or self._delta[0] is not message.pieces:
            place = {"item_id": message.fields["id"], "output_index": message.index}
            index = {"content_index": len(message.fields["content"]) - 1}
            head = _frame("response.output_text.delta", place | index | {"logprobs": []}).removesuffix(b"}\n\n")
            before, _, after = head.partition(NUMBER)
            self._delta = (message.pieces, before, after)
        _, before, after = self._delta
        number, self._number = self._number, self._number + 1
        return b'%b%d%b,"delta":%b}\n\n' % (before, number, after, _json(event.text))


NUMBER = b"\x00"
"""The placeholder for the number in a frame. JSON never contains this byte."""


def response_of(events: Sequence[Event], asked: dict[str, Any], ended_at: EndedAt = lambda: None) -> dict[str, Any]:
    """The response so far. `events` are all events of the log."""
    response = Response(asked, ended_at)
    for event in merged(events):
        response.changes(event)
        if response.status not in ("queued", "in_progress"):
            break
    if len(events) == 1 and asked.get("background"):
        response.status = "queued"
    return response.fields()


def usage_of(usage: Usage) -> dict[str, Any] | None:
    """The usage; None if no figures are known. Clients require a number in every field, so unknown details are 0."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens or 0,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens or 0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": (usage.input_tokens or 0) + (usage.output_tokens or 0),
        "source": usage.source,
        "cost": None if usage.cost is None else float(usage.cost),
        "currency": usage.currency,
    }


def _status_of(status: Status) -> str:
    return status if status in ("completed", "incomplete", "cancelled") else "failed"


def _frame(type: str, fields: dict[str, Any]) -> bytes:
    rest = _json(fields)[1:]
    return b'event: %b\ndata: {"type":"%b","sequence_number":%b,%b\n\n' % (type.encode(), type.encode(), NUMBER, rest)
