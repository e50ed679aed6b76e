"""The same library under gunicorn's threads, waitress and Flask's own server: `threading` is all it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import text_of
from .ports import free_port

WAITRESS = ["{bin}/waitress-serve", "--listen", "127.0.0.1:{port}"]

SERVERS = {
    "gevent": GUNICORN,
    "gevent, portable": ["env", "LLM_STREAM_FAST_PATH=false", *GUNICORN],
    "gthread": [*GUNICORN, "--worker-class", "gthread", "--threads", "20"],
    "flask run": ["{bin}/flask", "--app", "tests.served:app", "run", "--port", "{port}"],
    "waitress": [*WAITRESS, "--threads", "20", "tests.served:app"],
}


@pytest.fixture(scope="module", params=SERVERS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    command, folder = SERVERS[request.param], tmp_path_factory.mktemp("server")
    with Upstream() as upstream:
        server = Server(upstream, folder, command, disconnect_grace_s=0.5, idle_s=3)
        yield server
        server.process.kill()
        server.process.wait()


@pytest.fixture
def server(running: Server) -> Server:
    running.clear()
    return running


@pytest.fixture
def upstream(server: Server) -> Upstream:
    assert server.upstream is not None
    return server.upstream


@pytest.fixture
def own_upstream() -> Iterator[Upstream]:
    """Of a server that only one test has."""
    with Upstream() as upstream:
        yield upstream


def test_answers_are_streamed_side_by_side(upstream: Upstream, server: Server) -> None:
    gates = [Gate() for _ in range(8)]
    readers = []
    for n, gate in enumerate(gates):
        upstream.answer(f"Hello {n} ", gate, "world")
        readers.append(Connection.get(server.port, "/llm/chat?prompt=hi", "Connection: close"))
        readers[-1].read_until(f"Hello {n} ")
    for gate, reading in zip(gates, readers, strict=True):
        gate.open()
        assert "world" in reading.read_until("event: done")
        reading.close()
    eventually(server.at_rest)
    assert [record["status"] for record in server.records()] == ["completed"] * 8


@pytest.mark.parametrize("headers", [True, False])
def test_stop_reaches_a_silent_upstream(upstream: Upstream, server: Server, headers: bool) -> None:
    upstream.answer(Stall(before_headers=not headers))
    url = server.post("/llm/streams", prompt="hi").json()["url"]
    eventually(lambda: upstream.requests)
    assert server.post(f"{url}/cancel").status_code == 204
    assert upstream.request(0).left.wait(SOON_S)
    events = server.events(url)
    assert events[-1][2]["status"] == "cancelled"
    eventually(server.at_rest)


def test_stop_reaches_an_upstream_whose_connection_was_used_before(upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello")
    server.events()
    connections = upstream.connections
    upstream.answer(Stall(before_headers=True))
    url = server.post("/llm/streams", prompt="hi").json()["url"]
    eventually(lambda: len(upstream.requests) == 2)
    assert upstream.connections == connections
    server.post(f"{url}/cancel")
    assert upstream.request(1).left.wait(SOON_S)


def test_reader_gone_is_noticed_while_nothing_is_written(upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", Stall())
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    reading.close()
    assert upstream.request(0).left.wait(SOON_S)
    eventually(server.at_rest)
    assert [record["status"] for record in server.records()] == ["abandoned"]
    assert "Traceback" not in server.log


def test_failures_are_told(upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello", finish_reason=None)
    assert kinds_of(server.events()) == ["start", "delta", "failure", "usage", "done"]
    upstream.answer("Hello", Stall())
    assert server.events()[-1][2]["status"] == "timed_out"
    upstream.answer(status=400)
    assert server.post().status_code == 400


def test_generator_of_ones_own(server: Server) -> None:
    assert text_of(server.events("/report?name=me")) == "one\ntwo me"
    events = server.events("/report?name=me&raise=1")
    assert kinds_of(events) == ["start", "delta", "failure", "usage", "done"]
    assert "sk-secret" not in str(events)
    assert "sk-secret in a traceback" in server.log
    assert [record["model"] for record in server.records()] == [None, None]


@pytest.mark.parametrize("workers", ["1", "3"])
@pytest.mark.parametrize("options", [["--worker-class", "sync"], ["--worker-class", "gthread"]], ids=lambda o: o[1])
def test_worker_that_answers_one_request_at_a_time_is_refused_at_start(options: list[str], workers: str) -> None:
    """While it writes an answer, Stop would not be heard."""
    refused = refusal_of(*options, LLM_STREAM_LOG_URL="redis://127.0.0.1:1", WEB_CONCURRENCY=workers)
    assert "This server answers one request at a time" in refused
    assert "gunicorn --worker-class gevent" in refused


def test_more_than_one_worker_is_refused_at_start() -> None:
    """A reader that comes back would meet the other worker half of the time, and lose its answer without a word."""
    refused = refusal_of(WEB_CONCURRENCY="2")
    assert "serve the app with one worker (WEB_CONCURRENCY=1, or gunicorn --workers 1)" in refused


def refusal_of(*options: str, **variables: str) -> str:
    """What gunicorn says when it does not start."""
    command = [part.format(bin=Path(sys.executable).parent) for part in GUNICORN]
    environment = os.environ | {"PORT": str(free_port()), "LLM_STREAM_LEDGER_URL": ""} | variables
    refused = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr
    return refused.stderr


def test_more_than_one_worker_without_our_hooks_buys_nothing(tmp_path: Path) -> None:
    with Upstream() as upstream:
        (tmp_path / "bare.conf.py").write_text("workers = 2\nworker_class = 'gevent'\ncontrol_socket_disable = True\n")
        bare = ["{bin}/gunicorn", "-c", str(tmp_path / "bare.conf.py"), "-b", "127.0.0.1:{port}"]
        server = Server(upstream, tmp_path, [*bare, "tests.served:app"])
        try:
            refused = server.post()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "several_processes")
            assert server.get("/report?name=me").status_code == 503
            assert "serve the app with one worker" in server.log
            assert not upstream.requests
        finally:
            server.process.kill()
            server.process.wait()


BARE = ["{bin}/gunicorn", "-c", "/dev/null", "--no-control-socket", "-b", "127.0.0.1:{port}"]
"""Without our hooks."""


@pytest.mark.parametrize(
    "command",
    [
        [*BARE, "--worker-class", "sync", "tests.served:app"],
        ["{bin}/flask", "--app", "tests.served:app", "run", "--port", "{port}", "--without-threads"],
    ],
    ids=["sync", "flask run --without-threads"],
)
def test_server_without_threads_answers_and_warns_once(
    command: list[str], own_upstream: Upstream, serve: Callable[..., Server]
) -> None:
    server = serve(own_upstream, command=command)
    for _ in range(3):
        own_upstream.answer("Hello")
        assert text_of(server.events()) == "Hello"
    assert server.log.count("This server answers one request at a time") == 1


def test_sync_worker_cuts_an_answer_that_takes_longer_than_its_timeout(
    own_upstream: Upstream, serve: Callable[..., Server]
) -> None:
    server = serve(own_upstream, command=[*BARE, "--worker-class", "sync", "--timeout", "1", "tests.served:app"])
    own_upstream.answer("Hello", Stall())
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    assert "event: done" not in reading.read_to_end()
    assert "WORKER TIMEOUT" in server.log


def test_fifth_answer_waits_for_one_of_the_four_threads_that_waitress_has_by_default(
    own_upstream: Upstream, serve: Callable[..., Server]
) -> None:
    server = serve(own_upstream, command=[*WAITRESS, "tests.served:app"])
    gates = [Gate() for _ in range(5)]
    for gate in gates:
        own_upstream.answer("Hello", gate)
    readers = []
    for gate in gates[:4]:
        readers.append(Connection.get(server.port, "/llm/chat?prompt=hi"))
        assert gate.reached.wait(PATIENCE_S)
    readers.append(Connection.get(server.port, "/llm/chat?prompt=hi"))
    eventually(lambda: "Task queue depth is 1" in server.log)
    assert not gates[4].reached.is_set()
    for gate in gates:
        gate.open()
    for reading in readers:
        reading.read_until("event: done")


def test_client_that_does_not_read_is_noticed_by_waitress_with_a_low_watermark(
    own_upstream: Upstream, serve: Callable[..., Server]
) -> None:
    """By default waitress would keep 16 MB for it."""
    command = [*WAITRESS, "--outbuf-high-watermark", "65536", "tests.served:app"]
    server = serve(own_upstream, command=command, send_timeout_s=1, disconnect_grace_s=0, max_stream_bytes=20_000_000)
    own_upstream.answer(*["x" * 100_000] * 80, Stall())
    Connection.get(server.port, "/llm/chat?prompt=hi", read_buffer=4096)
    (record,) = eventually(server.records)
    assert record["status"] == "abandoned"


@pytest.mark.parametrize("name", ["waitress", "flask run"])
def test_server_without_hooks_for_its_stop_cuts_answers(
    name: str, own_upstream: Upstream, serve: Callable[..., Server]
) -> None:
    server = serve(own_upstream, command=SERVERS[name])
    own_upstream.answer("Hello", Stall())
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    assert server.stop() == -signal.SIGTERM
    assert "event: done" not in reading.read_to_end()
    assert not server.records()
