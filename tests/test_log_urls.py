"""The ways to an engine, what it costs there, and what is left in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from llm_stream import ConfigError
from llm_stream.testing import Gate
from llm_stream.testing import Script
from llm_stream.testing import Upstream

from .conftest import ROOT
from .conftest import Connection
from .conftest import eventually
from .conftest import text_of
from .here import Pair
from .here import working
from .ports import free_port
from .stores import PROGRAMS
from .stores import StoreServer

RIGHTS = "-@all +@read +@write +@stream +@connection +@scripting +time"
CONNECTIONS = 9
"""That a worker may have: a pool of eight, and the one on which its inbox waits."""
TOTAL_S, RETENTION_S, REMEMBERED_S = 100.0, 50.0, 86_400.0


@pytest.fixture(scope="module", params=PROGRAMS)
def store(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    with StoreServer(request.param) as store:
        yield store


@pytest.fixture
def model() -> Iterator[Upstream]:
    with Upstream(lambda request: Script(("Hello",))) as upstream:
        yield upstream


def assert_shared(upstream: Upstream, url: str) -> None:
    """Two workers find each other there."""
    with working(upstream, url) as pair:
        gate = Gate()
        _, path = pair.start("Hel", gate, "lo")
        reading = Connection.get(pair.b.port, path)
        reading.read_until("Hel")
        gate.open()
        reading.read_to_end()
        assert text_of(pair.b.events(path)) == "Hello"


# URLs


@pytest.mark.parametrize("form", ["redis://{at}/7", "valkey://{at}/7", "redis://{at}?db=7"])
def test_database_is_the_one_of_the_url(store: StoreServer, model: Upstream, form: str) -> None:
    store.ask("FLUSHALL")
    assert_shared(model, form.format(at=f"127.0.0.1:{store.port}"))
    assert store.ask("DBSIZE", database=7)
    assert store.ask("DBSIZE") == 0


def test_password_of_a_user_with_few_rights(store: StoreServer, model: Upstream) -> None:
    store.ask("ACL", "SETUSER", "app", "on", ">pass/word", "~llm_stream:*", *RIGHTS.split())
    assert_shared(model, f"redis://app:pass%2Fword@127.0.0.1:{store.port}/0")
    with working(model, f"redis://app:wrong@127.0.0.1:{store.port}/0") as pair:
        assert pair.a.post().json()["error"]["code"] == "log_unavailable"


@pytest.mark.parametrize("program", PROGRAMS)
def test_socket_of_the_file_system(model: Upstream, program: str, tmp_path: Path) -> None:
    socket = tmp_path / "engine.sock"
    with StoreServer(program, "--unixsocket", str(socket)) as store:
        assert_shared(model, f"unix://{socket}?db=3")
        assert store.ask("DBSIZE", database=3)


# CPython's ssl leaves a socket open whose other end goes before the handshake, as it may while the engine stops
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_certificate_is_verified(model: Upstream, tmp_path: Path, scheme: str) -> None:
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("127.0.0.1")
    trusted, certificate, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(str(trusted))
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    options = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    options += ["--tls-ca-cert-file", str(trusted), "--tls-auth-clients", "no"]
    with StoreServer("Redis 7", *options):  # Valkey's package is built without TLS
        assert_shared(model, f"{scheme}://127.0.0.1:{port}/1?ssl_ca_certs={trusted}")
        with working(model, f"{scheme}://127.0.0.1:{port}/1") as pair:
            assert pair.a.post().json()["error"]["code"] == "log_unavailable"
    assert len(model.requests) == 1


def test_cluster_of_one_node_is_an_engine_like_another(model: Upstream) -> None:
    with StoreServer("Redis 7", "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as store:
        store.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: "cluster_state:ok" in str(store.ask("CLUSTER", "INFO")), "the cluster")
        assert_shared(model, f"redis://127.0.0.1:{store.port}/0")


@pytest.mark.parametrize(
    "url",
    [
        "redi://127.0.0.1/0",
        "http://127.0.0.1",
        "127.0.0.1:6379",
        "redis:/127.0.0.1",
        "memory",
        "redis://127.0.0.1:six/0",
    ],
)
def test_mistyped_url_fails_at_registration(make_app: Any, url: str) -> None:
    with pytest.raises(ConfigError, match="LLM_STREAM_LOG_URL is wrong"):
        make_app(log_url=url)


def test_unknown_option_of_a_url_fails_at_registration(make_app: Any) -> None:
    with pytest.raises(ConfigError, match="max_conections"):
        make_app(log_url="redis://127.0.0.1/0?max_conections=5")


def test_missing_package_is_named_with_the_line_that_installs_it(
    make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask-llm-stream\[redis\]'"):
        make_app(log_url="redis://127.0.0.1/0")


def test_log_in_memory_does_without_the_package() -> None:
    program = "import sys, wsgi; assert 'redis' not in sys.modules, sys.modules['redis']"
    environment = {"LLM_STREAM_LOG_URL": "memory://", "LLM_STREAM_LEDGER_URL": ""}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What it costs, and what is left


@pytest.fixture
def pair(store: StoreServer, model: Upstream) -> Iterator[Pair]:
    store.ask("FLUSHALL")
    url = f"redis://127.0.0.1:{store.port}/0"
    with working(model, url, total_s=TOTAL_S, retention_s=RETENTION_S, max_streams_per_owner=100) as pair:
        yield pair


def lifetimes(store: StoreServer) -> dict[str, float]:
    """Seconds that each key lives on; -1: for ever."""
    with redis.Redis(port=store.port) as client:
        ttls = {key.decode(): client.pttl(key) for key in client.scan_iter()}
    return {key: ttl / 1000 if ttl > 0 else ttl for key, ttl in ttls.items() if ttl != -2}


def test_every_key_has_an_end(pair: Pair, store: StoreServer) -> None:
    gate = Gate()
    pair.upstream.answer("Hel", gate, "lo")
    started = pair.a.post("/llm/streams", prompt="hi", key="k").json()
    reading = Connection.get(pair.b.port, started["url"])
    reading.read_until("Hel")
    running = lifetimes(store)
    assert min(running.values()) > 0, running
    (log,) = (key for key in running if ":log:" in key)
    assert running[log] > TOTAL_S, "it lasts as long as the stream may"
    gate.open()
    reading.read_to_end()
    eventually(lambda: lifetimes(store)[log] <= RETENTION_S, "the end of the log")
    ended = lifetimes(store)
    assert min(ended.values()) > 0, ended
    assert ended[log] > RETENTION_S / 2
    assert max(ended.values()) <= REMEMBERED_S


def test_workers_that_stop_leave_nothing_of_themselves(store: StoreServer, model: Upstream) -> None:
    store.ask("FLUSHALL")
    assert_shared(model, f"redis://127.0.0.1:{store.port}/0")
    left = lifetimes(store)
    assert left and min(left.values()) > 0, left
    assert not [key for key in left if ":inbox:" in key or ":running:" in key or key.endswith(":workers")]
    with redis.Redis(port=store.port) as client:
        assert [name for key in left if ":slots:" in key for name in client.zrange(key, 0, -1)] == []


def test_connections_do_not_grow_with_streams_and_readers(pair: Pair, store: StoreServer) -> None:
    gates = [Gate() for _ in range(50)]
    readers = []
    for number, gate in enumerate(gates):
        pair.upstream.answer("Hello ", gate, f"{number}")
        path = pair.a.post("/llm/streams").json()["url"]
        readers += [Connection.get(here.port, path) for here in (pair.a, pair.b)]
    for reader in readers:
        reader.read_until("Hello ")
    assert connections(store) <= 2 * CONNECTIONS
    for gate in gates:
        gate.open()
    for reader in readers:
        assert '"completed"' in reader.read_to_end()
    assert connections(store) <= 2 * CONNECTIONS


def connections(store: StoreServer) -> int:
    """But the one that asks."""
    with redis.Redis(port=store.port) as client:
        return len(client.client_list()) - 1
