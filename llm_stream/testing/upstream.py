"""The scripted upstream, a real HTTP server."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from time import sleep
from typing import Any
from urllib.parse import urlsplit

from .responses import ResponseEvents
from .script import Chunks
from .script import Cut
from .script import Gate
from .script import Pause
from .script import Script
from .script import Stall
from .script import Step
from .script import to_json
from .stand_in import stand_in

POLL_EVERY_S = 0.01
MOST_REQUESTS = 20_000
"""How many requests are kept in memory. There is a limit because a demo may run for weeks."""
PATIENCE_S = 10.0


@dataclass
class Asked:
    """A request that the upstream received."""

    path: str
    headers: Mapping[str, str]
    json: Any
    connection: int
    """The number of its TCP connection, from 1."""
    left: threading.Event = field(default_factory=threading.Event)
    """Set when the client disconnects before the end."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when the request is over, however it ended."""


class ClientLeft(Exception):
    """The client disconnected before the answer was complete."""


class Upstream:
    """The server of both APIs; the path selects one. `otherwise` makes a request's script if none is queued."""

    def __init__(self, otherwise: Callable[[Any], Script] | None = None, *, port: int = 0) -> None:
        self.requests: list[Asked] = []
        self.connections = 0
        self._otherwise = otherwise or stand_in
        self._scripts: deque[Script] = deque()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._server = _Server(("127.0.0.1", port), _Handler, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Upstream:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def open(self) -> int:
        """How many requests are being answered now."""
        return sum(not asked.ended.is_set() for asked in self.requests)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Accept no more requests, not even on kept connections."""
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the client closed it first

    def answer(self, *steps: Step, **options: Any) -> None:
        """Queue a script for one request; `options` are `Script`'s."""
        self._scripts.append(Script(steps, **options))

    @property
    def waiting(self) -> int:
        """How many scripts no request has taken yet."""
        return len(self._scripts)

    def clear(self) -> None:
        """Drop the scripts that no request has taken."""
        self._scripts.clear()

    def request(self, number: int) -> Asked:
        """Wait for the request with this number, from 0. Raises `TimeoutError` after `PATIENCE_S`."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests) > number, PATIENCE_S):
                raise TimeoutError(f"waited for {number + 1} requests, but only {len(self.requests)} arrived")
            return self.requests[number]

    def next_script(self, asked: Asked) -> Script:
        with self._arrived:
            self.requests.append(asked)
            del self.requests[:-MOST_REQUESTS]
            self._arrived.notify_all()
            return self._scripts.popleft() if self._scripts else self._otherwise(asked.json)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], handler: type[_Handler], upstream: Upstream) -> None:
        super().__init__(address, handler)
        self.upstream = upstream

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore disconnects, which tests cause on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        upstream = self.server.upstream
        with upstream._lock:
            upstream._connections.add(self.connection)
            upstream.connections += 1
            self.number = upstream.connections

    def finish(self) -> None:
        super().finish()
        upstream = self.server.upstream
        with upstream._lock:
            upstream._connections.discard(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send_whole(200, {}, to_json({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.path, dict(self.headers), json.loads(body or b"null"), self.number)
        try:
            self._play(self.server.upstream.next_script(asked), asked.json or {})
        except (ClientLeft, OSError):
            self.close_connection = True
            asked.left.set()
        finally:
            asked.ended.set()

    def _play(self, script: Script, request: Mapping[str, Any]) -> None:
        if script.body is not None or script.status != 200:
            error = {"error": {"message": "scripted refusal", "type": "scripted", "code": None, "param": None}}
            self._send_whole(script.status, script.headers, to_json(error) if script.body is None else script.body)
            return
        steps = iter(script.steps)
        first = next(steps, None)
        if isinstance(first, Stall) and first.before_headers:
            self._wait(None)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in ({"Content-Type": "text/event-stream"} | dict(script.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        is_response = urlsplit(self.path).path.endswith("/responses")
        encoder = ResponseEvents(script, request) if is_response else Chunks(script, request)
        for step in itertools.chain([] if first is None else [first], steps, encoder.end()):
            if isinstance(step, Cut):
                self._cut(step)
                return
            self._do(step, encoder, script.segment)
        self.wfile.write(b"0\r\n\r\n")

    def _do(self, step: Step, encoder: Chunks | ResponseEvents, segment: int | None) -> None:
        if isinstance(step, Pause):
            sleep(step.seconds)
        elif isinstance(step, Gate):
            step.reached.set()
            self._wait(step.opened)
        elif isinstance(step, Stall):
            self._wait(None)
        else:
            self._send(encoder.encode(step), segment)

    def _send(self, data: bytes, segment: int | None) -> None:
        if self._has_client_left():
            raise ClientLeft()
        for at in range(0, len(data), segment or len(data)):
            piece = data[at : at + (segment or len(data))]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def _send_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | dict(headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _wait(self, event: threading.Event | None) -> None:
        while not self._has_client_left():
            if event is None:
                sleep(POLL_EVERY_S)
            elif event.wait(POLL_EVERY_S):
                return
        raise ClientLeft()

    def _has_client_left(self) -> bool:
        timeout = self.connection.gettimeout()
        self.connection.settimeout(0)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(timeout)

    def _cut(self, cut: Cut) -> None:
        self.close_connection = True
        if cut.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
