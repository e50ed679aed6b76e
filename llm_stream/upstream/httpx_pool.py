"""What we know of httpx and httpcore: how the connections of a client can be watched.

httpcore lets a network backend be given to a pool, but httpx has no way to pass one on. Hence the private names.
"""

from __future__ import annotations

from typing import Any

from ..server.private import missing
from .lifeline import current

TRANSPORTS = ("_transport", "_mounts")
HTTP_TRANSPORT = "HTTPTransport"
POOL = "_pool"
BACKEND = "_network_backend"
SLOW_STOP = "a stop waits for the headers of a call by a client of your own"


def watch(http_client: Any) -> None:
    """Make the connections of an httpx client report to lifelines. Transports of another build are left alone."""
    default, mounts = (getattr(http_client, name, None) for name in TRANSPORTS)
    if default is None:
        missing("httpx", f"Client.{TRANSPORTS[0]}", SLOW_STOP)
    for transport in [default, *(mounts or {}).values()]:
        _watch_pool(transport)


def _watch_pool(transport: Any) -> None:
    pool = getattr(transport, POOL, None)
    backend = getattr(pool, BACKEND, None)
    if pool is None or backend is None:
        if type(transport).__name__ == HTTP_TRANSPORT:
            missing("httpx", f"HTTPTransport.{POOL}" if pool is None else f"ConnectionPool.{BACKEND}", SLOW_STOP)
    elif not isinstance(backend, WatchedBackend):
        setattr(pool, BACKEND, WatchedBackend(backend))
        for connection in pool.connections:  # made before, so that nobody would know its socket
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
        if (lifeline := current()) is not None:
            lifeline.hold(self)
