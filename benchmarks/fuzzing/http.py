"""Sends random requests over raw sockets to every route of a real gunicorn with gevent.

The promises: no 500, no traceback in the log, no hang, errors in our format, and no leak in the worker.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from threading import Lock
from time import monotonic
from time import sleep
from typing import Any

from benchmarks.fuzzing._wild import Wild
from benchmarks.fuzzing._wild import request
from llm_stream.testing import Script
from llm_stream.testing import Upstream
from tests.conftest import Server

NAME = "HTTP requests"

CLIENTS = 6
PATIENCE_S = 20.0
SETTINGS: dict[str, Any] = {
    "heartbeat_s": 0.5, "disconnect_grace_s": 0.5, "idle_s": 5, "first_token_s": 5, "max_streams_per_owner": 500,
    "max_retained_bytes": 8_000_000, "retention_s": 60,
}  # fmt: skip
SERVERS_OWN = (400, 403, 405, 408, 411, 413, 414, 417, 431, 501, 505)
"""gunicorn's statuses for invalid HTTP. Their bodies are short HTML pages."""

MOST_MORE_MB = 150
MOST_MORE_FILES = 30
"""How many more files may be open afterwards. The worker keeps some connections to the upstream."""


class Fuzz:
    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._seed = seed
        self._lock = Lock()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        started = server.post("/llm/streams", prompt="hi").json()["id"]
        response = server.post("/llm/v1/responses", input="hi").json()["id"]
        self._ids = [("id", started.encode()), ("response", response.encode()), ("id", b"openai/gpt-4o-mini")]

    def client(self, number: int, until: float) -> None:
        """The seed determines each client's requests, so they can be repeated."""
        random = Random(f"{self._seed} {number}")
        while monotonic() < until:
            wild = request(random, self._ids)
            fault = self._fault_of(wild)
            with self._lock:
                self.counts["requests"] += 1
                if fault:
                    self._report(f"{fault}: {wild.data[:400]!r}")

    def _report(self, fault: str) -> None:
        self.faults.append(fault)
        if len(self.faults) <= 20:
            print(f"fault: {fault}", file=sys.stderr, flush=True)

    def _fault_of(self, wild: Wild) -> str | None:
        try:
            head, body = exchanged(self._server.port, wild)
        except TimeoutError:
            return "no end of the answer"
        if not head:
            with self._lock:
                self.counts["closed without an answer"] += 1
            return None if wild.is_short else "no answer"
        status, headers = parsed(head)
        with self._lock:
            self.counts[f"status {status // 100}xx"] += 1
        return fault_in(wild, status, headers, body)

    def check_rest(self, before: dict[str, int]) -> None:
        until = monotonic() + PATIENCE_S
        while not self._server.at_rest() and monotonic() < until:
            sleep(0.1)
        if not self._server.at_rest():
            self._report(f"something is left in the worker: {self._server.worker()}")
        while (now := state_of(self._server))["files"] > before["files"] + MOST_MORE_FILES and monotonic() < until:
            sleep(0.1)
        if now["files"] > before["files"] + MOST_MORE_FILES:
            self._report(f"open files: {before['files']} before, {now['files']} after")
        if now["MB"] > before["MB"] + MOST_MORE_MB:
            self._report(f"memory: {before['MB']} MB before, {now['MB']} MB after")
        if "Traceback" in self._server.log:
            self._report(f"a traceback in the log: {self._server.log.partition('Traceback')[2][:3000]}")
        records = [record["id"] for record in self._server.records()]
        if len(set(records)) != len(records):
            self._report("a stream has two records")
        self.counts["answers bought"] = len(records)
        self.counts["open files, more than before"] = now["files"] - before["files"]
        self.counts["memory, MB more than before"] = now["MB"] - before["MB"]


def run(seconds: float, seed: int) -> dict[str, int | float]:
    with tempfile.TemporaryDirectory() as folder, Upstream(lambda asked: Script(("Hello", " world"))) as upstream:
        server = Server(upstream, Path(folder), **SETTINGS)
        try:
            fuzz = Fuzz(server, seed)
            warm_up(server)
            before = state_of(server)
            until = monotonic() + seconds
            with ThreadPoolExecutor(CLIENTS) as pool:
                for client in [pool.submit(fuzz.client, number, until) for number in range(CLIENTS)]:
                    client.result()
            fuzz.check_rest(before)
        finally:
            server.process.kill()
            server.process.wait()
    return {**dict(sorted(fuzz.counts.items())), "faults": len(fuzz.faults)}


def warm_up(server: Server) -> None:
    """Warm the worker up, because one-time loading is not a leak."""
    for path in ("openapi.json", "usage", "usage.json", "usage.csv", "chat?prompt=hi", "v1/models"):
        server.get(f"/llm/{path}")


def state_of(server: Server) -> dict[str, int]:
    process = Path(f"/proc/{server.worker()['pid']}")
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return {"files": len(list((process / "fd").iterdir())), "MB": int(lines["VmRSS"].split()[0]) // 1024}


def exchanged(port: int, wild: Wild) -> tuple[bytes, bytes]:
    """The head and the body of the response. Raises `TimeoutError`."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        try:
            connection.sendall(wild.data)
            if wild.is_short:
                connection.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:
            pass  # the server refused the request before it read all of it
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            pass  # the server has closed the connection without reading all of it
    while received.startswith(b"HTTP/1.1 100"):
        received = received.partition(b"\r\n\r\n")[2]
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def parsed(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def fault_in(wild: Wild, status: int, headers: dict[str, str], body: bytes) -> str | None:
    kind = headers.get("content-type", "")
    is_servers = kind.startswith("text/html") and status in SERVERS_OWN and "server" not in headers
    if status >= 500 and not is_servers:
        return f"status {status}, {body[:300]!r}"
    is_file = wild.path.startswith(b"/llm/static/") and status in (412, 416)
    if status < 400 or is_servers or is_file or wild.method == b"HEAD":
        return None
    if kind.startswith("text/plain") and wild.path.startswith(b"/llm/ui/"):
        return None if body else "an error without words"
    error = error_in(body)
    wanted = {"code", "message", "retryable", "error_id"} | (
        {"type", "param"} if wild.path.startswith(b"/llm/v1/") else set()
    )
    return None if wanted <= set(error) else f"status {status} in another form, {kind}: {body[:300]!r}"


def error_in(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
        return dict(answer["error"])
    except (ValueError, TypeError, KeyError):
        return {}
