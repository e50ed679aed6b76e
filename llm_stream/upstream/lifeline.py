"""Cutting a connection under a thread that is blocked on it.

A stop must reach the upstream while the model is silent, often before it has sent so much as a header, and then
the only thing that wakes the blocked read, in a thread or a greenlet, is its socket being shut down. So the
HTTP client's streams report, before each read, to the lifeline of the call they are serving.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..server import sockets

_current: ContextVar[Lifeline | None] = ContextVar("llm_stream_lifeline", default=None)


class Lifeline:
    """What one call holds on to of its connection. `cut()` may be called from any thread, at any time."""

    def __init__(self, on_connected: Callable[[], None]) -> None:
        """`on_connected` is called once the call has a connection."""
        self.is_cut = False
        self._on_connected = on_connected
        self._stream: Any = None

    def __enter__(self) -> Lifeline:
        """Make this the lifeline of what the calling thread sends until the matching exit."""
        self._before = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)

    def hold(self, stream: Any) -> None:
        """`stream` (a network stream of httpcore's) is about to be used for this call."""
        if stream is not self._stream:
            self._stream = stream
            self._on_connected()
        if self.is_cut:  # the cut came while the connection was still being made
            _cut(stream)

    def let_go(self) -> None:
        """The call is over; its connection may already serve another."""
        self._stream = None

    def cut(self) -> None:
        self.is_cut = True
        if (stream := self._stream) is not None:
            _cut(stream)


def current() -> Lifeline | None:
    """The lifeline of the call that the calling thread is making."""
    return _current.get()


def _cut(stream: Any) -> None:
    if (connection := stream.get_extra_info("socket")) is not None:
        sockets.shut_down(connection)
