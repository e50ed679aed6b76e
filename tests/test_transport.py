"""The lean transport: framing at every split of the bytes, pooling, TLS, timeouts, and what it leaves to httpx."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import httpx2
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.upstream import http1
from llm_stream.upstream import transport
from llm_stream.upstream.client import Client
from llm_stream.upstream.transport import LeanTransport

from .conftest import eventually

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class RawServer:
    """Answers the n-th request of each connection with the n-th of `answers`, piece by piece, then closes it."""

    def __init__(self, answers: list[list[bytes]], context: ssl.SSLContext | None = None) -> None:
        self.connections = self.closed = 0
        self.requests: list[bytes] = []
        self._answers = answers
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            connection.close()

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                self._converse(connection)
            except OSError:
                pass
            connection.close()
            self.closed += 1

    def _converse(self, connection: socket.socket) -> None:
        for pieces in self._answers:
            request = b""
            while b"\r\n\r\n" not in request:
                data = connection.recv(65536)
                if not data:
                    return
                request += data
            self.requests.append(request)
            for piece in pieces:
                connection.sendall(piece)


@contextmanager
def client_of(lean: LeanTransport | None = None, timeout: float = 5.0) -> Iterator[httpx2.Client]:
    with httpx2.Client(transport=lean or LeanTransport(), timeout=timeout, trust_env=False) as client:
        yield client


def body_of(pieces: list[bytes], body: http1.Body) -> bytes:
    read = b""
    for piece in pieces:
        if body.done:
            break
        read += body.feed(piece)
    if not body.done:
        body.at_end()
    return read


CHUNKED_BODIES = [
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    b'5;ext=1;more="x"\r\nhello\r\n06 \r\n world\r\n000\r\nTrailer: x\r\nAnother: y\r\n\r\n',
    b"B\r\nhello world\r\n0;last\r\n\r\n",
    b"".join(b"1\r\n%c\r\n" % letter for letter in b"hello world") + b"0\r\n\r\n",
]


@pytest.mark.parametrize("stream", CHUNKED_BODIES)
def test_chunks_at_every_split(stream: bytes) -> None:
    assert body_of([stream], http1.ChunkedBody()) == b"hello world"
    assert body_of([stream[at : at + 1] for at in range(len(stream))], http1.ChunkedBody()) == b"hello world"
    for at in range(len(stream)):
        assert body_of([stream[:at], stream[at:]], http1.ChunkedBody()) == b"hello world"


@given(st.lists(st.binary(min_size=1)), st.data())
def test_any_chunks_at_any_split(chunks: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert body_of(pieces, http1.ChunkedBody()) == b"".join(chunks)


@pytest.mark.parametrize(
    "stream",
    [
        b"5\r\nhelloo\r\n0\r\n\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"1_0\r\n",
        b"\r\n",
        b" 5\r\n\r\nhello",
        b"f" * 16 + b"\r\n",
        b"5;" + b"x" * 5000,
        b"5\r\nhel",
        b"5\r\nhello\r\n0\r\n",
        b"",
    ],
)
def test_chunks_that_are_none(stream: bytes) -> None:
    body = http1.ChunkedBody()
    with pytest.raises(httpx2.RemoteProtocolError):
        body.feed(stream)
        body.at_end()


RESPONSES = [
    (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    (OK + b"content-length:5\r\nX: y\r\n\r\nhello", b"hello"),
    (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (OK + b"\r\nhello", b"hello"),
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nhi",
        b"hi",
    ),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b""),
    (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    (OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello", mtime=0), b"hello"),
]


@pytest.mark.parametrize(("response", "body"), RESPONSES, ids=lambda value: str(value)[:50])
def test_responses_come_out_at_every_split(response: bytes, body: bytes) -> None:
    for pieces in ([response], [response[at : at + 1] for at in range(len(response))]):
        with RawServer([pieces]) as server, client_of() as client:
            assert client.get(server.url()).content == body


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"Bad Name: x\r\n\r\n",
        OK + b"X: folded\r\n line\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: 5\r\n\r\nhel",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        CHUNKED + b"5\r\nhel",
        OK + b"X: " + b"x" * 70_000,
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_no_whole_response_is_an_error(response: bytes) -> None:
    with RawServer([[response]]) as server, client_of() as client, pytest.raises(httpx2.RemoteProtocolError):
        client.get(server.url())


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", True),
        (OK + b"Content-Length: 2\r\n\r\nhi", True),
        (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nhi", True),
        (OK + b"Content-Length: 2\r\n\r\nhi and more", False),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", False),
    ],
)
def test_connection_is_used_again_if_it_may_be(response: bytes, kept: bool) -> None:
    with RawServer([[response]] * 3) as server, client_of() as client:
        for _ in range(3):
            assert client.get(server.url()).content == b"hi"
        assert server.connections == (1 if kept else 3)


def test_connection_that_was_left_in_the_middle_is_not_used_again() -> None:
    with RawServer([[CHUNKED + b"2\r\nhi\r\n"]]) as server, client_of() as client:
        with client.stream("GET", server.url()) as response:
            assert next(response.iter_raw()) == b"hi"
        with client.stream("GET", server.url()):
            pass
        assert server.connections == 2


def test_kept_connection_that_died_is_replaced_without_a_word() -> None:
    answer = [OK + b"Content-Length: 2\r\n\r\nhi"]
    with RawServer([answer]) as server, client_of() as client:  # one answer, and the connection is closed
        for _ in range(3):
            assert client.post(server.url(), content=b"body").content == b"hi"
            eventually(lambda: server.closed == server.connections)
        assert server.connections == 3
        assert len(server.requests) == 3, "what may have been bought is not sent twice"


def test_connection_that_dies_after_a_first_byte_is_an_error() -> None:
    whole = [OK + b"Content-Length: 2\r\n\r\nhi"]
    with RawServer([whole, [b"HTTP/1.1 2"]]) as server, client_of() as client:
        client.get(server.url())
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(server.url())
        assert len(server.requests) == 2


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_request_that_was_read_and_not_answered_is_not_sent_twice(interim: bytes) -> None:
    """It may have been bought."""
    whole = [OK + b"Content-Length: 2\r\n\r\nhi"]
    with RawServer([whole, [interim] if interim else []]) as server, client_of() as client:
        client.post(server.url(), content=b"body")
        with pytest.raises(httpx2.RemoteProtocolError):
            client.post(server.url(), content=b"body")
        assert len(server.requests) == 2
        assert server.connections == 1


def test_old_and_superfluous_connections_are_closed() -> None:
    answer = [OK + b"Content-Length: 2\r\n\r\nhi"]
    with RawServer([answer] * 3) as server, client_of(LeanTransport(keep_alive_s=0)) as client:
        for _ in range(2):
            client.get(server.url())
        assert server.connections == 2
    with RawServer([answer] * 3) as server, client_of(LeanTransport(keep_alive=0)) as client:
        for _ in range(2):
            client.get(server.url())
        assert server.connections == 2


def test_connection_that_is_given_back_while_the_transport_closes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    lean = LeanTransport()
    with RawServer([[OK + b"Content-Length: 2\r\n\r\nhi"]] * 2) as server, client_of(lean) as client:

        def close_meanwhile() -> float:
            if server.requests:
                lean.close()
            return monotonic()

        monkeypatch.setattr(transport, "monotonic", close_meanwhile)
        assert client.get(server.url()).text == "hi"
        eventually(lambda: server.closed, "the end of the connection")


def test_timeouts() -> None:
    with RawServer([[CHUNKED + b"2\r\nhi\r\n"], [b""]]) as server, client_of(timeout=0.2) as client:
        silent = socket.create_server(("127.0.0.1", 0))
        with pytest.raises(httpx2.ReadTimeout):
            client.get(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        silent.close()
        assert server.port


def test_nobody_there() -> None:
    with client_of() as client:
        with pytest.raises(httpx2.ConnectError):
            client.get("http://127.0.0.1:9/")
        with pytest.raises(httpx2.ConnectError):
            client.get("http://no-such-host.invalid/")


def test_header_that_would_smuggle_another_is_not_sent() -> None:
    with RawServer([[OK]]) as server, client_of() as client:
        request = client.build_request("GET", server.url())
        request.headers.raw.append((b"X", b"a\r\nY: b"))
        headers = httpx2.Headers([*request.headers.raw, (b"X", b"a\r\nY: b")])
        request.headers = headers
        with pytest.raises(httpx2.LocalProtocolError):
            client.send(request)
        assert not server.requests


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_is_verified_and_its_connection_used_again(authority: trustme.CA) -> None:
    answers = [[CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"]] * 3
    with (
        RawServer(answers, serving(authority, "127.0.0.1")) as server,
        client_of(LeanTransport(ssl_context=trusting(authority))) as client,
    ):
        for _ in range(3):
            assert client.get(server.url("https")).content == b"hi"
        assert server.connections == 1


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"])
def test_tls_that_cannot_be_verified_is_refused(authority: trustme.CA, name: str) -> None:
    trusted = None if name == "127.0.0.1" else trusting(authority)
    with (
        RawServer([[OK]], serving(authority, name)) as server,
        client_of(LeanTransport(ssl_context=trusted)) as client,
        pytest.raises(httpx2.ConnectError, match="certificate verify failed"),
    ):
        client.get(server.url("https"))


def test_what_it_does_not_do_goes_to_httpx() -> None:
    def upload() -> Iterator[bytes]:
        yield b"a body of unknown length"

    lean = LeanTransport()
    with (
        RawServer([[OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi"]]) as server,
        client_of(lean) as client,
    ):
        assert client.post(server.url(), content=upload()).content == b"hi"
        assert lean._stock is not None
        assert b"transfer-encoding: chunked" in server.requests[0].lower()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY", None])
def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "http://proxy.example:3128")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    clients = Client(None)
    made: Callable[..., object] = clients.endpoint()._client._client._transport_for_url
    is_lean = isinstance(made(httpx2.URL("https://api.example/")), LeanTransport)
    assert is_lean is (variable is None)
    clients.close()
