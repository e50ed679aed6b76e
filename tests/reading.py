"""Clients over TLS that read a response while it is written, and may go away at any moment: HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import json
import socket
import ssl
import zlib
from http.client import HTTPResponse
from http.client import HTTPSConnection
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived
from h2.events import ResponseReceived
from h2.events import StreamEnded
from h2.events import StreamReset

from .conftest import PATIENCE_S

HTTP_2 = "h2"
HTTP_1 = "http/1.1"


class Reading:
    """A response that is being read. `received` is its body so far, decompressed."""

    def __init__(
        self,
        port: int,
        path: str,
        context: ssl.SSLContext,
        body: Any = None,
        *,
        patience_s: float = PATIENCE_S,
        **headers: str,
    ) -> None:
        self.received = b""
        self.headers: dict[str, str] = {}
        self._inflate: Any = None
        self._open(port, context, patience_s)
        data = None if body is None else json.dumps(body).encode()
        names = {name.lower().replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            names |= {"content-type": "application/json", "content-length": str(len(data))}
        try:
            self._ask("GET" if data is None else "POST", path, names, data)
        except BaseException:
            self.close()
            raise
        if self.headers.get("content-encoding") == "gzip":
            self._inflate = zlib.decompressobj(31)

    @property
    def is_compressed(self) -> bool:
        return self._inflate is not None

    def read_until(self, text: str) -> str:
        """It blocks while nothing arrives, and fails if the response ends before."""
        while text.encode() not in self.received:
            assert self.read(), f"the response ended before {text!r}:\n{self.received.decode()}"
        return self.received.decode()

    def read_to_end(self) -> str:
        while self.read():
            pass
        return self.received.decode()

    def read(self) -> bool:
        """Wait for more; False at the end. Raises `OSError` if the response is cut."""
        data = self._more()
        self.received += self._inflate.decompress(data) if self._inflate else data
        return bool(data)

    def leave(self) -> None:
        """Go away before the end."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    def _open(self, port: int, context: ssl.SSLContext, patience_s: float) -> None:
        raise NotImplementedError

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        raise NotImplementedError

    def _more(self) -> bytes:
        raise NotImplementedError


class Http1(Reading):
    """One that leaves closes its connection."""

    def _open(self, port: int, context: ssl.SSLContext, patience_s: float) -> None:
        context.set_alpn_protocols([HTTP_1])
        self._response: HTTPResponse | None = None
        self._connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=patience_s)

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        self._connection.request(method, path, body, {"accept-encoding": "identity"} | headers)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = {name.lower(): value for name, value in self._response.getheaders()}

    def _more(self) -> bytes:
        assert self._response is not None
        return self._response.read1(65536)

    def close(self) -> None:
        self._connection.close()  # with a response that has not ended it leaves the socket to that
        if self._response is not None:
            self._response.close()


class Http2(Reading):
    """One that leaves resets its stream, as a browser does: the connection stays open, for the other tabs."""

    def _open(self, port: int, context: ssl.SSLContext, patience_s: float) -> None:
        context.set_alpn_protocols([HTTP_2])
        plain = socket.create_connection(("127.0.0.1", port), patience_s)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        assert self._socket.selected_alpn_protocol() == HTTP_2
        self._protocol = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._protocol.initiate_connection()
        self._authority = f"127.0.0.1:{port}"
        self._data = b""
        self._ended = False

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        names = {":method": method, ":path": path, ":scheme": "https", ":authority": self._authority}
        self._stream = self._protocol.get_next_available_stream_id()
        self._protocol.send_headers(self._stream, list((names | headers).items()), end_stream=body is None)
        if body is not None:
            self._protocol.send_data(self._stream, body, end_stream=True)
        self._flush()
        while not self.headers:
            self._receive()
        self.status = int(self.headers[":status"])

    def _more(self) -> bytes:
        while not self._data and not self._ended:
            self._receive()
        data, self._data = self._data, b""
        return data

    def _receive(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionResetError("the proxy has closed the connection")
        for event in self._protocol.receive_data(received):
            if isinstance(event, ResponseReceived):
                self.headers = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, DataReceived):
                self._data += event.data
                self._protocol.acknowledge_received_data(event.flow_controlled_length, self._stream)
            elif isinstance(event, StreamEnded):
                self._ended = True
            elif isinstance(event, StreamReset):
                raise ConnectionResetError(f"the proxy has reset the stream: {event.error_code}")
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._protocol.data_to_send())

    def leave(self) -> None:
        self._protocol.reset_stream(self._stream, ErrorCodes.CANCEL)
        self._flush()

    def close(self) -> None:
        self._socket.close()
