"""A database whose answers do not arrive any more, over a connection that stays open, is given up and asked again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream.testing import Upstream

from .conftest import Server
from .conftest import eventually
from .databases import PostgreSQL
from .databases import PostgreSQLServer
from .proxy import Proxy

ROWS = "SELECT status FROM llm_stream_usage"


class Swallowing(Proxy):
    """Passes nothing on while it swallows, and loses no connection: what a firewall does that has forgotten one."""

    def __init__(self, target: int) -> None:
        self.swallows = threading.Event()
        super().__init__(target)

    def passed(self, data: bytes) -> bytes:
        if self.swallows.is_set():
            threading.Event().wait()  # the bytes of this connection arrive nowhere, for ever
        return data


@pytest.fixture
def database() -> Iterator[tuple[PostgreSQL, PostgreSQLServer]]:
    server = PostgreSQLServer()
    try:
        yield PostgreSQL(server), server
    finally:
        server.close()


def test_unanswered_write_is_given_up_and_made_again(
    upstream: Upstream, serve: Callable[..., Server], database: tuple[PostgreSQL, PostgreSQLServer]
) -> None:
    kept, server = database
    with Swallowing(server.port) as proxy:
        url = kept.url.replace(f":{server.port}/", f":{proxy.port}/")
        served = serve(upstream, ledger_url=url)
        assert served.post().status_code == 200
        proxy.swallows.set()
        upstream.answer("not bought")
        assert served.post().status_code == 503
        proxy.swallows.clear()  # new connections work, and the old one never answers
        eventually(lambda: served.post().status_code == 200, "a new connection", 40)
    rows: list[dict[str, Any]] = kept.rows(ROWS)
    assert {row["status"] for row in rows} == {"completed"}
