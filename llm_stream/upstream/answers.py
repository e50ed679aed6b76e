"""Decodes the chat completions in an iterable's chunks. An agent's iterable has several completions in a row."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from ..events import Event
from .chunks import ChunkDecoder
from .ending import Ending
from .refusals import is_error
from .source import Attempt


class Answers:
    """Each completion has its own attempt, which keeps its events, because some may not reach the stream's log."""

    def __init__(self, make_attempt: Callable[[str | None], Attempt]) -> None:
        """`make_attempt` takes the id of a completion, if it has one."""
        self.attempts: list[Attempt] = []
        self._make_attempt = make_attempt
        self._decoder: ChunkDecoder | None = None
        self._id: Any = None
        self._ended_id: Any = None

    def events_of(self, item: Any) -> list[Event]:
        """The events of a chunk: the SDK's object, or a mapping. Raises `TypeError` and `UpstreamError`."""
        chunk = item.model_dump(exclude_unset=True) if hasattr(item, "model_dump") else item
        if not isinstance(chunk, Mapping) or not ("choices" in chunk or "error" in chunk or is_error(chunk)):
            raise TypeError(f"an iterable must yield text, events or chat completion chunks, not {type(item).__name__}")
        chunk_id = chunk.get("id")
        if self._decoder is None or self._is_next(chunk):
            self._decoder, self._id, self._ended_id = self._begin(chunk_id), chunk_id, None
        events = self._decoder.events(chunk)
        if self._decoder.finish_reason is not None and chunk_id == self._id:
            self._ended_id = chunk_id  # some servers give each chunk its own id, which means nothing
        assert self._decoder.attempt.written is not None
        self._decoder.attempt.written += events
        return events

    def _is_next(self, chunk: Mapping[str, Any]) -> bool:
        """Whether the chunk belongs to another completion than the chunks before it."""
        chunk_id = chunk.get("id")
        return bool(self._ended_id and chunk_id and chunk_id != self._ended_id and chunk.get("choices"))

    def end(self) -> Ending | None:
        """The ending of the last completion; None if there was none. Raises `UpstreamError` if it is incomplete."""
        return self._decoder.end() if self._decoder else None

    def _begin(self, chunk_id: Any) -> ChunkDecoder:
        if self._decoder is not None:
            self._decoder.attempt.is_whole = self._decoder.finish_reason is not None
        attempt = self._make_attempt(chunk_id if isinstance(chunk_id, str) else None)
        attempt.written = []
        self.attempts.append(attempt)
        return ChunkDecoder(attempt)
