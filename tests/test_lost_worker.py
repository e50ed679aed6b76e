"""Workers that die or freeze while others share their log. Real gunicorn with gevent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Event
from .conftest import Server
from .conftest import eventually
from .conftest import of_kind
from .conftest import text_of
from .databases import SQLite
from .sharers import Sharers
from .sharers import events_in
from .sharers import kill_worker
from .sharers import reading
from .stores import StoreServer

NOTICED_S = 10.0
"""How long it may take until a lost worker's readers are told."""

INTERRUPTED = {"status": "interrupted"}


@pytest.fixture(scope="module")
def store() -> Iterator[StoreServer]:
    with StoreServer() as store:
        yield store


@pytest.fixture
def sharers(serve: Callable[..., Server], upstream: Upstream, store: StoreServer, tmp_path: Path) -> Sharers:
    return Sharers(serve, upstream, store.url(), SQLite(tmp_path))


def assert_end_of_lost(events: list[Event]) -> None:
    """Numbers rise by one, but for the end, which leaves numbers out."""
    numbers = [int(event_id.rpartition("-")[2]) for event_id, _, _ in events]
    assert numbers[-3:] == [900_000_000, 900_000_001, 900_000_002]
    assert numbers[:-3] == list(range(numbers[0], numbers[0] + len(numbers) - 3)) or len(numbers) == 3
    assert [kind for _, kind, _ in events[-3:]] == ["failure", "usage", "done"]
    failure = of_kind(events, "failure")
    assert (failure["code"], failure["retryable"]) == ("worker_lost", True)
    assert of_kind(events, "usage")["source"] == "estimated"
    assert of_kind(events, "done") == INTERRUPTED


def test_killed_workers_streams_get_one_end_everywhere(upstream: Upstream, sharers: Sharers) -> None:
    a = sharers.start(max_streams_per_owner=2)
    b = sharers.start(max_streams_per_owner=2)
    upstream.answer("Hello", Stall())
    upstream.answer(Stall(before_headers=True))
    started = a.post("/llm/streams", prompt="hi", key="k").json()
    unanswered = a.post("/llm/streams", prompt="hi").json()
    path, stream_id = started["url"], started["id"]
    attached = reading(b, path)
    attached.read_until("Hello")
    waiting = reading(b, unanswered["url"])
    waiting.read_until("event: start")
    together = reading(b, f"/llm/streams?after={stream_id}-0")
    together.read_until("Hello")
    upstream.request(1)
    assert b.post("/llm/streams").status_code == 429

    kill_worker(a)
    attached.socket.settimeout(NOTICED_S)
    events = events_in(attached)
    assert text_of(events) == "Hello"
    assert_end_of_lost(events)
    assert events_in(together) == events
    unread = events_in(waiting)
    assert_end_of_lost(unread)

    for server in (a, b):  # the one that was killed runs again
        assert server.events(path) == events
        assert server.events("/llm/chat?prompt=hi&key=k") == events
        ahead = server.events("/llm/chat?prompt=hi", **{"Last-Event-ID": f"{stream_id}-40"})
        assert ahead == events[-3:], "events that the store never got leave no gap in which the end is lost"
        assert server.events(f"{path}?after=40") == events[-3:]
        assert server.get(f"{path}?after=900000002").status_code == 204
        assert server.get(path, Accept="application/json").json()["status"] == "interrupted"
    assert len(upstream.requests) == 2, "a key that was bought is not bought again"

    for lost, tokens in ((started, 1), (unanswered, 0)):
        settled = sharers.row(lost["id"])
        assert (settled["status"], settled["error_code"]) == ("interrupted", "worker_lost")
        assert (settled["source"], settled["output_tokens"]) == ("estimated", tokens)
        assert settled["input_tokens"] > 0
        record = sharers.record(lost["id"])
        assert (record["status"], record["error_id"]) == ("interrupted", settled["error_id"])
    upstream.answer("free again")
    assert text_of(b.events()) == "free again"


def test_frozen_worker_is_fenced_when_it_wakes(upstream: Upstream, sharers: Sharers) -> None:
    a, b = sharers.start(), sharers.start()
    gates = [Gate(), Gate()]
    upstream.answer("Hello", gates[0], " that nobody else has", Stall())
    upstream.answer("Hello", gates[1], " and it is whole")
    paths = []
    for gate in gates:
        paths.append(a.post("/llm/streams", prompt="hi").json()["url"])
        assert gate.reached.wait(PATIENCE_S)
    own, elsewhere = ([reading(server, path) for path in paths] for server in (a, b))
    for connection in (*own, *elsewhere):
        connection.read_until("Hello")
    frozen = a.worker()["pid"]
    os.kill(frozen, signal.SIGSTOP)
    try:
        for gate in gates:
            gate.open()  # the provider goes on; the worker finds it when it wakes
        ends = [events_in(connection) for connection in elsewhere]
        rows = [sharers.row(path.rpartition("/")[2]) for path in paths]
    finally:
        os.kill(frozen, signal.SIGCONT)
    for events, path, near, row in zip(ends, paths, own, rows, strict=True):
        assert_end_of_lost(events)
        assert events_in(near)[-3:] == events[-3:], "the same end, with the same error_id"
        assert b.events(path) == events
        at_a = a.events(path)
        assert at_a[: len(events) - 3] + at_a[-3:] == events, "no number has two contents"
        eventually(a.at_rest)
        assert sharers.row(row["id"]) == row
        assert sharers.record(row["id"])["error_id"] == row["error_id"]
    assert upstream.request(0).left.wait(SOON_S)
    assert a.worker()["pid"] == frozen
    upstream.answer("awake")
    assert text_of(a.events()) == "awake"


def test_streams_end_though_no_worker_of_that_time_is_left(upstream: Upstream, sharers: Sharers) -> None:
    servers = [sharers.start(), sharers.start()]
    upstream.answer("Hello", Stall())
    started = servers[0].post("/llm/streams", prompt="hi").json()
    reading(servers[1], started["url"]).read_until("Hello")
    for server in servers:
        kill_worker(server)
    again = events_in(reading(servers[1], started["url"]))
    assert text_of(again) == "Hello"
    assert_end_of_lost(again)
    assert sharers.row(started["id"])["source"] == "estimated"
    record = sharers.record(started["id"])
    assert record["status"] == "interrupted"
