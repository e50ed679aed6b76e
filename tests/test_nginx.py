"""Behind nginx as it comes: buffering on, gzip on, HTTP/1.0 to the server behind it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import free_port
from .conftest import require

pytestmark = pytest.mark.nginx

CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_types text/event-stream;
    gzip_min_length 0;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{backend}; }}
    }}
}}
"""


@pytest.fixture
def behind_nginx(tmp_path: Path) -> Iterator[Callable[[Server], int]]:
    """Put an nginx in front of a server; returns its port."""
    nginx = require("nginx", "nginx")
    processes: list[subprocess.Popen[bytes]] = []

    def start(server: Server) -> int:
        port = free_port()
        config = tmp_path / "nginx.conf"
        config.write_text(CONFIG.format(folder=tmp_path, port=port, backend=server.port))
        processes.append(subprocess.Popen([nginx, "-c", str(config), "-p", str(tmp_path)], stderr=subprocess.DEVNULL))
        eventually((tmp_path / "nginx.pid").exists, "nginx")
        return port

    yield start
    for process in processes:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("headers", [(), ("Accept-Encoding: gzip",)], ids=["plain", "gzip"])
def test_events_arrive_one_by_one(
    upstream: Upstream, serve: Callable[..., Server], behind_nginx: Callable[[Server], int], headers: tuple[str, ...]
) -> None:
    server = serve(upstream)
    port = behind_nginx(server)
    gates = [Gate() for _ in range(5)]
    upstream.answer(*[step for n, gate in enumerate(gates) for step in (f"word{n} ", gate)])
    reading = Connection.get(port, "/llm/chat?prompt=hi", *headers)
    for gate in gates:
        assert gate.reached.wait(10)
        before = len(reading.received)
        while len(reading.received) == before:  # it blocks here, and fails, if nginx holds the event back
            reading.received += reading.socket.recv(65536)
        if not headers:
            reading.read_until(f"word{gates.index(gate)} ")
        gate.open()
    eventually(lambda: server.records())


def test_going_of_the_client_is_noticed(
    upstream: Upstream, serve: Callable[..., Server], behind_nginx: Callable[[Server], int]
) -> None:
    server = serve(upstream, disconnect_grace_s=0.5)
    port = behind_nginx(server)
    upstream.answer("Hello", Stall())
    reading = Connection.get(port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    reading.close()
    assert upstream.request(0).left.wait(0.5 + 1.0 + 0.5)
    (record,) = eventually(server.records)
    assert record["status"] == "abandoned"
