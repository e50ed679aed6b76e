"""An engine that was away, lost its latest entries or came back empty: readers at other workers get one history."""

from __future__ import annotations

import signal
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.engine import Engine
from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import missing
from .conftest import text_of

Serve = Callable[..., Server]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    try:
        engine = Engine(tmp_path)
    except SystemExit as error:
        missing(str(error))
    engine.start()
    yield engine
    engine.stop(signal.SIGKILL)


@pytest.fixture
def pair(serve: Serve, upstream: Upstream, engine: Engine, tmp_path: Path) -> tuple[Server, Server]:
    settings = {"log_url": engine.url, "ledger_url": f"sqlite:///{tmp_path / 'usage.db'}"}
    return serve(upstream, **settings), serve(upstream, **settings)


def test_reader_that_has_more_than_the_other_worker_gets_nothing_twice(
    pair: tuple[Server, Server], engine: Engine, upstream: Upstream
) -> None:
    one, other = pair
    gates = Gate(), Gate()
    upstream.answer("a", gates[0], "b", gates[1], "c")
    here = Connection.get(one.port, "/llm/chat?prompt=hi")
    stream_id = read_id(here.read_until('"a"'))
    Connection.get(other.port, f"/llm/streams/{stream_id}").read_until('"a"')
    assert snapshot(other, stream_id)["text"] == "a"  # the workers talk to each other about this stream
    engine.send(signal.SIGSTOP)  # what the one worker writes does not reach the other any more
    gates[0].open()
    here.read_until('"b"')
    there = Connection.get(other.port, f"/llm/streams/{stream_id}", f"Last-Event-ID: {stream_id}-3")
    there.read_until("retry:")
    engine.send(signal.SIGCONT)
    gates[1].open()
    body = there.read_until("event: done")
    assert '"c"' in body
    assert '"b"' not in body


def test_end_that_the_engine_has_lost_is_written_to_it_again(
    pair: tuple[Server, Server], engine: Engine, upstream: Upstream
) -> None:
    one, other = pair
    gate = Gate()
    upstream.answer("a", gate, "b")
    here = Connection.get(one.port, "/llm/chat?prompt=hi")
    stream_id = read_id(here.read_until('"a"'))
    eventually(lambda: b'"a"' in kept_in(engine))
    engine.keep_copy()
    gate.open()
    here.read_until("event: done")
    eventually(lambda: b"completed" in kept_in(engine))
    engine.kill()
    engine.fall_back()
    engine.start()
    events = eventually(lambda: events_at(other, stream_id))
    assert text_of(events) == "ab"
    assert events[-1][2]["status"] == "completed"


def test_finished_answer_is_not_bought_again_after_the_engine_was_emptied(
    pair: tuple[Server, Server], engine: Engine, upstream: Upstream
) -> None:
    one, other = pair
    upstream.answer("a")
    (start, *_) = one.events("/llm/chat?prompt=hi&key=k")
    engine.flush()
    eventually(lambda: events_at(other, start[2]["id"]))
    assert text_of(other.events("/llm/chat?prompt=hi&key=k")) == "a"
    assert len(upstream.requests) == 1


def read_id(body: str) -> str:
    return body.partition("id: ")[2].partition("-")[0]


def kept_in(engine: Engine) -> bytes:
    """All entries of the only stream."""
    with engine.client() as client:
        (log,) = client.scan_iter(match="*:log:*")
        return b"".join(value for _, fields in client.xrange(log) for value in fields.values())


def snapshot(server: Server, stream_id: str) -> dict[str, str]:
    answer: dict[str, str] = server.get(f"/llm/streams/{stream_id}", Accept="application/json").json()
    return answer


def events_at(server: Server, stream_id: str) -> list[tuple[str, str, dict[str, str]]]:
    """None while the engine is away, or has not got the stream back."""
    response = server.get(f"/llm/streams/{stream_id}")
    return read_events(response.content) if response.status_code == 200 else []
