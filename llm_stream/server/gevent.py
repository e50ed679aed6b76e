"""Uses gevent's sockets, event loop and native threads, without importing gevent.

The functions for sockets return None if the socket is not gevent's, or if its private names have changed. The caller
then falls back to portable code.
"""

from __future__ import annotations

import _thread
import ssl
import sys
from collections.abc import Callable
from typing import Any
from typing import TypeVar

from .private import SLOW_TOKENS
from .private import has_names

Result = TypeVar("Result")

NAMES: dict[str, tuple[str, ...]] = {
    "gevent._socket3": ("hub", "_sock", "_read_event"),
    "gevent.ssl": ("hub", "_sock", "_read_event", "_sslobj"),
}
"""The private attributes that we use, by the module of the socket's class."""

PLAIN = "gevent._socket3"


SWITCH_S = 0.0005


class _SwitchingOften:
    """Shortens the interpreter's switch interval. One thread's greenlets use it, so a plain number counts them."""

    def __init__(self) -> None:
        self._inside = 0
        self._usual_s = 0.0

    def __enter__(self) -> None:
        if not self._inside:
            self._usual_s = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_S, self._usual_s))
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1
        if not self._inside:
            sys.setswitchinterval(self._usual_s)


_switching_often = _SwitchingOften()


def spawn(function: Callable[..., Any], *args: Any) -> None:
    """Run a function in a new greenlet. For use in the event loop, where `threading.Thread.start()` would block."""
    _thread.start_new_thread(function, args)


def off_loop(function: Callable[..., Result], *args: Any) -> Result:
    """Run a function that blocks in C in a native thread, so that the other greenlets keep running.

    Without gevent, the function is called directly. The function must not touch data shared with greenlets: their locks
    do not work across threads.

    Python code in the function competes with the event loop for the GIL, which the loop releases for each system call.
    The loop would wait 5 ms each time to get the GIL back, so the switch interval is `SWITCH_S` until the call ends.
    """
    monkey, hub = sys.modules.get("gevent.monkey"), sys.modules.get("gevent.hub")
    if monkey is None or hub is None or not monkey.is_module_patched("threading"):
        return function(*args)

    def attempt() -> tuple[Result | None, BaseException | None]:
        try:
            return function(*args), None
        except BaseException as error:  # gevent would print it as unhandled
            return None, error

    with _switching_often:
        result, error = hub.get_hub().threadpool.apply(attempt)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class Watch:
    """Watches a socket in the event loop. It stays open between reads, because reopening it costs more than a poll."""

    def __init__(self, connection: Any, callback: Callable[[], None]) -> None:
        self._loop = connection.hub.loop
        self._callback = callback
        self._tls: Any = getattr(connection, "_sslobj", None)
        self._recv = connection._sock.recv
        self._watcher = self._loop.io(connection.fileno(), 1)
        self._watcher.start(callback)

    def read(self, size: int) -> bytes | None:
        """The available bytes; None if there are none yet; empty if the connection has ended. Raises `OSError`."""
        if self._tls is not None:
            return self._read_records(size)
        try:
            data: bytes = self._recv(size)
        except BlockingIOError:
            return None
        return data

    def _read_records(self, size: int) -> bytes | None:
        """Read all TLS records: the loop sees neither data that is already decrypted nor a TLS close."""
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
            self._loop.run_callback(self._callback)  # poll again: there may be more, or the end
        return b"".join(records)

    def stop(self) -> None:
        self._watcher.stop()
        self._watcher.close()


def watch(connection: Any, callback: Callable[[], None]) -> Watch | None:
    """Have the event loop call `callback` whenever the socket may be readable."""
    return Watch(connection, callback) if _has_names(connection) else None


def read_of(connection: Any) -> Callable[[int], bytes] | None:
    """A `recv` that waits first, then reads. gevent's own `recv` tries, waits and retries: one more system call each.

    The new `recv` waits even if there is data, so the other greenlets run before each read.
    """
    if type(connection).__module__ != PLAIN or not _has_names(connection):
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
    """A non-blocking `send`, which may raise `BlockingIOError`."""
    if type(connection).__module__ != PLAIN or not _has_names(connection):
        return None
    send: Callable[[bytes], int] = connection._sock.send
    return send


def _has_names(connection: Any) -> bool:
    names = NAMES.get(type(connection).__module__)
    return names is not None and has_names(connection, names, "gevent", "socket", SLOW_TOKENS)
