"""What a load balancer and an orchestrator are told of a worker: whether it answers, and whether to send it streams."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from flask import abort
from flask import request
from flask_limiter import Limiter

from llm_stream import LLMStream
from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .stores import PROGRAMS
from .stores import StoreServer

Serve = Callable[..., Server]
MakeApp = Callable[..., Flask]

PROBES = ("/llm/healthz", "/llm/readyz")


def ask(kept: Connection, path: str) -> tuple[int, dict[str, str], Any]:
    """The status, the headers and the body that a connection gives, which stays open."""
    kept.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return answer_on(kept)


def answer_on(kept: Connection) -> tuple[int, dict[str, str], Any]:
    head, _, body = kept.read_until("\r\n\r\n").partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += kept.socket.recv(65536).decode()
    kept.received = b""
    return int(status.split()[1]), headers, json.loads(body)


def test_probe_is_answered_whatever_host_and_origin_it_names(site: Server) -> None:
    assert site.upstream
    for path in PROBES:
        for headers in (
            {"Host": "10.1.2.3:8000"},
            {"Host": ""},
            {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
            {"Sec-Purpose": "prefetch"},
        ):
            answer = site.get(path, **headers)
            assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        head = site.request("HEAD", path)
        assert (head.status_code, head.content, int(head.headers["Content-Length"]) > 0) == (200, b"", True)
    assert site.get("/llm/healthz").json() == {"status": "ok"}
    assert site.get("/llm/readyz").json() == {"status": "ready", "ledger": "ok"}
    assert (site.upstream.requests, site.records()) == ([], [])


def test_probe_asks_no_authorize_and_stays_below_its_prefix(make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="m")
    llm.authorize(lambda: abort(401))
    app = make_app(llm)
    app.register_blueprint(llm, name="other", url_prefix="/t/<tenant>/llm")
    for prefix in ("/llm", "/t/acme/llm"):
        assert app.test_client().get(f"{prefix}/healthz").json == {"status": "ok"}
        assert app.test_client().get(f"{prefix}/readyz").json == {"status": "ready"}


def test_probes_can_be_taken_out_of_a_rate_limit(make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="m")
    limiter = Limiter(lambda: "all", storage_uri="memory://")
    limiter.limit("1/hour")(llm)
    app = make_app(llm)
    limiter.init_app(app)
    limiter.request_filter(lambda: request.endpoint in ("llm.healthz", "llm.readyz"))
    client = app.test_client()
    assert [client.get(path).status_code for path in PROBES * 2] == [200] * 4
    assert [client.get("/llm/v1/models").status_code for _ in range(2)] == [200, 429]


def test_stopping_worker_is_not_ready_but_healthy(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=[*GUNICORN, "--graceful-timeout", "20", "--keep-alive", "30"])
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    reading = Connection.get(server.port, "/llm/chat?prompt=hi", "Connection: close")
    reading.read_until("Hello")
    to_readyz, to_healthz = (Connection.get(server.port, path) for path in reversed(PROBES))
    assert answer_on(to_readyz)[0] == answer_on(to_healthz)[0] == 200
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Handling signal: term" in server.log)
    refused = eventually(lambda: not_ready(to_readyz), "a worker that is not ready")
    assert refused == (503, "5", "no-store", {"status": "draining"})
    assert ask(to_healthz, "/llm/healthz")[::2] == (200, {"status": "ok"})
    gate.open()
    assert '{"status":"completed"' in reading.read_to_end()
    assert server.process.wait(PATIENCE_S) == 0


def not_ready(kept: Connection) -> tuple[Any, ...] | None:
    """A stopping worker answers one more request of a connection, and closes it then."""
    status, headers, body = ask(kept, "/llm/readyz")
    if status == 200:
        return None
    return status, headers["retry-after"], headers["cache-control"], body


def test_worker_that_is_recycled_is_not_ready(upstream: Upstream, serve: Serve) -> None:
    command = [*GUNICORN, "--graceful-timeout", "20", "--max-requests", "3", "--keep-alive", "30"]
    server = serve(upstream, command=command)
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    kept = Connection.get(server.port, "/llm/readyz")
    assert answer_on(kept)[0] == 200
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    eventually(lambda: "Autorestarting" in server.log)
    assert ask(kept, "/llm/readyz")[::2] == (503, {"status": "draining"})
    gate.open()
    reading.read_until('{"status":"completed"')


def test_process_that_may_start_no_stream_is_not_ready(make_app: MakeApp) -> None:
    client = make_app().test_client()
    for path, status, said in (("/llm/healthz", 200, "ok"), ("/llm/readyz", 503, "several_processes")):
        answer = client.get(path, environ_overrides={"wsgi.multiprocess": True})
        assert (answer.status_code, answer.json) == (status, {"status": said})


def test_log_that_is_away_is_told_and_takes_no_worker_out(upstream: Upstream, serve: Serve) -> None:
    with StoreServer(next(iter(PROGRAMS))) as store:
        server = serve(upstream, log_url=store.url())
        assert server.get("/llm/readyz").json() == {"status": "ready", "log": "ok", "ledger": "ok"}
        store.kill()
        away = {"status": "ready", "log": "away", "ledger": "ok"}
        eventually(lambda: server.get("/llm/readyz").json() == away)
        assert server.get("/llm/readyz").status_code == 200
        store.start()
        eventually(lambda: server.get("/llm/readyz").json()["log"] == "ok")


def test_ledger_that_is_away_is_told_and_takes_no_worker_out(upstream: Upstream, serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    server = serve(upstream, ledger_url=f"sqlite:///{folder / 'usage.db'}")
    eventually(lambda: server.get("/llm/readyz").json() == {"status": "ready", "ledger": "away"})
    answer = server.get("/llm/readyz")
    assert answer.status_code == 200
    assert "missing" not in answer.text
    folder.mkdir()
    eventually(lambda: server.get("/llm/readyz").json() == {"status": "ready", "ledger": "ok"})
