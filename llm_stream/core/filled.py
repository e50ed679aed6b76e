"""A stream as its producer sees it, and a context variable with the stream that the running code fills."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from ..events import Event
from ..settings import Settings
from ..upstream.ending import Ending
from ..upstream.source import SourceOfEvents
from ..usage.meter import Meter
from .structured import Structured
from .transforms import Transforms


class Filled(Protocol):
    """The stream, as its producer sees it."""

    id: str
    settings: Settings
    meter: Meter | None
    transforms: Transforms
    structured: Structured | None
    last_content_at: float

    @property
    def source(self) -> SourceOfEvents: ...

    @property
    def is_open(self) -> bool:
        """Whether it may still take events."""

    def take(self, batch: list[Event]) -> bool:
        """Append events. Return False if the stream takes no more events. Does not block. Raises `StreamTooLarge`."""

    def end(self, ending: Ending) -> None:
        """Settle the stream: the source has ended."""

    def fail(self, error: Exception) -> None:
        """Stop the stream: the producer raised `error`."""

    def unwound(self) -> None:
        """Release the producer and the source. Called last, on success and on failure."""


_producing: ContextVar[Filled | None] = ContextVar("llm_stream_producing", default=None)


def producing() -> Filled | None:
    """The stream whose iterable is running this code, if any. The producer runs a stream's iterable."""
    return _producing.get()


def produce(stream: Filled) -> None:
    """From here on, the code in this context fills `stream`."""
    _producing.set(stream)


@contextmanager
def outside() -> Iterator[None]:
    """Run code of the app that the producer calls but that is not part of the stream's iterable, such as a hook."""
    token = _producing.set(None)
    try:
        yield
    finally:
        _producing.reset(token)
