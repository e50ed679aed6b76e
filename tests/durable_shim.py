"""A writing part for Durable Streams, so that its conformance tests can make streams of ours and read them.

An append becomes an event `data` of a stream whose generator yields what is appended; to close is to end the generator.
Reads go to our own route. Of their bodies only the appended messages are passed on, in the content type that the test
has chosen. All else is ours: statuses, headers, offsets, control events, and when they come.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

from flask import Flask
from flask import Response
from flask import request
from werkzeug.serving import WSGIRequestHandler
from werkzeug.serving import make_server
from werkzeug.wrappers import Request
from werkzeug.wrappers import Response as BaseResponse

from llm_stream import Data
from llm_stream import LLMStream
from llm_stream.core.followed import Followed
from llm_stream.wire import durable

from .conftest import Site
from .conftest import eventually

STREAMS = "/v1/stream/"
JSON = "application/json"
OURS = "message"
"""The name of the events that hold what was appended."""

SETTINGS = {
    "heartbeat_s": 1,  # how long a long poll waits
    "origins": ["https://example.com"],
    "max_streams": 10_000,
    "max_streams_per_owner": 10_000,
    **dict.fromkeys(("disconnect_grace_s", "first_token_s", "idle_s", "total_s"), 600),
}


class Appended:
    """A stream of ours that is written by requests."""

    def __init__(self, llm: LLMStream, content_type: str) -> None:
        self.content_type = content_type
        self._batches: SimpleQueue[list[Data] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self.stream: Followed = llm.open("test", source=iter(self._batches.get, None))
        eventually(lambda: self.stream.log.last)

    def append(self, body: bytes) -> None:
        """Returns when readers can have it."""
        events = [Data(OURS, message) for message in self._messages(body)] if body else []
        with self._lock:
            if events and not self.stream.log.ended:
                last = self.stream.log.last + len(events)
                self._batches.put(events)
                eventually(lambda: self.stream.log.last >= last)

    def close(self) -> None:
        self._batches.put(None)
        eventually(lambda: self.stream.log.ended)

    def _messages(self, body: bytes) -> list[Any]:
        if not self.is_json:
            return [body.decode("latin-1")]
        value = json.loads(body)
        return value if isinstance(value, list) else [value]

    @property
    def is_json(self) -> bool:
        return self.content_type.partition(";")[0].lower() == JSON

    def passed_on(self, messages: list[dict[str, Any]]) -> bytes:
        """What was appended, as the test has written it."""
        appended = [message["data"] for message in messages if message["type"] == "data"]
        return json.dumps(appended).encode() if self.is_json else "".join(appended).encode("latin-1")

    def passed_on_as_events(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Each piece of ours is whole events."""
        for piece in pieces:
            yield re.sub(rb"event: data\ndata:(.*)\n\n", lambda found: self._event(found[1]), piece)

    def _event(self, messages: bytes) -> bytes:
        data = self.passed_on(json.loads(messages))
        return b"event: data\ndata:%b\n\n" % data if data not in (b"", b"[]") else b""


class Shim(Site):
    """The server that the conformance tests ask."""

    def __init__(self) -> None:
        self._streams: dict[str, Appended] = {}
        self._app = Flask("shim")
        self._app.config.update({f"LLM_STREAM_{name.upper()}": value for name, value in SETTINGS.items()})
        self._llm = LLMStream("llm", __name__, model="scripted")
        self._llm.authorize(lambda: "test")
        self._app.register_blueprint(self._llm, url_prefix="/llm")
        routes: dict[str, Callable[[str], Response]] = {
            "PUT": self._create, "POST": self._append, "DELETE": self._delete,
        }  # fmt: skip
        for method, view in routes.items():
            self._app.add_url_rule(f"{STREAMS}<path:path>", method, view, methods=[method])
        self._server = make_server("127.0.0.1", 0, self._reads, threaded=True, request_handler=_Handler)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for stream in self._streams.values():
            stream.close()
        self._llm.close()

    def _create(self, path: str) -> Response:
        if path in self._streams:
            return self._placed(self._streams[path], 200)
        stream = self._streams[path] = Appended(self._llm, request.content_type or "application/octet-stream")
        self._write(stream)
        return self._placed(stream, 201)

    def _append(self, path: str) -> Response:
        stream = self._streams.get(path)
        if stream is None:
            return Response(status=404)
        self._write(stream)
        return self._placed(stream, 204)

    def _write(self, stream: Appended) -> None:
        stream.append(request.get_data())
        if request.headers.get("Stream-Closed") == "true":
            stream.close()

    def _placed(self, stream: Appended, status: int) -> Response:
        headers = {"Content-Type": stream.content_type, "Location": request.url}
        headers["Stream-Next-Offset"] = durable.offset(stream.stream.log.last)
        if stream.stream.log.ended:
            headers["Stream-Closed"] = "true"
        return Response(status=status, headers=headers)

    def _delete(self, path: str) -> Response:
        stream = self._streams.pop(path, None)
        if stream is None:
            return Response(status=404)
        stream.close()
        return Response(status=204)

    def _reads(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """By our own route. An offset that is left out is the beginning; ours wants it said."""
        asked = Request(environ)
        if asked.method not in ("GET", "HEAD", "OPTIONS") or not asked.path.startswith(STREAMS):
            return self._app.wsgi_app(environ, start_response)
        stream = self._streams.get(asked.path.removeprefix(STREAMS))
        query = asked.query_string.decode()
        if "offset" not in asked.args and "live" not in asked.args:
            query = f"{query}&offset=-1"
        path = f"/llm/streams/{stream.stream.id if stream else 'unknown'}"
        ours = environ | {"PATH_INFO": path, "QUERY_STRING": query}
        response = BaseResponse.from_app(self._app.wsgi_app, ours)
        if stream is not None and response.status_code == 200 and asked.method != "OPTIONS":
            passed_on(asked, stream, response)
        return response(environ, start_response)


def passed_on(asked: Request, stream: Appended, response: BaseResponse) -> None:
    if response.mimetype == "text/event-stream":
        pieces: Any = response.response
        response.response = stream.passed_on_as_events(pieces)
        return
    if asked.method == "GET":
        response.set_data(stream.passed_on(json.loads(response.get_data())))
    response.headers["Content-Type"] = stream.content_type


class _Handler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """The tests know what they have asked."""
