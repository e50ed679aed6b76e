"""The handle of a stream, for the app's own views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.answer import Answer
from ..core.followed import Followed


class StreamHandle:
    """The result of `llm.stream(id)`: a running or still stored stream of any worker."""

    def __init__(self, stream: Followed) -> None:
        self._stream = stream

    @property
    def id(self) -> str:
        return self._stream.id

    @property
    def owner(self) -> str:
        return self._stream.owner

    @property
    def model(self) -> str | None:
        return self._stream.model

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._stream.metadata

    @property
    def state(self) -> str:
        """`running`, or the status that the stream ended with."""
        return self._stream.ending or "running"

    @property
    def answer(self) -> Answer:
        """The answer so far. Each call counts as a reader: it restarts the grace time of a stream without readers."""
        self._stream.looked_at()
        return Answer.of(self._stream, self._stream.log.events, self._stream.record)

    def stop(self) -> None:
        """Stop the stream, as the reader's Stop does. It settles a moment later. Does nothing if it has ended.

        Raises `LogUnavailable` if another worker writes the stream and does not confirm the stop.
        """
        self._stream.stop("cancelled")
