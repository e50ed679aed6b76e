"""Behind the proxies of docs/guides/proxies.md, with the configuration of that page, by HTTP/1.1 and by HTTP/2."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import nullcontext
from http.client import HTTPException
from typing import Any

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.wire.sse import HEARTBEAT

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .proxies import KINDS
from .proxies import Proxies
from .reading import Http1
from .reading import Http2
from .reading import Reading

pytestmark = pytest.mark.proxies

GRACE_S = 0.5
LIMIT = {"60s": "2s"}
"""Of silence, in place of the page's. Three seconds of heartbeats outlive it."""

HEARTBEATS = 6
Client = type[Reading]


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    proxies = Proxies(tmp_path_factory.mktemp("proxies"))
    with proxies.stopping_again():
        yield proxies


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def beating(shared: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a heartbeat every half second."""
    server = Server(shared, tmp_path_factory.mktemp("beating"), disconnect_grace_s=GRACE_S, heartbeat_s=0.5)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def quiet(shared: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without heartbeats."""
    server = Server(shared, tmp_path_factory.mktemp("quiet"), disconnect_grace_s=GRACE_S, heartbeat_s=0)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def port(name: str, proxies: Proxies, beating: Server) -> Iterator[int]:
    """Of a proxy before the server with heartbeats."""
    with proxies.stopping_again():
        yield proxies.start(name, beating.port, LIMIT)


@pytest.fixture
def start(proxies: Proxies) -> Iterator[Callable[..., int]]:
    """Start one more proxy, for this test only."""
    with proxies.stopping_again():
        yield proxies.start


@pytest.fixture(params=[Http1, Http2], ids=["HTTP/1.1", "HTTP/2"])
def client(request: pytest.FixtureRequest) -> Client:
    client: Client = request.param
    return client


@pytest.fixture
def upstream(shared: Upstream, beating: Server, quiet: Server) -> Iterator[Upstream]:
    yield shared
    eventually(lambda: shared.open == 0, "the end of every upstream request")
    beating.clear()
    quiet.clear()


@pytest.fixture
def read(proxies: Proxies) -> Iterator[Callable[..., Reading]]:
    """Begin to read a response: `read(client, port, path, body, accept_encoding="gzip")`."""
    readings: list[Reading] = []

    def begin(client: Client, port: int, path: str = "/llm/chat?prompt=hi", *body: object, **options: Any) -> Reading:
        readings.append(client(port, path, proxies.context, *body, **options))
        return readings[-1]

    yield begin
    for reading in readings:
        reading.close()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("request_", [("/llm/chat?prompt=hi",), ("/llm/chat", {"prompt": "hi"})], ids=["GET", "POST"])
def test_events_arrive_one_by_one(
    name: str,
    port: int,
    client: Client,
    upstream: Upstream,
    read: Callable[..., Reading],
    request_: tuple[Any, ...],
    encoding: str,
) -> None:
    gates = [Gate() for _ in range(5)]
    upstream.answer(*[step for n, gate in enumerate(gates) for step in (f"word{n} ", gate)])
    reading = read(client, port, *request_, accept_encoding=encoding)
    for n, gate in enumerate(gates):
        reading.read_until(f"word{n} ")  # it blocks here, and fails, if the proxy holds the event back
        gate.open()
    reading.read_until("event: done")
    assert reading.is_compressed == (encoding == "gzip" and KINDS[name].compresses)


def test_pages_are_compressed(port: int, client: Client, upstream: Upstream, read: Callable[..., Reading]) -> None:
    reading = read(client, port, "/", accept_encoding="gzip")
    assert "<title>" in reading.read_to_end()
    assert reading.is_compressed


def test_silent_model_outlives_the_idle_limit(
    port: int, client: Client, upstream: Upstream, read: Callable[..., Reading]
) -> None:
    gate = Gate()
    upstream.answer("Hello ", gate, "world")
    reading = read(client, port)
    while reading.received.count(HEARTBEAT) < HEARTBEATS:
        assert reading.read()
    gate.open()
    assert "world" in reading.read_until("event: done")


def test_answer_is_resumed(port: int, client: Client, upstream: Upstream, read: Callable[..., Reading]) -> None:
    gate = Gate()
    upstream.answer("one ", "two ", gate, "three ")
    reading = read(client, port)
    reading.read_until('"two "')
    last = next(
        line for line in reading.received.decode().splitlines() if line.startswith("id: ") and line.endswith("-2")
    )
    reading.leave()
    again = read(client, port, last_event_id=last.removeprefix("id: "))
    again.read_until('"two "')
    gate.open()
    text = again.read_until("event: done")
    assert '"one "' not in text and '"three "' in text
    assert len(upstream.requests) == 1


def test_going_of_the_client_is_noticed_without_a_heartbeat(
    name: str,
    client: Client,
    upstream: Upstream,
    quiet: Server,
    start: Callable[..., int],
    read: Callable[..., Reading],
) -> None:
    port = start(name, quiet.port)
    upstream.answer("Hello", Stall())
    reading = read(client, port)
    reading.read_until("Hello")
    reading.leave()
    assert upstream.request(0).left.wait(SOON_S)
    (record,) = eventually(quiet.records)
    assert record["status"] == "abandoned"


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"Traefik"}))  # which has no such limit
def test_silent_model_without_heartbeats_is_cut_at_the_idle_limit(
    name: str,
    client: Client,
    upstream: Upstream,
    quiet: Server,
    start: Callable[..., int],
    read: Callable[..., Reading],
) -> None:
    port = start(name, quiet.port, LIMIT)
    upstream.answer("Hello", Stall())
    with pytest.raises(
        (OSError, HTTPException, AssertionError)
    ):  # haproxy ends an answer of HTTP/2 as if it were complete
        read(client, port).read_until("event: done")


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("Envoy", {"timeout: 0s": "timeout: 2s"}),  # its default is 15 s
        ("Traefik", {"readTimeout: 60s": "writeTimeout: 2s"}),
    ],
)
def test_limit_of_the_whole_answer_cuts_it_in_spite_of_heartbeats(
    name: str,
    limit: dict[str, str],
    client: Client,
    upstream: Upstream,
    beating: Server,
    start: Callable[..., int],
    read: Callable[..., Reading],
) -> None:
    port = start(name, beating.port, limit)
    upstream.answer("Hello", Stall())
    reading = read(client, port)
    with pytest.raises((OSError, HTTPException)):
        reading.read_until("event: done")
    assert HEARTBEAT in reading.received


def test_haproxy_without_abortonclose_does_not_pass_the_going_on(
    upstream: Upstream, quiet: Server, start: Callable[..., int], read: Callable[..., Reading]
) -> None:
    port = start("haproxy", quiet.port, {"option abortonclose": ""})
    upstream.answer("Hello", Stall())
    reading = read(Http1, port)
    reading.read_until("Hello")
    reading.leave()
    assert not upstream.request(0).left.wait(GRACE_S + 1.0 + 0.5)


@pytest.mark.parametrize("headers", [(), ("Accept-Encoding: gzip",)], ids=["plain", "gzip"])
def test_nginx_as_it_comes_passes_events_on_one_by_one(
    upstream: Upstream, beating: Server, proxies: Proxies, headers: tuple[str, ...]
) -> None:
    """It buffers, and asks the server by HTTP/1.0."""
    gates = [Gate() for _ in range(5)]
    upstream.answer(*[step for n, gate in enumerate(gates) for step in (f"word{n} ", gate)])
    with proxies.stopping_again():
        port = proxies.start_bare_nginx(
            f"gzip on; gzip_types text/event-stream; proxy_pass http://127.0.0.1:{beating.port};"
        )
        reading = Connection.get(port, "/llm/chat?prompt=hi", *headers)
        for n, gate in enumerate(gates):
            assert gate.reached.wait(PATIENCE_S)
            before = len(reading.received)
            while len(reading.received) == before:  # it blocks here, and fails, if nginx holds the event back
                reading.received += reading.socket.recv(65536)
            if not headers:
                reading.read_until(f"word{n} ")
            gate.open()
        eventually(beating.records)


def test_two_nginx_in_a_row_need_the_header_passed_on(
    upstream: Upstream, quiet: Server, start: Callable[..., int], read: Callable[..., Reading]
) -> None:
    """The inner one takes `X-Accel-Buffering` for itself, so the outer one would buffer."""
    passed = "proxy_pass_header X-Accel-Buffering;"
    for header in (passed, ""):
        gate = Gate()
        upstream.answer("Hello", gate)
        inner = start("nginx", quiet.port, {"proxy_read_timeout": f"{header} proxy_read_timeout"})
        outer = start("nginx", inner, {"proxy_pass http": "proxy_pass https"})
        with nullcontext() if header else pytest.raises(TimeoutError):
            read(Http1, outer, patience_s=10.0 if header else 1.0).read_until("Hello")
        gate.open()


@pytest.mark.parametrize(("version", "looks_complete"), [("1.0", True), ("1.1", False)])
def test_answer_of_a_server_that_dies_looks_complete_only_behind_http_1_0(
    version: str,
    looks_complete: bool,
    upstream: Upstream,
    serve: Callable[..., Server],
    start: Callable[..., int],
    read: Callable[..., Reading],
) -> None:
    server = serve(upstream)
    port = start("nginx", server.port, {"proxy_http_version 1.1": f"proxy_http_version {version}"})
    upstream.answer("Hello", Stall())
    reading = read(Http1, port)
    reading.read_until("Hello")
    os.kill(server.worker()["pid"], signal.SIGKILL)
    with nullcontext() if looks_complete else pytest.raises((OSError, HTTPException)):
        assert "event: done" not in reading.read_to_end()
