"""The chat completions whose chunks an iterable gives, one after the other: an agent makes several."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from ..events import Event
from .chunks import ChunkDecoder
from .ending import Ending
from .error_objects import is_error
from .source import Attempt


class Answers:
    """Each has an attempt of its own, which keeps what was written: not all of it need come to the stream's log."""

    def __init__(self, make_attempt: Callable[[str | None], Attempt]) -> None:
        """`make_attempt` is given the id of a completion, if it has one."""
        self.attempts: list[Attempt] = []
        self._make_attempt = make_attempt
        self._decoder: ChunkDecoder | None = None
        self._id: Any = None
        self._ended_id: Any = None

    def events_of(self, item: Any) -> list[Event]:
        """The events of a chunk: the SDK's object, or a mapping. Raises `TypeError`, and `UpstreamError`."""
        chunk = item.model_dump(exclude_unset=True) if hasattr(item, "model_dump") else item
        if not isinstance(chunk, Mapping) or not ("choices" in chunk or "error" in chunk or is_error(chunk)):
            raise TypeError(f"a stream may give text, events or chat completion chunks, not {type(item).__name__}")
        name = chunk.get("id")
        if self._decoder is None or self.begins(chunk):
            self._decoder, self._id, self._ended_id = self._begin(name), name, None
        events = self._decoder.events(chunk)
        if self._decoder.finish_reason is not None and name == self._id:
            self._ended_id = name  # some servers give each chunk an id of its own, which tells nothing
        assert self._decoder.attempt.written is not None
        self._decoder.attempt.written += events
        return events

    def begins(self, chunk: Mapping[str, Any]) -> bool:
        """Whether it belongs to another answer than the chunks before it."""
        name = chunk.get("id")
        return bool(self._ended_id and name and name != self._ended_id and chunk.get("choices"))

    def end(self) -> Ending | None:
        """How the last of them ended; None if there was none. Raises `UpstreamError` if it is not whole."""
        return self._decoder.end() if self._decoder else None

    def _begin(self, name: Any) -> ChunkDecoder:
        if self._decoder is not None:
            self._decoder.attempt.is_whole = self._decoder.finish_reason is not None
        attempt = self._make_attempt(name if isinstance(name, str) else None)
        attempt.written = []
        self.attempts.append(attempt)
        return ChunkDecoder(attempt)
