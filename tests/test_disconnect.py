"""Readers that leave, that come back, and that do not read. Real gunicorn with gevent."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from time import sleep
from typing import Any

import pytest

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import dechunked
from .conftest import eventually

Serve = Callable[..., Server]


def ending(server: Server) -> str:
    records: list[dict[str, Any]] = eventually(server.records, "a record")
    (record,) = records
    status: str = record["status"]
    return status


def test_reader_that_comes_back_within_the_grace_keeps_the_stream_alive(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, disconnect_grace_s=2)
    gate = Gate()
    upstream.answer("Hello", gate)
    path = "/llm/chat?prompt=hi&key=k"
    for _ in range(4):  # each pause is within the grace, all of them together are not
        reading = Connection.get(server.port, path)
        reading.read_until("Hello")
        reading.close()
        upstream.request(0).left.wait(0.6)
    reading = Connection.get(server.port, path)
    gate.open()
    reading.read_until("event: done")
    assert ending(server) == "completed"


def test_going_is_noticed_though_something_was_left_unread(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, disconnect_grace_s=0.2)
    upstream.answer("Hello", Stall())
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    reading.socket.sendall(b"\r\n")
    reading.close()
    assert ending(server) == "abandoned"


def test_finish_policy_lets_the_stream_run_on_without_a_reader(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, on_disconnect="finish", disconnect_grace_s=0.2, finish_s=10)
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    text = reading.read_until("Hel")
    reading.close()
    assert not upstream.request(0).left.wait(1.0)
    gate.open()
    assert ending(server) == "completed"
    eventually(server.at_rest)  # the record comes before the last event
    stream_id = text.partition('"id":"')[2].partition('"')[0]
    answer = server.get(f"/llm/streams/{stream_id}", Accept="application/json").json()
    assert (answer["status"], answer["text"]) == ("completed", "Hello")


def test_finish_policy_is_bounded(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, on_disconnect="finish", finish_s=0.5)
    upstream.answer("Hello", Stall())
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    reading.close()
    assert ending(server) == "abandoned"
    eventually(server.at_rest)


def test_started_stream_that_nobody_ever_reads_is_abandoned(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, disconnect_grace_s=0.3)
    upstream.answer("Hello", Stall())
    server.post("/llm/streams", prompt="hi")
    assert ending(server) == "abandoned"


def test_snapshots_count_as_reading(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, disconnect_grace_s=2)
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    url = server.post("/llm/streams", prompt="hi").json()["url"]
    for _ in range(5):  # each pause is within the grace, all of them together are not
        assert server.get(url, Accept="application/json").json()["status"] == "running"
        assert not upstream.request(0).left.wait(0.6)
    gate.open()
    assert ending(server) == "completed"


def test_heartbeats_begin_before_the_first_token(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, heartbeat_s=0.2)
    gate, second = Gate(), Gate()
    upstream.answer(gate, "Hello", second)
    reading = Connection.get(server.port, "/llm/chat?prompt=hi", "Connection: close")
    reading.read_until(": ping\n\n")
    assert "Hello" not in reading.received.decode()
    gate.open()
    reading.read_until("Hello")
    reading.read_until('Hello"}\n\n')
    reading.received = b""
    reading.read_until(": ping\n\n")
    second.open()
    reading.read_to_end()


def test_reader_that_does_not_read_is_given_up(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, send_timeout_s=1, disconnect_grace_s=0.2, max_stream_bytes=100_000_000)
    upstream.answer(*["x" * 50_000 for _ in range(300)], Stall())
    reading = Connection.get(server.port, "/llm/chat?prompt=hi", read_buffer=4096)
    assert ending(server) == "abandoned"
    eventually(server.at_rest)
    assert "Traceback" not in server.log
    reading.close()


def test_reader_that_takes_longer_than_the_timeout_gets_everything(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, send_timeout_s=1)
    upstream.answer(*["x" * 2_000 for _ in range(300)])
    stream_id = server.events()[0][2]["id"]
    head = f"GET /llm/streams/{stream_id} HTTP/1.1\nHost: x\nConnection: close\n\n"
    reading = Connection(server.port, head, read_buffer=4096, segment=1400)  # loopback's own would buffer megabytes
    started = monotonic()
    while monotonic() < started + 3:  # all of it is one write, because the answer is there
        reading.received += reading.socket.recv(16_384)
        sleep(0.1)
    assert "event: done" not in reading.received.decode()
    assert dechunked(reading.read_to_end()).count("x" * 2_000) == 300
    assert '"status":"completed"' in reading.received.decode()


def test_going_of_a_reader_that_waits_for_json_is_noticed(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, disconnect_grace_s=0.2)
    upstream.answer("Hello", Stall())
    body = '{"prompt": "hi"}'
    head = f"Content-Type: application/json\nAccept: application/json\nContent-Length: {len(body)}"
    reading = Connection(server.port, f"POST /llm/chat HTTP/1.1\nHost: x\n{head}\n\n{body}")
    eventually(lambda: upstream.requests)
    reading.close()
    assert ending(server) == "abandoned"
    assert "Traceback" not in server.log


def test_upstream_connection_is_used_again(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream)
    for _ in range(20):
        upstream.answer("Hello")
        server.events()
    assert len(upstream.requests) == 20
    assert upstream.connections == 1


def test_log_is_bounded(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, max_stream_bytes=10_000)
    upstream.answer(*[step for _ in range(100) for step in ("x" * 1000, Pause(0.01))])
    events = server.events()
    assert events[-3][1:] == ("failure", events[-3][2])
    assert events[-3][2]["code"] == "stream_too_large"
    assert ending(server) == "failed"


def test_slots_are_freed_on_every_exit(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, max_streams_per_owner=2, max_streams=2, disconnect_grace_s=0)
    for _ in range(3):
        gates = [Gate(), Gate()]
        readers = []
        for gate in gates:
            upstream.answer("Hello", gate)
            readers.append(Connection.get(server.port, "/llm/chat?prompt=hi"))
            readers[-1].read_until("Hello")
        refused = server.get("/llm/chat?prompt=hi")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        readers[0].close()
        gates[1].open()
        eventually(server.at_rest)
        gates[0].open()


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/llm/v1/chat/completions", {"model": "openai/gpt-4o-mini", "stream": True}),
        ("/llm/ui/chat", {"id": "chat"}),
    ],
)
def test_response_ends_where_its_wire_does_though_the_stream_goes_on(
    upstream: Upstream, serve: Serve, path: str, body: dict[str, Any], fast_path: bool
) -> None:
    server = serve(upstream, fast_path=fast_path, retry_after_content=True, disconnect_grace_s=0.3)
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}], "content": "hi"}
    messages = [{name: message[name] for name in (("id", "role", "parts") if "ui" in path else ("role", "content"))}]
    upstream.answer("Hel", Pause(0.05), "lo", Pause(0.05), Cut())
    upstream.answer(Stall())
    assert server.post(path, **body, messages=messages).text.endswith("data: [DONE]\n\n")
    assert upstream.request(1).left.wait(SOON_S), "the attempt that nobody reads goes on"
    eventually(server.at_rest, "rest")
