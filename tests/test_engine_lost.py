"""An engine that was away, lost its latest entries or came back empty: readers at other workers get one history."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.engine import Engine
from llm_stream.core.log.memory import LOST
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
    settings = {"log_url": engine.url, "ledger_url": f"sqlite:///{tmp_path / 'usage.db'}", "retention_s": 2}
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


def test_worker_that_wakes_after_its_stream_was_ended_and_forgotten_gets_the_same_end(
    pair: tuple[Server, Server], engine: Engine, upstream: Upstream
) -> None:
    one, _ = pair
    pid, gate = one.worker()["pid"], Gate()
    upstream.answer("a", gate, "b")
    here = Connection.get(one.port, "/llm/chat?prompt=hi")
    stream_id = read_id(here.read_until('"a"'))
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: settled(pair, stream_id))
    eventually(lambda: is_forgotten(engine, stream_id))
    os.kill(pid, signal.SIGCONT)
    gate.open()
    body = here.read_until("event: done")
    assert f"id: {stream_id}-{LOST}\nevent: failure\n" in body
    assert not is_kept(engine, stream_id)
    (line,) = settled(pair, stream_id)
    assert line.partition("error_id=")[2] in body


def test_reader_of_a_worker_that_has_missed_the_end_is_told_that_there_is_no_more(
    pair: tuple[Server, Server], engine: Engine, upstream: Upstream
) -> None:
    one, other = pair
    pid, gate = other.worker()["pid"], Gate()
    upstream.answer("a", gate, "b")
    here = Connection.get(one.port, "/llm/chat?prompt=hi")
    stream_id = read_id(here.read_until('"a"'))
    there = Connection.get(other.port, f"/llm/streams/{stream_id}")
    there.read_until('"a"')
    os.kill(pid, signal.SIGSTOP)
    engine.kill()  # the worker waits for messages, and the first that comes would reach it
    engine.start()
    gate.open()
    here.read_until("event: done")
    eventually(lambda: is_forgotten(engine, stream_id))
    with engine.client() as client:
        client.delete(*client.keys("*:inbox:*"))  # which is kept for half a minute
    os.kill(pid, signal.SIGCONT)
    assert "event: done" not in there.read_to_end()
    assert other.get(f"/llm/streams/{stream_id}").status_code == 410


def test_hooks_hear_once_of_a_stream_whose_worker_wakes_while_the_engine_is_away(
    pair: tuple[Server, Server], engine: Engine, upstream: Upstream
) -> None:
    one, _ = pair
    pid, gate = one.worker()["pid"], Gate()
    upstream.answer("a", gate, "b")
    here = Connection.get(one.port, "/llm/chat?prompt=hi")
    stream_id = read_id(here.read_until('"a"'))
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: settled(pair, stream_id))
    engine.kill()
    os.kill(pid, signal.SIGCONT)
    gate.open()
    here.read_until("event: done")
    eventually(lambda: f"{stream_id} was settled by another worker" in one.log)
    assert len(settled(pair, stream_id)) == 1


def test_end_of_a_lost_stream_has_the_same_contents_when_it_is_written_again(
    pair: tuple[Server, Server], engine: Engine, upstream: Upstream
) -> None:
    one, other = pair
    upstream.answer("a", Gate())
    here = Connection.get(one.port, "/llm/chat?prompt=hi")
    stream_id = read_id(here.read_until('"a"'))
    eventually(lambda: b'"a"' in kept_in(engine))
    engine.keep_copy()
    os.kill(one.worker()["pid"], signal.SIGKILL)
    first = Connection.get(other.port, f"/llm/streams/{stream_id}").read_until("event: done")
    engine.kill()
    engine.fall_back()
    engine.start()
    (failure, *_) = eventually(lambda: [event for event in events_at(other, stream_id) if event[1] == "failure"])
    assert failure[0] == f"{stream_id}-{LOST}"
    assert failure[2]["error_id"] in first


def settled(servers: tuple[Server, Server], stream_id: str) -> list[str]:
    """The lines that the default hook logs."""
    lines = "".join(server.log for server in servers).splitlines()
    return [line for line in lines if f"stream={stream_id} status=" in line]


def is_forgotten(engine: Engine, stream_id: str) -> bool:
    """It has ended, and its events are gone."""
    with engine.client() as client:
        return bool(client.keys(f"*:ended:*{stream_id}*")) and not client.keys(f"*:log:*{stream_id}*")


def is_kept(engine: Engine, stream_id: str) -> bool:
    with engine.client() as client:
        return bool(client.keys(f"*:log:*{stream_id}*"))


def read_id(body: str) -> str:
    return body.partition("\nid: ")[2].partition("-")[0]


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
