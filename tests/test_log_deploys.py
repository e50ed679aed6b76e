"""Workers that are replaced while others share their log. Real gunicorn with gevent."""

from __future__ import annotations

import signal
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import Server
from .conftest import eventually
from .conftest import of_kind
from .conftest import text_of
from .databases import SQLite
from .sharers import Sharers
from .sharers import events_in
from .sharers import reading
from .stores import PROGRAMS
from .stores import StoreServer

INTERRUPTED = {"status": "interrupted"}


@pytest.fixture(scope="module")
def store() -> Iterator[StoreServer]:
    with StoreServer() as store:
        yield store


@pytest.fixture
def sharers(serve: Callable[..., Server], upstream: Upstream, store: StoreServer, tmp_path: Path) -> Sharers:
    return Sharers(serve, upstream, store.url(), SQLite(tmp_path))


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_deploy_finishes_what_fits_and_the_rest_is_read_elsewhere(
    upstream: Upstream, sharers: Sharers, sign: signal.Signals
) -> None:
    a, b = sharers.start("--graceful-timeout", "3", max_streams_per_owner=100), sharers.start()
    gates = [Gate() for _ in range(10)]
    for gate in gates:
        upstream.answer("Hello", gate, " world")
    upstream.answer("Hello", Stall())
    fitting = [a.post("/llm/streams").json() for _ in gates]
    hanging = a.post("/llm/streams").json()
    own = [reading(a, started["url"]) for started in (*fitting, hanging)]
    elsewhere = [reading(b, started["url"]) for started in (*fitting, hanging)]
    for connection in (*own, *elsewhere):
        connection.read_until("Hello")
    a.process.send_signal(sign)
    eventually(lambda: f"Handling signal: {sign.name.removeprefix('SIG').lower()}" in a.log)
    for gate in gates:
        gate.open()
    for started, near, far in zip(fitting, own, elsewhere, strict=False):
        events = events_in(near)
        assert of_kind(events, "done")["status"] == "completed"
        assert events_in(far) == events
        rest = b.events(started["url"], **{"Last-Event-ID": events[1][0]})
        assert rest == events[2:], "a client that comes back at the other worker gets the rest"
    events = events_in(own[-1])
    assert (of_kind(events, "failure")["code"], of_kind(events, "done")) == ("interrupted", INTERRUPTED)
    assert events_in(elsewhere[-1]) == events == b.events(hanging["url"])
    if sign == signal.SIGTERM:
        assert a.process.wait(PATIENCE_S) == 0
    for started in (*fitting, hanging):
        record = sharers.record(started["id"])
        assert record["status"] == sharers.row(started["id"])["status"]


@pytest.mark.parametrize("engine", PROGRAMS)
def test_several_workers_of_one_server_are_one(serve: Callable[..., Server], upstream: Upstream, engine: str) -> None:
    with StoreServer(engine) as store:
        server = serve(upstream, command=[*GUNICORN, "--workers", "2"], log_url=store.url(), retention_s=60)
        pids: set[int] = set()

        def have_both_answered() -> bool:
            pids.add(server.worker()["pid"])
            return len(pids) == 2

        eventually(have_both_answered, "both workers")
        gate = Gate()
        upstream.answer("Hello", gate, " world")
        started = server.post("/llm/streams", prompt="hi", key="k").json()
        readers = [reading(server, started["url"]) for _ in range(20)]
        for connection in readers:
            connection.read_until("Hello")
        gate.open()
        bodies = {str(events_in(connection)) for connection in readers}
        assert len(bodies) == 1
        for _ in range(20):
            assert text_of(server.events("/llm/chat?prompt=hi&key=k")) == "Hello world"
        assert len(upstream.requests) == 1
        assert server.stop() == 0
