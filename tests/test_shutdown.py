"""Deploys, reloads and recycled workers: answers are finished, or settled and told so. Real gunicorn with gevent."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually

Serve = Callable[..., Server]

INTERRUPTED = '{"status":"interrupted"}'


def with_grace(seconds: int, *more: str) -> list[str]:
    return [*GUNICORN, "--graceful-timeout", str(seconds), *more]


def begun(server: Server, path: str = "/llm/chat?prompt=hi") -> Connection:
    reading = Connection.get(server.port, path)
    reading.read_until("Hello")
    return reading


def test_term_lets_an_answer_finish(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(20))
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    reading = begun(server)
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Handling signal: term" in server.log)
    gate.open()
    assert '{"status":"completed"' in reading.read_to_end()
    assert server.process.wait(PATIENCE_S) == 0
    assert [record["status"] for record in server.records()] == ["completed"]


def test_term_settles_what_it_cannot_finish(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(3))
    upstream.answer("Hello", Stall())
    upstream.answer("Hello", Stall())
    readers = [begun(server), begun(server)]
    server.process.send_signal(signal.SIGTERM)
    for reading in readers:
        text = reading.read_to_end()
        assert '"code":"interrupted"' in text
        assert '"retryable":true' in text
        assert INTERRUPTED in text
    assert server.process.wait(PATIENCE_S) == 0
    assert [(r["status"], r["source"]) for r in server.records()] == [("interrupted", "estimated")] * 2
    assert "the worker stops: 2 running answers may take" in server.log


def test_hup_finishes_the_old_workers_answers_and_settles_the_rest(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(4))
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    finishing = begun(server)
    upstream.answer("Hello", Stall())
    hanging = begun(server)
    old = server.worker()["pid"]
    server.process.send_signal(signal.SIGHUP)
    gate.open()
    assert '{"status":"completed"' in finishing.read_until('"finish_reason"')
    assert hanging.read_until(INTERRUPTED)
    eventually(lambda: server.worker()["pid"] != old)
    assert sorted(record["status"] for record in server.records()) == ["completed", "interrupted"]


def test_recycled_worker_finishes_its_answers(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(20, "--max-requests", "3"))
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    server.worker()
    reading = begun(server)
    eventually(lambda: "Autorestarting" in server.log)
    gate.open()
    reading.read_until('{"status":"completed"')
    assert [record["status"] for record in server.records()] == ["completed"]


def test_recycled_worker_settles_what_it_cannot_finish(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(4, "--max-requests", "3"))
    upstream.answer("Hello", Stall())
    old = server.worker()["pid"]
    reading = begun(server)
    eventually(lambda: server.worker()["pid"] != old)
    reading.read_until(INTERRUPTED)
    assert [record["status"] for record in server.records()] == ["interrupted"]


@pytest.mark.parametrize("sign", [signal.SIGQUIT, signal.SIGINT])
def test_quit_settles_at_once(upstream: Upstream, serve: Serve, sign: signal.Signals) -> None:
    server = serve(upstream)
    upstream.answer("Hello", Stall())
    begun(server)
    server.process.send_signal(sign)
    server.process.wait(PATIENCE_S)
    assert [record["status"] for record in server.records()] == ["interrupted"]


def test_stream_without_a_reader_is_finished_too(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(20), on_disconnect="finish")
    gate = Gate()
    upstream.answer("Hello", gate, Pause(1.5), " world")
    begun(server).close()
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Handling signal: term" in server.log)
    gate.open()
    assert server.process.wait(PATIENCE_S) == 0
    assert [record["status"] for record in server.records()] == ["completed"]


def test_post_that_is_held_gets_an_honest_status(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(2))
    upstream.answer(Stall(before_headers=True))
    body = '{"prompt": "hi"}'
    head = f"Content-Type: application/json\nContent-Length: {len(body)}"
    reading = Connection(server.port, f"POST /llm/chat HTTP/1.1\nHost: x\n{head}\n\n{body}")
    eventually(lambda: upstream.requests)
    server.process.send_signal(signal.SIGTERM)
    text = reading.read_to_end()
    assert text.startswith("HTTP/1.1 503 ")
    assert '"code":"interrupted"' in text


def test_threads_are_drained_too(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=with_grace(4, "--worker-class", "gthread", "--threads", "20"))
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    upstream.answer("Hello", Stall())
    readers = []
    for _ in range(2):
        readers.append(Connection.get(server.port, "/llm/chat?prompt=hi"))
        readers[-1].read_until("Hello")
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: "Handling signal: term" in server.log)
    gate.open()
    readers[0].read_until('{"status":"completed"')
    readers[1].read_until('{"status":"interrupted"')
    server.process.wait(PATIENCE_S)
    assert sorted(record["status"] for record in server.records()) == ["completed", "interrupted"]
