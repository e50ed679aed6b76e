"""An OpenAI-compatible server on loopback that does what a script says, well or badly.

    with Upstream() as upstream:
        upstream.answer("Hel", "lo")                            # the next request gets this
        upstream.answer("Hel", Cut())                           # the one after it breaks off
        upstream.answer(status=429, headers={"Retry-After": "1"})
        client = OpenAI(base_url=upstream.base_url, api_key="none")

It is a real server, reached through the real client; the demo app answers from it where there is no key.
`python -m llm_stream.testing` runs one in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from time import monotonic
from time import sleep
from time import time
from typing import Any

LOOK_EVERY_S = 0.01


@dataclass(frozen=True)
class Pause:
    """Say nothing for so many seconds."""

    seconds: float


class Gate:
    """Say nothing until the test opens it. `reached` is set when a request stands before it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def open(self) -> None:
        self.opened.set()


@dataclass(frozen=True)
class Stall:
    """Say nothing until the client goes away; with `before_headers`, not even the status."""

    before_headers: bool = False


@dataclass(frozen=True)
class Cut:
    """Close the connection in the middle: by a reset, or by an end that comes too early."""

    reset: bool = True


Step = str | bytes | Mapping[str, Any] | Pause | Gate | Stall | Cut
"""A string is a piece of the answer, a mapping a whole chunk, bytes go out as they are."""


@dataclass(frozen=True)
class Script:
    """One answer. Unless it is cut, it ends with `finish_reason`, the usage if it was asked for, and `[DONE]`."""

    steps: Iterable[Step]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """In place of all else."""
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | bool = True
    """False: none, though it was asked for."""
    done: bool = True
    segment: int | None = None
    """Send so many bytes at a time."""


@dataclass
class Asked:
    """A request that came in."""

    path: str
    headers: Mapping[str, str]
    json: Any
    connection: int
    """The number of the TCP connection it came by, from 1."""
    started: float = field(default_factory=monotonic)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when the client went away before the end."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when the request is over, one way or the other."""
    ended_at: float = 0.0


class ClientLeft(Exception):
    """The other side closed the connection before the answer was whole."""


class Upstream:
    """The server. `otherwise` makes the script of a request for which none is waiting."""

    def __init__(self, otherwise: Callable[[Any], Script] | None = None, *, port: int = 0) -> None:
        self.requests: list[Asked] = []
        self.connections = 0
        self._otherwise = otherwise or stand_in
        self._scripts: deque[Script] = deque()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
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
        """How many requests are being answered at this moment."""
        return sum(not asked.ended.is_set() for asked in self.requests)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, also on connections that were kept."""
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the client was first

    def answer(self, *steps: Step, **options: Any) -> None:
        """Queue a script for one request; `options` are `Script`'s."""
        self._scripts.append(Script(steps, **options))

    def next_script(self, asked: Asked) -> Script:
        with self._lock:
            self.requests.append(asked)
            return self._scripts.popleft() if self._scripts else self._otherwise(asked.json)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], handler: type[_Handler], upstream: Upstream) -> None:
        super().__init__(address, handler)
        self.upstream = upstream

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what this server is for."""


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
        self._send_whole(200, {}, _json({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.path, dict(self.headers), json.loads(body or b"null"), self.number)
        try:
            self._play(self.server.upstream.next_script(asked), asked.json or {})
        except (ClientLeft, OSError):
            self.close_connection = True
            asked.left.set()
        finally:
            asked.ended_at = monotonic()
            asked.ended.set()

    def _play(self, script: Script, request: Mapping[str, Any]) -> None:
        if script.body is not None or script.status != 200:
            error = {"error": {"message": "scripted refusal", "type": "scripted", "code": None, "param": None}}
            self._send_whole(script.status, script.headers, _json(error) if script.body is None else script.body)
            return
        steps = iter(script.steps)
        first = next(steps, None)
        if isinstance(first, Stall) and first.before_headers:
            self._wait(None)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in script.headers.items():
            self.send_header(name, value)
        self.end_headers()
        chunks = _Chunks(str(request.get("model", "scripted")))
        whole = itertools.chain([] if first is None else [first], steps, _ending(script, request, chunks))
        for step in whole:
            if isinstance(step, Cut):
                self._cut(step)
                return
            self._do(step, chunks, script.segment)
        self.wfile.write(b"0\r\n\r\n")

    def _do(self, step: Step, chunks: _Chunks, segment: int | None) -> None:
        if isinstance(step, Pause):
            sleep(step.seconds)
        elif isinstance(step, Gate):
            step.reached.set()
            self._wait(step.opened)
        elif isinstance(step, Stall):
            self._wait(None)
        else:
            self._send(chunks.written(step), segment)

    def _send(self, data: bytes, segment: int | None) -> None:
        if self._client_left():
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
        while not self._client_left():
            if event is None:
                sleep(LOOK_EVERY_S)
            elif event.wait(LOOK_EVERY_S):
                return
        raise ClientLeft()

    def _client_left(self) -> bool:
        before = self.connection.gettimeout()
        self.connection.settimeout(0)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(before)

    def _cut(self, cut: Cut) -> None:
        self.close_connection = True
        if cut.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


class _Chunks:
    """Writes the chunks of one answer."""

    def __init__(self, model: str) -> None:
        self.count = 0
        self._frame = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": int(time())}
        self._frame["model"] = model

    def written(self, step: Step) -> bytes:
        if isinstance(step, bytes):
            return step
        if isinstance(step, str):
            self.count += 1
            role = {"role": "assistant"} if self.count == 1 else {}
            return self._data([{"index": 0, "delta": role | {"content": step}, "finish_reason": None}])
        assert isinstance(step, Mapping)
        return b"data: " + _json(step) + b"\n\n"

    def finish(self, reason: str) -> bytes:
        return self._data([{"index": 0, "delta": {}, "finish_reason": reason}])

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        return self._data([], usage=usage)

    def _data(self, choices: list[Any], **more: Any) -> bytes:
        return b"data: " + _json(self._frame | {"choices": choices} | more) + b"\n\n"


def _ending(script: Script, request: Mapping[str, Any], chunks: _Chunks) -> Iterator[bytes]:
    if script.finish_reason is not None:
        yield chunks.finish(script.finish_reason)
    wanted = (request.get("stream_options") or {}).get("include_usage")
    if isinstance(script.usage, Mapping):
        yield chunks.usage(script.usage)
    elif script.usage and wanted and script.finish_reason is not None:
        prompt = sum(len(str(message.get("content")).split()) for message in request.get("messages", ()))
        total = {"prompt_tokens": prompt, "completion_tokens": chunks.count, "total_tokens": prompt + chunks.count}
        yield chunks.usage(total)
    if script.done:
        yield b"data: [DONE]\n\n"


def stand_in(request: Any) -> Script:
    """What the demo says while there is no model."""
    messages = request.get("messages") or [{}]
    question = " ".join(str(messages[-1].get("content", "")).split())[:80]
    words = STAND_IN.format(question=question).replace(" ", " \0").split("\0")
    return Script(tuple(itertools.chain.from_iterable(zip(words, itertools.repeat(Pause(PACE_S))))))


PACE_S = 0.03

STAND_IN = """You asked: “{question}”

No model is connected, so this is a stand-in: a scripted server inside the demo, reached over HTTP by the real \
OpenAI client, one word at a time. Everything else is as it will be with a model.

Try to break it:

- Reload the page while this is being written: it goes on where it was.
- Switch the network off and on, or duplicate the tab.
- Press **Stop**: the upstream is closed at once, and the line below tells what was used until then.

For a real model, start the server again with a key:

```sh
export OPENAI_API_KEY=…
export OPENAI_BASE_URL=…  # if your provider is not OpenAI
```"""


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def read_events(body: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """The events of a native stream, as (id, type, data): what a test wants to see."""
    events = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and ": " in line)
        if "data" in fields:
            events.append((fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"])))
    return events


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m llm_stream.testing", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, help="answer with so many tokens, in place of the stand-in text")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds before each of them")
    options = parser.parse_args()

    def paced(request: Any) -> Script:
        texts = (f"t{number} " for number in range(options.tokens))
        return Script(tuple(itertools.chain.from_iterable((Pause(options.pause), text) for text in texts)))

    upstream = Upstream(paced if options.tokens else None, port=options.port)
    print(upstream.base_url, flush=True)
    upstream._server.serve_forever()


if __name__ == "__main__":
    _main()
