"""Servers whose workers share a log and a ledger, and how tests look at them. Real gunicorn with gevent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import GUNICORN
from .conftest import Connection
from .conftest import Event
from .conftest import Server
from .conftest import eventually
from .databases import SQLite


class Sharers:
    """`serve` is the fixture."""

    def __init__(self, serve: Callable[..., Server], upstream: Upstream, log_url: str, ledger: SQLite) -> None:
        self._serve = serve
        self._upstream = upstream
        self._settings = {"log_url": log_url, "ledger_url": ledger.url}
        self._ledger = ledger
        self._servers: list[Server] = []

    def start(self, *options: str, **settings: Any) -> Server:
        """A server with one worker; `options` are gunicorn's."""
        command = [*GUNICORN, *options]
        self._servers.append(self._serve(self._upstream, command=command, **self._settings | settings))
        return self._servers[-1]

    def row(self, stream_id: str) -> dict[str, Any]:
        """The one row of a stream, once it is settled."""

        def settled() -> list[dict[str, Any]]:
            rows = self._ledger.rows("SELECT * FROM llm_stream_usage WHERE id = ?", stream_id)
            return [row for row in rows if row["status"] != "running"]

        (found,) = eventually(settled, "a settled row")
        return dict(found)

    def record(self, stream_id: str) -> dict[str, Any]:
        """The one record of a stream, whichever worker's hook was called with it."""

        def found() -> list[dict[str, Any]]:
            return [record for server in self._servers for record in server.records() if record["id"] == stream_id]

        eventually(found, "a record")
        (record,) = found()
        return record


def reading(server: Server, path: str, *headers: str) -> Connection:
    return Connection.get(server.port, path, "Connection: close", *headers)


def events_in(connection: Connection) -> list[Event]:
    """All of a response, whose pieces are events."""
    body = connection.read_to_end().partition("\r\n\r\n")[2].replace("\r\n", "\n")
    return read_events(body.encode())


def kill_worker(server: Server) -> None:
    """gunicorn starts another."""
    old = server.worker()["pid"]
    os.kill(old, signal.SIGKILL)
    eventually(lambda: server.worker()["pid"] != old)
