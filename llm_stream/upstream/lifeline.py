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


def watch(http_client: Any) -> None:
    """Make the connections of an httpx client report to lifelines. Clients of another build are left alone.

    httpcore lets a network backend be given to a pool, but httpx has no way to pass one on: hence the private names.
    """
    transports = [getattr(http_client, "_transport", None), *getattr(http_client, "_mounts", {}).values()]
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if pool is not None and backend is not None and not isinstance(backend, _WatchedBackend):
            pool._network_backend = _WatchedBackend(backend)
            for connection in pool.connections:  # made before, so that nobody would know its socket
                if connection.is_idle():
                    connection.close()


class _WatchedBackend:
    """httpcore's NetworkBackend, with streams that report."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def connect_tcp(self, *args: Any, **kwargs: Any) -> _WatchedStream:
        return _WatchedStream(self._backend.connect_tcp(*args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> _WatchedStream:
        return _WatchedStream(self._backend.connect_unix_socket(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _WatchedStream:
    """httpcore's NetworkStream, reporting before each read and write."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._report()
        data: bytes = self._stream.read(max_bytes, timeout)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._report()
        self._stream.write(buffer, timeout)

    def start_tls(self, *args: Any, **kwargs: Any) -> _WatchedStream:
        self._report()
        return _WatchedStream(self._stream.start_tls(*args, **kwargs))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _report(self) -> None:
        if (lifeline := _current.get()) is not None:
            lifeline.hold(self)
