"""What we know of gevent: its sockets, its event loop, its native threads. It is never imported here.

Each function has a portable way beside it: what is not one of gevent's sockets gets None, and so does a socket of a
version whose private names are others.
"""

from __future__ import annotations

import _thread
import ssl
import sys
from collections.abc import Callable
from typing import Any
from typing import TypeVar

from .private import first_missing
from .private import missing

Result = TypeVar("Result")

NAMES: dict[str, tuple[str, ...]] = {
    "gevent._socket3": ("hub", "_sock", "_read_event"),
    "gevent.ssl": ("hub", "_sock", "_read_event", "_sslobj"),
}
"""The modules of gevent's sockets, and what we use of each."""

PLAIN = "gevent._socket3"


def spawn(function: Callable[..., Any], *args: Any) -> None:
    """Run it in a greenlet of its own; for the event loop, where the start of a `threading.Thread` would block."""
    _thread.start_new_thread(function, args)


def off_loop(function: Callable[..., Result], *args: Any) -> Result:
    """Call what waits in C, where gevent cannot see it: in a native thread, while the other greenlets run on.

    Without gevent, a direct call. What it touches must not be shared with greenlets: their locks are not for threads.
    """
    monkey, hub = sys.modules.get("gevent.monkey"), sys.modules.get("gevent.hub")
    if monkey is None or hub is None or not monkey.is_module_patched("threading"):
        return function(*args)

    def attempt() -> tuple[Result | None, BaseException | None]:
        try:
            return function(*args), None
        except BaseException as error:  # gevent would print it, as if nobody were waiting for it
            return None, error

    result, error = hub.get_hub().threadpool.apply(attempt)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class Watch:
    """The event loop's eye on a socket, kept open: to open and close it costs more than a look."""

    def __init__(self, connection: Any, callback: Callable[[], None]) -> None:
        self._loop = connection.hub.loop
        self._callback = callback
        self._tls: Any = getattr(connection, "_sslobj", None)
        self._recv = connection._sock.recv
        self._watcher = self._loop.io(connection.fileno(), 1)
        self._watcher.start(callback)

    def read(self, size: int) -> bytes | None:
        """What there is; None if there is nothing. Raises `OSError`."""
        if self._tls is not None:
            return self._read_records(size)
        try:
            data: bytes = self._recv(size)
        except BlockingIOError:
            return None
        return data

    def _read_records(self, size: int) -> bytes | None:
        """A record of TLS after another. The loop cannot see on the socket what is decrypted already, nor an end."""
        records: list[bytes] = []
        try:
            while size > 0 and (record := self._tls.read(size)):
                records.append(record)
                size -= len(record)
        except ssl.SSLWantReadError:
            return b"".join(records) or None
        except OSError:
            if not records:
                raise
        if records:
            self._loop.run_callback(self._callback)  # there may be more, or the end: look again
        return b"".join(records)

    def stop(self) -> None:
        self._watcher.stop()
        self._watcher.close()


def watch(connection: Any, callback: Callable[[], None]) -> Watch | None:
    """Have the event loop call `callback` whenever there may be something to read."""
    return Watch(connection, callback) if _is_known(connection) else None


def read_of(connection: Any) -> Callable[[int], bytes] | None:
    """A `recv` that waits first, then reads: gevent's own tries, waits and tries again, a system call more per token.

    As it waits even where there is data, the other greenlets get their turn before each read.
    """
    if type(connection).__module__ != PLAIN or not _is_known(connection):
        return None
    wait, readable, recv = connection.hub.wait, connection._read_event, connection._sock.recv

    def read(size: int) -> bytes:
        while True:
            wait(readable)
            try:
                data: bytes = recv(size)
                return data
            except BlockingIOError:
                continue

    return read


def send_of(connection: Any) -> Callable[[bytes], int] | None:
    """A `send` that does not wait, but raises `BlockingIOError`."""
    if type(connection).__module__ != PLAIN or not _is_known(connection):
        return None
    send: Callable[[bytes], int] = connection._sock.send
    return send


def _is_known(connection: Any) -> bool:
    kind = type(connection)
    lacking = first_missing(connection, NAMES.get(kind.__module__, ()))
    if lacking is not None:
        missing("gevent", f"socket.{lacking}", "tokens take the portable way, which costs more CPU")
    return kind.__module__ in NAMES and lacking is None
