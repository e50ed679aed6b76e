"""The transforms of an `LLMStream`: the app's generators between a source and the log."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..events import Event

Transform = Callable[[Iterator[Event]], Iterable[Any]]
"""Gets the events of a stream, and yields the events that readers see."""

_is_inside: ContextVar[bool] = ContextVar("llm_stream_inside_a_transform", default=False)


@dataclass(frozen=True)
class Transforms:
    functions: Sequence[Transform]
    """In the order in which they are applied."""
    scope: Callable[[], AbstractContextManager[Any]]
    """Makes the context manager in which all code of the transforms runs."""

    def apply(self) -> bool:
        """Whether a new stream is transformed. A stream that a transform starts is not: it would transform itself."""
        return bool(self.functions) and not _is_inside.get()

    @contextmanager
    def entered(self) -> Iterator[None]:
        token = _is_inside.set(True)
        try:
            with self.scope():
                yield
        finally:
            _is_inside.reset(token)


def check_transform(function: Transform) -> None:
    """Raises `TypeError` for an async function."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("a transform is a plain generator function, not an async one")
