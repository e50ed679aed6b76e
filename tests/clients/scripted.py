"""A site whose answers a test writes byte by byte, for what a real server does only when one of its workers dies."""

from __future__ import annotations

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import urlsplit

from llm_stream.testing import Gate

from ..conftest import PATIENCE_S
from ..conftest import ROOT

STATIC = "/llm/static/"
STREAMS = "/llm/streams"
FOLDER = ROOT / "llm_stream" / "static"


def event(name: str, kind: str, **data: Any) -> bytes:
    return f"id: {name}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


class Refusal:
    """An error of the blueprint, in the place of an event stream."""

    def __init__(self, status: int, code: str, **headers: str) -> None:
        self.status = status
        self.headers = {"Content-Type": "application/json", **headers}
        self.body = json.dumps({"error": {"code": code, "message": "No.", "retryable": True, "error_id": "e"}}).encode()


class ScriptedSite:
    """An HTTP server for the module and its tests. `asked` has the position in each request for events."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self._answers: deque[Refusal | tuple[bytes | Gate, ...]] = deque()
        self._gates: list[Gate] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"site": self}))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, *pieces: bytes | Gate) -> None:
        """What the next request for events receives before its connection is closed."""
        self._gates += [piece for piece in pieces if isinstance(piece, Gate)]
        self._answers.append(pieces)

    def refuse(self, status: int, code: str, **headers: str) -> None:
        self._answers.append(Refusal(status, code, **headers))

    def next_answer(self) -> Refusal | tuple[bytes | Gate, ...]:
        return self._answers.popleft() if self._answers else Refusal(500, "not_scripted")

    def close(self) -> None:
        for gate in self._gates:
            gate.open()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        assert not self._answers, "an answer was not asked for"


class _Handler(BaseHTTPRequestHandler):
    site: ScriptedSite

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.startswith(STATIC):
            self._send_file(url.path.removeprefix(STATIC))
        elif url.path.startswith(STREAMS):
            last = self.headers.get("Last-Event-ID")
            self.site.asked.append(parse_qs(url.query).get("after") or ([last] if last else []))
            self._send_answer()
        else:
            self.send_error(404)  # the browser asks for an icon

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send_answer()

    def _send_file(self, name: str) -> None:
        file = FOLDER / name
        if not file.is_file():
            return self.send_error(404)
        kind = "text/javascript" if file.suffix == ".js" else "text/plain"
        self._send(200, file.read_bytes(), {"Content-Type": kind})

    def _send_answer(self) -> None:
        answer = self.site.next_answer()
        if isinstance(answer, Refusal):
            return self._send(answer.status, answer.body, answer.headers)
        self._send(200, b"", {"Content-Type": "text/event-stream"})
        for piece in answer:
            if isinstance(piece, Gate):
                piece.reached.set()
                piece.opened.wait(PATIENCE_S)
            elif not self._write(piece):
                return

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._write(body)

    def _write(self, data: bytes) -> bool:
        """Whether the client is still there."""
        try:
            self.wfile.write(data)
        except ConnectionError:
            return False
        return True

    def log_message(self, *_: object) -> None:
        pass
