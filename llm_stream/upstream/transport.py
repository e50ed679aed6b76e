"""A lean HTTP/1.1 transport for httpx: what a stream of tokens needs, and nothing per token beside it.

It does what httpx's own does for a request with a body of known length: TLS with verification, timeouts, a pool of kept
connections, and another try where a kept connection turns out to be dead. What it does not do goes to httpx's own:
see `LeanTransport._can_do`. https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from time import monotonic
from time import sleep
from typing import Any

import httpx2

from .. import greenlets
from .. import sockets
from . import http1
from .lifeline import current as current_lifeline

READ_BYTES = 65536
LONG_S = 300.0
READS_PER_TURN = 2
"""An upstream that always has data would keep its greenlet going, and all others waiting."""


Origin = tuple[bytes, bytes, int]


class LeanTransport(httpx2.BaseTransport):
    """`httpx2.Client(transport=LeanTransport())`. May be used from any number of threads or greenlets."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, keep_alive: int = 100, keep_alive_s: float = 60.0):
        self._ssl_context = ssl_context
        self._keep_alive = keep_alive
        self._keep_alive_s = keep_alive_s
        self._idle: dict[Origin, deque[Connection]] = {}
        self._stock: httpx2.HTTPTransport | None = None
        self._closed = False

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises httpx's own exceptions."""
        if not self._can_do(request):
            return self._stock_transport().handle_request(request)
        timeouts = request.extensions.get("timeout", {})
        body = b"".join(request.stream)  # type: ignore[arg-type]
        message = http1.head_of(request) + body
        origin = _origin_of(request.url)
        while kept := self._take_idle(origin):
            try:
                return self._exchange(kept, request, message, timeouts)
            except DeadConnection:
                continue  # it was closed before it saw this request: nothing has been answered, or bought
        return self._exchange(self._connect(origin, timeouts), request, message, timeouts)

    def close(self) -> None:
        """Connections that are in use are closed when they are given back."""
        self._closed = True
        for connections in self._idle.values():
            while connections:
                connections.pop().close()
        if self._stock is not None:
            self._stock.close()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last response was read to its end."""
        if self._closed:
            connection.close()
            return
        connection.idle_since = monotonic()
        idle = self._idle.setdefault(connection.origin, deque())
        idle.append(connection)
        while len(idle) > self._keep_alive:
            idle.popleft().close()

    def _can_do(self, request: httpx2.Request) -> bool:
        headers = request.headers
        return (
            request.url.scheme in ("http", "https")
            and request.method in ("POST", "GET", "DELETE")
            and "transfer-encoding" not in headers
            and "upgrade" not in headers
            and "expect" not in headers
        )

    def _stock_transport(self) -> httpx2.HTTPTransport:
        if self._stock is None:
            self._stock = httpx2.HTTPTransport()
        return self._stock

    def _take_idle(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        oldest = monotonic() - self._keep_alive_s
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.idle_since >= oldest and not connection.has_something_to_say():
                return connection
            connection.close()
        return None

    def _connect(self, origin: Origin, timeouts: dict[str, float | None]) -> Connection:
        scheme, host, port = origin
        try:
            plain = socket.create_connection((host.decode("ascii"), port), timeouts.get("connect"))
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == b"http":
                return Connection(origin, plain)
            if self._ssl_context is None:
                self._ssl_context = httpx2.create_ssl_context()
            return Connection(origin, self._ssl_context.wrap_socket(plain, server_hostname=host.decode("ascii")))
        except TimeoutError as error:
            plain.close()
            raise httpx2.ConnectTimeout(str(error)) from error
        except OSError as error:  # ssl.SSLError is one
            plain.close()
            raise httpx2.ConnectError(str(error)) from error

    def _exchange(
        self, connection: Connection, request: httpx2.Request, message: bytes, timeouts: dict[str, float | None]
    ) -> httpx2.Response:
        try:
            if lifeline := current_lifeline():
                lifeline.hold(connection)
            connection.send(message, timeouts.get("write"))
            connection.set_read_timeout(timeouts.get("read"))
            version, status, headers, rest = connection.read_head()
            body = http1.body_of(request.method, status, headers)
        except BaseException:
            connection.close()
            raise
        keep = body.ends_itself and http1.stays_open(version, headers)
        stream = BodyStream(self, connection, body, rest, keep)
        extensions = {"http_version": b"HTTP/1." + version, "network_stream": stream}
        return httpx2.Response(status, headers=headers, stream=stream, extensions=extensions)


class DeadConnection(httpx2.RemoteProtocolError):
    """A kept connection was closed by the other side, before it answered with a single byte."""


class Connection:
    """A socket, and what it has been used for."""

    def __init__(self, origin: Origin, sock: socket.socket) -> None:
        self.origin = origin
        self.socket = sock
        self.idle_since = 0.0
        self.takes_turns = False
        """Whether each read gives the other greenlets a turn."""
        self._recv: Callable[[int], bytes] = sock.recv
        self._used = False

    def get_extra_info(self, info: str) -> Any:
        """As httpcore's network streams have it."""
        return self.socket if info == "socket" else None

    def has_something_to_say(self) -> bool:
        """Of an idle connection: only that it is being closed."""
        return sockets.peek(self.socket) is not None

    def send(self, message: bytes, timeout: float | None) -> None:
        try:
            self.socket.settimeout(timeout)
            self.socket.sendall(message)
        except TimeoutError as error:
            raise httpx2.WriteTimeout(str(error)) from error
        except OSError:
            pass  # the other side may have answered, and closed, before it had read everything
        self._used, self._was_used = True, self._used

    def set_read_timeout(self, timeout: float | None) -> None:
        """A long one is left to the stream's own deadlines: gevent would make a timer for each read."""
        is_short = timeout is not None and timeout < LONG_S
        self.socket.settimeout(timeout if is_short else None)
        fast = None if is_short else greenlets.read_of(self.socket)
        self._recv, self.takes_turns = fast or self.socket.recv, fast is not None

    def read(self) -> bytes:
        """What there is, but something; nothing only at the end."""
        try:
            return self._recv(READ_BYTES)
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except ssl.SSLEOFError:  # closed without TLS's own goodbye: whether that is too early, the body knows
            return b""
        except OSError as error:
            raise httpx2.ReadError(str(error)) from error

    def read_head(self) -> tuple[bytes, int, http1.Headers, bytes]:
        """Version (`0` or `1`), status, headers, and what was read beyond them."""
        data = b""
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                version, status, headers = http1.parse_head(data[:end])
                data = data[end + 4 :]
                if status >= 200:
                    return version, status, headers, data
                continue  # 100 and 103 announce the real one
            if len(data) > http1.MAX_HEAD_BYTES:
                raise httpx2.RemoteProtocolError("the response's head is too large")
            try:
                more = self.read()
            except httpx2.ReadError:
                if self._was_used and not data:
                    raise DeadConnection("a kept connection was reset") from None
                raise
            if not more:
                dead = DeadConnection if self._was_used and not data else httpx2.RemoteProtocolError
                raise dead("the server disconnected without sending a response")
            data += more

    def close(self) -> None:
        self.socket.close()


class BodyStream(httpx2.SyncByteStream):
    """The body of one response: iterate it to the end, and the connection is kept; close it before, and it is not."""

    def __init__(
        self, transport: LeanTransport, connection: Connection, body: http1.Body, rest: bytes, keep: bool
    ) -> None:
        self._transport = transport
        self._connection: Connection | None = connection
        self._body = body
        self._rest = rest
        self._keep = keep

    def __iter__(self) -> Iterator[bytes]:
        connection, body, data = self._connection, self._body, self._rest
        if connection is None:
            return
        self._rest = b""
        reads = 0
        try:
            while True:
                if data and (payload := body.feed(data)):
                    yield payload
                if body.done:
                    break
                reads += 1
                if not connection.takes_turns and not reads % READS_PER_TURN:
                    sleep(0)
                if not (data := connection.read()):
                    body.at_end()
                    break
        except BaseException:
            self.close()
            raise
        if self._keep and not body.excess:
            self._connection = None
            self._transport.give_back(connection)
        else:
            self.close()

    def get_extra_info(self, info: str) -> Any:
        """As httpcore's network streams have it; nothing once the connection belongs to others."""
        connection = self._connection
        return None if connection is None else connection.get_extra_info(info)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _origin_of(url: httpx2.URL) -> Origin:
    return url.raw_scheme, url.raw_host, url.port or (443 if url.scheme == "https" else 80)
