"""A lean HTTP/1.1 transport for httpx, with little overhead per token.

For requests with a body of known length, it has the features of httpx's own transport: TLS with verification, timeouts,
a connection pool, and a retry if a kept connection is dead. Other requests go to httpx's own transport: see
`LeanTransport._can_do`. https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import Any

import httpx2

from ..server import gevent
from . import http1
from .connection import Connection
from .connection import DeadConnection
from .connection import Origin
from .connection import connect
from .lifeline import current as current_lifeline

MAX_ERROR_BYTES = 262_144
"""The maximum number of bytes to read of an error's body. An error object is short, so the rest is ignored."""
PACKED_ERROR_BYTES = 4096
PACKED_AT_ONCE = 1024


class LeanTransport(httpx2.BaseTransport):
    """Use it as `httpx2.Client(transport=LeanTransport())`, from any number of threads or greenlets."""

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
        return self.send(Prepared(request), b"".join(request.stream))  # type: ignore[arg-type]

    def prepare(self, request: httpx2.Request) -> Prepared | None:
        """The head to `send()` with other bodies; None for a request that goes to httpx's own transport."""
        return Prepared(request) if self._can_do(request) else None

    def send(self, prepared: Prepared, body: bytes) -> httpx2.Response:
        """Raises httpx's own exceptions."""
        message = prepared.message(body)
        while kept := self._take_idle(prepared.origin):
            try:
                return self._exchange(kept, prepared, message)
            except DeadConnection:
                continue  # closed before it took this request, so nothing was bought
        return self._exchange(self._connect(prepared), prepared, message)

    def close(self) -> None:
        """Close the idle connections. Connections in use are closed when they are given back."""
        self._closed = True
        self._close_idle()
        if self._stock is not None:
            self._stock.close()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last response was read to the end."""
        connection.idle_since = monotonic()
        idle = self._idle.setdefault(connection.origin, deque())
        idle.append(connection)
        while len(idle) > self._keep_alive:
            idle.popleft().close()
        if self._closed:  # checked last, because another thread may call `close()` meanwhile
            self._close_idle()

    def _close_idle(self) -> None:
        for origin in list(self._idle):
            while idle := self._idle[origin]:
                try:
                    idle.pop().close()
                except IndexError:  # another thread took it
                    break

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
            except IndexError:  # another thread took it
                break
            if connection.idle_since >= oldest and not connection.is_readable():
                return connection
            connection.close()
        return None

    def _connect(self, prepared: Prepared) -> Connection:
        if self._ssl_context is None and prepared.origin[0] == b"https":
            self._ssl_context = gevent.off_loop(httpx2.create_ssl_context)  # 40 ms: reads all certificates
        return connect(prepared.origin, self._ssl_context, prepared.timeouts.get("connect"))

    def _exchange(self, connection: Connection, prepared: Prepared, message: bytes) -> httpx2.Response:
        timeouts = prepared.timeouts
        try:
            if lifeline := current_lifeline():
                lifeline.hold(connection)
            connection.send(message, timeouts.get("write"))
            connection.set_read_timeout(timeouts.get("read"))
            version, status, headers, rest = connection.read_head()
            body = http1.body_of(prepared.request.method, status, headers)
        except BaseException:
            connection.close()
            raise
        keep = body.ends_itself and http1.stays_open(version, headers)
        is_packed = any(name.lower() == b"content-encoding" for name, _ in headers)
        most = None if status < 400 else PACKED_ERROR_BYTES if is_packed else MAX_ERROR_BYTES
        stream = (PackedStream if is_packed else BodyStream)(self, connection, body, rest, keep, most)
        extensions = {"http_version": b"HTTP/1." + version, "network_stream": stream}
        return httpx2.Response(status, headers=headers, stream=stream, extensions=extensions, request=prepared.request)


class Prepared:
    """A request without its body."""

    def __init__(self, request: httpx2.Request) -> None:
        self.request = request
        self.origin = _origin_of(request.url)
        self.head = http1.head_of(request)
        self.timeouts: dict[str, float | None] = request.extensions.get("timeout", {})

    def message(self, body: bytes) -> bytes:
        length = b"Content-Length: %d\r\n" % len(body) if body or self.request.method == "POST" else b""
        return self.head + length + b"\r\n" + body

    def is_like(self, other: Prepared) -> bool:
        """Whether the two requests differ only in their bodies."""
        return (self.origin, self.head, self.timeouts) == (other.origin, other.head, other.timeouts)


class BodyStream(httpx2.SyncByteStream):
    """The body of one response. Reading it to the end keeps the connection; closing it earlier closes the connection.

    An empty piece means that the next read may block.
    """

    def __init__(
        self,
        transport: LeanTransport,
        connection: Connection,
        body: http1.Body,
        rest: bytes,
        keep: bool,
        most: int | None = None,
    ) -> None:
        """At most `most` bytes are read, then the connection is closed. None: no limit."""
        self._transport = transport
        self._connection: Connection | None = connection
        self.watchable = connection if connection.may_be_watched else None
        self._body = body
        self._rest = rest
        self._keep = keep
        self._most = most

    def __iter__(self) -> Iterator[bytes]:
        connection, body, data = self._connection, self._body, self._rest
        if connection is None:
            return
        self._rest = b""
        try:
            while True:
                if data and (payload := body.feed(data)):
                    yield payload
                if body.error is not None:
                    raise body.error
                if body.done or self._is_enough(len(data)):
                    break
                if connection.may_be_watched:
                    yield b""
                if not (data := connection.read()):
                    body.at_end()
                    break
        except BaseException:
            self.close()
            raise
        if self._keep and body.done and not body.excess:
            self._connection = None
            connection.unwatch()
            self._transport.give_back(connection)
        else:
            self.close()

    def _is_enough(self, read: int) -> bool:
        if self._most is None:
            return False
        self._most -= read
        return self._most <= 0

    def get_extra_info(self, info: str) -> Any:
        """Implements the method of httpcore's network streams. None once the connection may serve another call."""
        connection = self._connection
        return None if connection is None else connection.get_extra_info(info)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class PackedStream(BodyStream):
    """A compressed body, in short pieces, because decompression may enlarge a piece a thousand times."""

    def __iter__(self) -> Iterator[bytes]:
        for piece in super().__iter__():
            yield from (piece[at : at + PACKED_AT_ONCE] for at in range(0, len(piece), PACKED_AT_ONCE))


def _origin_of(url: httpx2.URL) -> Origin:
    return url.raw_scheme, url.raw_host, url.port or (443 if url.scheme == "https" else 80)
