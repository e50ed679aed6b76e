"""Cancels a call by shutting its socket down, which wakes the thread or greenlet that is blocked on the socket.

A stop must reach the upstream while the model is silent, often before it has sent a header. Shutting the socket down is
the only way to wake a blocked read. So the HTTP client's network streams report to the current call's lifeline before
each read and write.

httpcore accepts a network backend for a pool, but httpx cannot pass a backend on. So this module uses private names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ..server import sockets
from ..server.private import warn_missing

TRANSPORTS = ("_transport", "_mounts")
HTTP_TRANSPORT = "HTTPTransport"
POOL = "_pool"
BACKEND = "_network_backend"
SLOW_STOP = "stopping a call of your own client waits for its response headers"

_current: ContextVar[Lifeline | None] = ContextVar("llm_stream_lifeline", default=None)


class Lifeline:
    """One call's handle on its connection. `cut()` may be called from any thread, at any time."""

    def __init__(self, on_connected: Callable[[], None]) -> None:
        """`on_connected` is called when the call gets a connection."""
        self.is_cut = False
        self._on_connected = on_connected
        self._stream: Any = None

    def __enter__(self) -> Lifeline:
        """Make this the lifeline of the calling thread's requests until the matching exit."""
        self._before = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._before)

    def hold(self, stream: Any) -> None:
        """The call is about to use `stream`, a network stream of httpcore."""
        if stream is not self._stream:
            self._stream = stream
            self._on_connected()
        if self.is_cut:  # cut while the connection was being made
            shut_down(stream)

    def let_go(self) -> None:
        """The call is over. From now on, its connection may serve another call."""
        self._stream = None

    def cut(self) -> None:
        self.is_cut = True
        shut_down(self._stream)


def current() -> Lifeline | None:
    """The lifeline of the call that the calling thread is making."""
    return _current.get()


def shut_down(stream: Any) -> None:
    """Shut down the socket of httpcore's network stream, if it has one."""
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        sockets.shut_down(connection)


def watch(http_client: Any) -> None:
    """Make the connections of an httpx client report to lifelines. Transports of other libraries are not changed."""
    default, mounts = (getattr(http_client, name, None) for name in TRANSPORTS)
    if default is None:
        warn_missing("httpx", f"Client.{TRANSPORTS[0]}", SLOW_STOP)
    for transport in [default, *(mounts or {}).values()]:
        _watch_pool(transport)


def _watch_pool(transport: Any) -> None:
    pool = getattr(transport, POOL, None)
    backend = getattr(pool, BACKEND, None)
    if pool is None or backend is None:
        if type(transport).__name__ == HTTP_TRANSPORT:
            warn_missing("httpx", f"HTTPTransport.{POOL}" if pool is None else f"ConnectionPool.{BACKEND}", SLOW_STOP)
    elif not isinstance(backend, WatchedBackend):
        setattr(pool, BACKEND, WatchedBackend(backend))
        for connection in pool.connections:  # existing connections do not report
            if connection.is_idle():
                connection.close()


class WatchedBackend:
    """httpcore's NetworkBackend, with streams that report."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def connect_tcp(self, *args: Any, **kwargs: Any) -> WatchedStream:
        return WatchedStream(self._backend.connect_tcp(*args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> WatchedStream:
        return WatchedStream(self._backend.connect_unix_socket(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class WatchedStream:
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

    def start_tls(self, *args: Any, **kwargs: Any) -> WatchedStream:
        self._report()
        return WatchedStream(self._stream.start_tls(*args, **kwargs))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _report(self) -> None:
        if (lifeline := _current.get()) is not None:
            lifeline.hold(self)
