"""The fast path under gevent: from the upstream's socket to the reader's without a switch between greenlets.

Everything here has a portable twin, and is used only where it is safe: a `Watch` for a thread that waits, `read_of` for
`socket.recv`, a `Writer` for handing bytes to WSGI. Nothing of gevent is imported; what is not one of its sockets gets
None.
"""

from __future__ import annotations

import _thread
import ssl
import sys
from collections.abc import Callable
from collections.abc import Iterator
from types import FrameType
from types import GeneratorType
from typing import Any
from typing import TypeVar

Result = TypeVar("Result")

GEVENT_SOCKET = "gevent._socket3"
GEVENT_SSL_SOCKET = "gevent.ssl"


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
    """The event loop's eye on a socket of gevent's, kept open: to open and close it costs more than a look."""

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
    if type(connection).__module__ not in (GEVENT_SOCKET, GEVENT_SSL_SOCKET):
        return None
    return Watch(connection, callback)


def read_of(connection: Any) -> Callable[[int], bytes] | None:
    """A `recv` that waits first, then reads: gevent's own tries, waits and tries again, a system call more per token.

    As it waits even where there is data, the other greenlets get their turn before each read.
    """
    if type(connection).__module__ != GEVENT_SOCKET:
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


class Writer:
    """Writes to a client's socket as gunicorn would, but from any greenlet, and never waits."""

    def __init__(self, response: Any, connection: Any) -> None:
        self._response = response
        self._connection = connection
        self._send = connection._sock.send
        self._chunked = response.chunked
        self._rest = b""

    def write(self, data: bytes) -> bool:
        """Whether the kernel has taken all of it; if not, the response's own greenlet must `flush()`.

        Raises `OSError` where the client has gone.
        """
        self._response.sent += len(data)  # for the access log
        if self._chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        self._rest = data[sent:]
        return not self._rest

    @property
    def has_rest(self) -> bool:
        return bool(self._rest)

    def flush(self) -> None:
        """Wait until the client has taken what is left. Raises `OSError`."""
        rest, self._rest = self._rest, b""
        self._connection.sendall(rest)


class Pieces:
    """The iterable of a response: an iterator of its pieces, and what is to be closed with it."""

    def __init__(self, pieces: GeneratorType[bytes, None, None], close: Callable[[], None]) -> None:
        self.pieces = pieces
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        self.pieces.close()
        self._close()  # a generator that was never begun has no `finally`


def writer_past(generator: FrameType) -> Writer | None:
    """A writer to the client that `generator`, the frame of a running response, is written to.

    None, unless gunicorn's gevent worker iterates exactly our generator, through Flask's usual wrapper and nothing
    else: whoever stands between (a middleware that compresses, counts or rewrites) must see every byte. So each link
    is compared with the next by identity, not by name.
    """
    with_context = generator.f_back
    server = with_context.f_back if with_context else None
    if with_context is None or server is None:
        return None
    if not _is(with_context, "flask.helpers", "stream_with_context.<locals>.generator"):
        return None
    if getattr(with_context.f_locals.get("gen"), "gi_frame", None) is not generator:
        return None
    if not _is(server, "gunicorn.workers.base_async", "AsyncWorker.handle_request"):
        return None
    served = server.f_locals
    iterated, response, connection = served.get("respiter"), served.get("resp"), served.get("sock")
    if not isinstance(iterated, Pieces) or iterated.pieces.gi_frame is not with_context:
        return None
    if type(connection).__module__ != GEVENT_SOCKET or response is None:
        return None
    return Writer(response, connection) if response.headers_sent and response.response_length is None else None


def _is(frame: FrameType, module: str, name: str) -> bool:
    return frame.f_globals.get("__name__") == module and frame.f_code.co_qualname == name


def caller() -> FrameType:
    """The frame of whoever calls this."""
    return sys._getframe(1)
