"""Configurations of the pages, read by the programs that they are for.

Those of docs/guides/proxies.md serve in tests/test_proxies.py. The transcript of docs/guides/several_workers.md is
compared in tests/test_two_workers.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import redis
import trustme
from flask import request

from llm_stream.testing import Upstream

from ..conftest import eventually
from ..conftest import require
from ..pages import Running
from ..pages import page
from ..ports import free_port

RUNS = {
    "docs/guides/proxies.md": ["nginx", "haproxy", "caddy", "yaml"],
    "docs/guides/several_workers.md": ["console", "redis", "nginx"],
    "docs/guides/production.md": ["python", "console"],
    "docs/guides/probes.md": ["python"],
}

WORKERS = page("docs/guides/several_workers.md")


def test_redis_takes_its_configuration_and_lets_the_user_in(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "redis.conf").write_text(WORKERS.block("redis") + f'port {port}\ndir {tmp_path}\nsave ""\n')
    program = require("redis-server", "redis-server")
    with subprocess.Popen([program, str(tmp_path / "redis.conf")], stdout=subprocess.DEVNULL) as server:
        client = redis.Redis(port=port, username="app", password="a-long-password")
        try:
            eventually(lambda: answers(client), "Redis' first answer")
            assert client.info("memory")["maxmemory_policy"] == "noeviction"
            assert client.set("llm_stream:probe", "1")
        finally:
            client.close()
            server.terminate()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.info())
    except redis.ConnectionError:
        return False


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("app.example")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "app.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "app.key"))
    http = WORKERS.block("nginx").replace("/etc/ssl/", f"{tmp_path}/").replace("listen 443", f"listen {free_port()}")
    text = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {http} }}"
    (tmp_path / "nginx.conf").write_text(text)
    command = [require("nginx", "nginx"), "-t", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_gunicorn_takes_its_configuration_and_the_doctor_finds_no_error(upstream: Upstream, tmp_path: Path) -> None:
    production = page("docs/guides/production.md")
    production.write(tmp_path)
    upstream.answer("Hello")
    with Running("gunicorn --bind 127.0.0.1:8000 app:app", tmp_path, OPENAI_BASE_URL=upstream.base_url) as server:
        assert "completed" in server.get("/llm/chat?prompt=hi").text
        found = server.shell(production.block("console").strip().removeprefix("$ "))
    assert "error" not in found and "graceful_timeout" not in found


def test_probes_are_not_limited(upstream: Upstream, tmp_path: Path) -> None:
    with page("docs/guides/probes.md").imported(tmp_path) as module:
        client = module.app.test_client()
        assert [client.get("/llm/readyz").status_code for _ in range(12)] == [200] * 12
        assert [client.get("/llm/streams/none").status_code for _ in range(11)] == [404] * 10 + [429]
        module.llm.close()


def test_app_takes_the_address_that_its_one_proxy_saw(tmp_path: Path) -> None:
    with page("docs/guides/production.md").imported(tmp_path) as module:
        module.app.add_url_rule("/address", view_func=lambda: request.remote_addr)
        seen = module.app.test_client().get("/address", headers={"X-Forwarded-For": "10.9.9.9, 203.0.113.7"})
        assert seen.text == "203.0.113.7"
        module.llm.close()
