"""Workers in this process: they start at once, and share a log as the workers of gunicorn do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from flask import Flask
from flask import request
from openai import OpenAI
from werkzeug.serving import WSGIRequestHandler
from werkzeug.serving import make_server

from llm_stream import LLMStream
from llm_stream import UsageRecord
from llm_stream.testing import Script
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import Site
from .stores import PROGRAMS
from .stores import StoreServer

CLOSE_S = 5.0
MEMORY = "memory"
LOGS = (MEMORY, *PROGRAMS)


class Here(Site):
    """Serves by real HTTP. The owner is in the header `X-Owner`, without which it is Ann."""

    def __init__(self, upstream: Upstream, **settings: Any) -> None:
        client = OpenAI(base_url=upstream.base_url, api_key="sk-secret")
        self.llm = LLMStream("llm", __name__, model="scripted", client=client)
        self.records: list[UsageRecord] = []
        self.llm.on_usage(self.records.append)
        self.llm.authorize(lambda: request.headers.get("X-Owner", "ann"))
        self.app = Flask("served_here")
        self.app.config.update({f"LLM_STREAM_{name.upper()}": value for name, value in settings.items()})
        self.app.register_blueprint(self.llm, url_prefix="/llm")
        with self.app.app_context():
            self.shared = self.llm.state.streams.shared
        if self.shared:
            self.shared.begin()
        self._server = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=_Handler)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self._client = self.client_of("ann")

    def request(self, method: str, path: str, /, **options: Any) -> httpx2.Response:
        return self._client.request(method, path, **options)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if self.shared:
            self.shared.close(CLOSE_S)
        self.llm.close()
        self._client.close()

    def client_of(self, owner: str) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"X-Owner": owner}, timeout=PATIENCE_S)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"  # a body as it is, without chunks

    def log(self, type: str, message: str, *args: Any) -> None:
        """The test knows what it has asked."""


class Pair:
    """Two workers that share a log. A log in memory has one worker, which is both."""

    def __init__(self, upstream: Upstream, a: Here, b: Here) -> None:
        self.upstream = upstream
        self.a = a
        self.b = b

    def start(self, *steps: Any, **options: Any) -> tuple[str, str]:
        """The id and the URL of a stream that is begun at `a`."""
        self.upstream.answer(*steps, **options)
        started = self.a.post("/llm/streams").json()
        return started["id"], started["url"]

    def records(self) -> list[UsageRecord]:
        return self.a.records if self.a is self.b else self.a.records + self.b.records

    def record(self, stream_id: str) -> UsageRecord | None:
        """The one record of a stream."""
        found = [record for record in self.records() if record.id == stream_id]
        assert len(found) < 2, found
        return found[0] if found else None

    def clear(self) -> None:
        """Forget what the upstream was asked: another test begins."""
        self.upstream.clear()
        self.upstream.requests.clear()


@contextmanager
def working(upstream: Upstream, url: str, **settings: Any) -> Iterator[Pair]:
    a = Here(upstream, log_url=url, **settings)
    b = a if url == "memory://" else Here(upstream, log_url=url, **settings)
    yield Pair(upstream, a, b)
    for here in {a, b}:
        here.close()


@contextmanager
def sharing(log: str, **settings: Any) -> Iterator[Pair]:
    """Workers with a log of their own, one of `LOGS`, and an upstream of their own."""
    with Upstream(lambda request: Script(("Hello",))) as upstream:
        if log == MEMORY:
            with working(upstream, "memory://", **settings) as pair:
                yield pair
        else:
            with StoreServer(log) as store, working(upstream, store.url(), **settings) as pair:
                yield pair
