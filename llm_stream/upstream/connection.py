"""One connection to an upstream: connects, writes and reads. Errors are raised as httpx's exceptions."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from time import sleep
from typing import Any

import httpx2

from ..server import gevent
from ..server import sockets
from . import http1

READ_BYTES = 65536
LONG_S = 300.0
MAX_INTERIM = 50
"""The maximum number of informational responses before the final response."""
READS_PER_TURN = 2
"""The number of reads before other greenlets run. Otherwise, an upstream that always has data would block them."""

Origin = tuple[bytes, bytes, int]
"""Scheme, host, port."""


class DeadConnection(httpx2.RemoteProtocolError):
    """A kept connection was closed before the whole request was sent, so the request can safely be sent again.

    If the connection is closed later, the server may be working on the request. That is an ordinary error.
    """


class Connection:
    """A socket and its state as an HTTP connection."""

    def __init__(self, origin: Origin, sock: socket.socket) -> None:
        self.origin = origin
        self.socket = sock
        self.idle_since = 0.0
        self.may_be_watched = False
        """Whether an event loop may watch the socket, because there is no read timeout to enforce."""
        self._takes_turns = False
        self._reads = 0
        self._recv: Callable[[int], bytes] = sock.recv
        self._was_used = False
        self._may_be_dead = False
        self._ahead: bytes | None = None
        self._watch: gevent.Watch | None = None

    def get_extra_info(self, info: str) -> Any:
        """Implements the method of httpcore's network streams."""
        return self.socket if info == "socket" else None

    def is_readable(self) -> bool:
        """Whether there is data or an end. An idle connection is readable only if the other side is closing it."""
        return sockets.peek(self.socket) is not None

    def send(self, message: bytes, timeout: float | None) -> None:
        was_used, self._was_used, self._may_be_dead = self._was_used, True, False
        try:
            self.socket.settimeout(timeout)
            self.socket.sendall(message)
        except TimeoutError as error:
            raise httpx2.WriteTimeout(str(error)) from error
        except OSError:  # the server may have answered and closed before it read everything
            self._may_be_dead = was_used

    def set_read_timeout(self, timeout: float | None) -> None:
        """Ignore long timeouts, which the stream's own deadlines cover: gevent would make a timer for each read."""
        is_short = timeout is not None and timeout < LONG_S
        self.may_be_watched = not is_short
        self.socket.settimeout(timeout if is_short else None)
        fast = None if is_short else gevent.read_of(self.socket)
        self._recv, self._takes_turns = fast or self.socket.recv, fast is not None

    def read(self) -> bytes:
        """Block until there are bytes. Returns empty bytes only at the end of the connection."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        self._reads += 1
        if not self._takes_turns and not self._reads % READS_PER_TURN:
            sleep(0)
        try:
            return self._recv(READ_BYTES)
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except ssl.SSLEOFError:  # closed without TLS's close_notify; the body detects whether the end is too early
            return b""
        except OSError as error:
            raise httpx2.ReadError(str(error)) from error

    def read_head(self) -> tuple[bytes, int, http1.Headers, bytes]:
        """The minor version (`0` or `1`), the status, the headers, and the bytes that were read beyond the head."""
        data = b""
        interim = 0
        while True:
            end = data.find(b"\r\n\r\n")
            if max(end, len(data) if end < 0 else 0) > http1.MAX_HEAD_BYTES:
                raise httpx2.RemoteProtocolError("the response's head is too large")
            if end >= 0:
                version, status, headers = http1.parse_head(data[:end])
                data = data[end + 4 :]
                self._may_be_dead = False
                if status >= 200:
                    return version, status, headers, data
                interim += 1  # 100 and 103 precede the final response
                if interim > MAX_INTERIM:
                    raise httpx2.RemoteProtocolError(
                        "the server sent too many informational responses and no final response"
                    )
                continue
            try:
                more = self.read()
            except httpx2.ReadError:
                if self._may_be_dead and not data:
                    raise DeadConnection("a kept connection was reset") from None
                raise
            if not more:
                dead = DeadConnection if self._may_be_dead and not data else httpx2.RemoteProtocolError
                raise dead("the server disconnected without sending a response")
            data += more

    def watch(self, callback: Callable[[], None]) -> bool:
        """See `source.Watchable`."""
        self._watch = gevent.watch(self.socket, callback)
        return self._watch is not None

    def unwatch(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def read_ahead(self) -> bool:
        assert self._watch is not None
        data = self._watch.read(READ_BYTES)
        if data == b"":
            raise EOFError
        self._ahead = data
        return data is not None

    def close(self) -> None:
        self.unwatch()
        self.socket.close()


def connect(origin: Origin, ssl_context: ssl.SSLContext | None, timeout: float | None) -> Connection:
    """Raises httpx's `ConnectTimeout` and `ConnectError`."""
    scheme, host, port = origin
    plain = None
    try:
        plain = socket.create_connection((host.decode("ascii"), port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == b"http":
            return Connection(origin, plain)
        assert ssl_context is not None
        return Connection(origin, ssl_context.wrap_socket(plain, server_hostname=host.decode("ascii")))
    except OSError as error:  # includes TimeoutError and ssl.SSLError
        if plain is not None:
            plain.close()
        kind = httpx2.ConnectTimeout if isinstance(error, TimeoutError) else httpx2.ConnectError
        raise kind(str(error)) from error
