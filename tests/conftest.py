"""Real servers, real clients, a scripted upstream."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from time import monotonic
from time import sleep
from typing import Any

import httpx2
import hypothesis
import pytest
from flask import Flask
from openai import OpenAI
from playwright.sync_api import Page
from playwright.sync_api import expect
from playwright.sync_api import sync_playwright

from llm_stream import LLMStream
from llm_stream.core.streams import Streams
from llm_stream.ledger import ledgers
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .ports import free_port

# no timings in tests; and CI, which nobody watches, tries the same examples each time
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

# a shell starts what runs in the background with Ctrl-C ignored, and what the tests start would inherit that
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0
SOON_S = 20.0
"""An effect must come within this time, even on a machine that stalls. Each default limit of a stream is longer."""
expect.set_options(timeout=PATIENCE_S * 1000)
GUNICORN = ["{bin}/gunicorn", "-c", "gunicorn.conf.py", "tests.served:app"]

Event = tuple[str, str, dict[str, Any]]


def eventually(condition: Callable[[], Any], what: str = "the condition", within: float = PATIENCE_S) -> Any:
    """The first true value of `condition`, looked at again and again: for what another process does."""
    until = monotonic() + within
    while not (value := condition()):
        assert monotonic() < until, f"{what} did not come true within {within} s"
        sleep(0.01)
    return value


def require(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped, in CI it fails."""
    path = shutil.which(program)
    if path is None:
        missing(f"{program} is missing: apt-get install {package}")
    assert path is not None
    return path


def missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI has everything)")
    pytest.skip(reason)


class Site:
    """What a client may ask of a server. Over plain HTTP: to load certificates takes 25 ms a request."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: str = "/llm/chat", /, **body: Any) -> httpx2.Response:
        return self.request("POST", path, json=body or {"prompt": "hi"})

    def get(self, path: str, /, **headers: str) -> httpx2.Response:
        return self.request("GET", path, headers=headers)

    def request(self, method: str, path: str, /, **options: Any) -> httpx2.Response:
        return httpx2.request(method, self.url + path, timeout=PATIENCE_S, verify=False, **options)

    def events(self, path: str = "/llm/chat?prompt=hi", **headers: str) -> list[Event]:
        """All of a stream, read by GET."""
        response = self.get(path, **headers)
        assert response.status_code == 200, response.text
        return read_events(response.content)


class Server(Site):
    """A server process, with the app of `served.py` in it."""

    def __init__(self, upstream: Upstream | None, folder: Path, command: list[str] | None = None, **settings: Any):
        self.port = free_port()
        self.upstream = upstream
        self._records = folder / f"records-{self.port}.jsonl"
        self._log = folder / f"server-{self.port}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        environment |= {"PORT": str(self.port), "RECORDS": str(self._records), "PYTHONUNBUFFERED": "1"}
        environment["LLM_STREAM_LEDGER_URL"] = f"sqlite:///{folder / f'usage-{self.port}.db'}"
        if upstream is not None:
            environment |= {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "sk-secret"}
        for name, value in settings.items():
            text = value if isinstance(value, str) else json.dumps(value)
            environment[name if name.isupper() else f"LLM_STREAM_{name.upper()}"] = text
        python = Path(sys.executable)
        command = command or GUNICORN
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [part.format(bin=python.parent, port=self.port) for part in command],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            eventually(self._answers, "the server's first answer")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return httpx2.get(f"{self.url}/worker", timeout=30, verify=False).status_code == 200
        except httpx2.TransportError:
            return False

    @property
    def log(self) -> str:
        return self._log.read_text()

    def records(self) -> list[dict[str, Any]]:
        lines = self._records.read_text().splitlines(keepends=True) if self._records.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]  # the last one may be half written

    def record(self, stream_id: str) -> dict[str, Any]:
        """The one record of a stream, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [record for record in self.records() if record["id"] == stream_id]

        eventually(found, f"the record of {stream_id}")
        (record,) = found()
        return record

    def worker(self) -> dict[str, Any]:
        state: dict[str, Any] = self.get("/worker").json()
        return state

    def at_rest(self) -> bool:
        """No thread or greenlet of a stream is left, and no slot is taken."""
        state = self.worker()
        return not state["threads"] and not state["slots"]

    def clear(self) -> None:
        """Forget the records, and what the upstream was asked: another test may begin."""
        eventually(self.at_rest)
        self._records.unlink(missing_ok=True)
        if self.upstream:
            self.upstream.requests.clear()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(PATIENCE_S)


class Connection:
    """A client at the level of sockets, which can go away at any moment."""

    def __init__(self, port: int, request: str, *, read_buffer: int = 0, segment: int = 0) -> None:
        self.socket = socket.socket()
        if read_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, read_buffer)
        if segment:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(request.encode().replace(b"\n", b"\r\n"))
        self.received = b""
        _open_connections.append(self)

    @classmethod
    def get(cls, port: int, path: str, *headers: str, **options: Any) -> Connection:
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers, "", ""]
        return cls(port, "\n".join(lines), **options)

    def read_until(self, text: str) -> str:
        while text.encode() not in self.received:
            data = self.socket.recv(65536)
            assert data, f"the connection ended before {text!r}:\n{self.received.decode()}"
            self.received += data
        return self.received.decode(errors="replace")

    def read_to_end(self) -> str:
        while data := self.socket.recv(65536):
            self.received += data
        return self.received.decode(errors="replace")

    def close(self) -> None:
        self.socket.close()


_open_connections: list[Connection] = []


@pytest.fixture(autouse=True)
def connections_are_closed() -> Iterator[None]:
    yield
    while _open_connections:
        _open_connections.pop().close()


def dechunked(response: str) -> str:
    """The body of a response of ASCII."""
    rest = response.partition("\r\n\r\n")[2]
    body = []
    while rest:
        size, _, rest = rest.partition("\r\n")
        body.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return "".join(body)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream
        eventually(lambda: upstream.open == 0, "the end of every upstream request")


@pytest.fixture
def one_day() -> None:
    """A day's budget is renewed at midnight, UTC: a test that spends it in two goes needs a minute of the same day."""

    def has_a_minute_left() -> bool:
        now = datetime.now(UTC)
        return (now + timedelta(minutes=1)).date() == now.date()

    eventually(has_a_minute_left, "the next day", 90)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server: `serve(upstream, idle_s=1)`."""
    servers: list[Server] = []

    def start(upstream: Upstream | None = None, *, command: list[str] | None = None, **settings: Any) -> Server:
        servers.append(Server(upstream, tmp_path, command, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def make_app(upstream: Upstream) -> Iterator[Callable[..., Flask]]:
    """An app in this process: `make_app(idle_s=1)`; its records are in `app.extensions["records"]`."""
    made: list[LLMStream] = []
    started: list[Streams] = []

    def make(llm: LLMStream | None = None, **settings: Any) -> Flask:
        app = Flask("served_here")
        app.config["LLM_STREAM_PUBLIC"] = True
        app.config.update({f"LLM_STREAM_{name.upper()}": value for name, value in settings.items()})
        if llm is None:
            client = OpenAI(base_url=upstream.base_url, api_key="sk-secret")
            llm = LLMStream("llm", __name__, model="scripted", client=client)
        made.append(llm)
        records: list[Any] = []
        llm.on_usage(records.append)
        app.register_blueprint(llm, url_prefix="/llm")
        started.append(app.extensions["llm_stream"][llm].streams)
        app.extensions["records"] = records
        return app

    yield make
    # a stream that still runs may open a connection after close()
    eventually(lambda: not any(streams.running() for streams in started), "the end of all streams")
    for llm in made:
        llm.close()
    for ledger in ledgers.every():
        ledger.close()


CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = require("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert not problems


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of a file share; its upstream is `site.upstream`."""
    with Upstream() as upstream:
        prices = {"openai/gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}
        server = Server(upstream, tmp_path_factory.mktemp("site"), prices=prices)
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Every thread of a stream, and the clock's, is gone soon after the test; those that it found there may stay."""
    found = set(threading.enumerate())
    yield

    def ours() -> list[str]:
        return [t.name for t in set(threading.enumerate()) - found if t.name.startswith("llm_stream")]

    eventually(lambda: not ours(), f"the end of {ours()}")


def text_of(events: list[Event]) -> str:
    return "".join(data["text"] for _, kind, data in events if kind == "delta")


def kinds_of(events: list[Event]) -> list[str]:
    """The types in order, with repetitions left out."""
    kinds = [kind for _, kind, _ in events]
    return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


def of_kind(events: list[Event], kind: str) -> dict[str, Any]:
    """The data of the only event of its kind."""
    (data,) = (data for _, name, data in events if name == kind)
    return data
