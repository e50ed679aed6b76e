"""Many readers of one worker."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable
from time import monotonic

import pytest

from llm_stream.testing import Upstream

from .conftest import Connection
from .conftest import Server
from .conftest import eventually

pytestmark = pytest.mark.load

STREAMS = 1000
TOKENS = 50
TOKENS_PER_S = 5
SLOW = 100
PACED_UPSTREAM = ["llm_stream.testing", "--tokens", str(TOKENS), "--pause", str(1 / TOKENS_PER_S)]
TOKEN = re.compile(rb'data: \{"text":"t(\d+) "\}\n')


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_thousand_paced_streams_in_one_gevent_worker_are_complete_and_correct(
    serve: Callable[..., Server], record_property: Callable[[str, object], None]
) -> None:
    upstream = subprocess.Popen(
        [sys.executable, "-m", "gevent.monkey", "--module", *PACED_UPSTREAM],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert upstream.stdout is not None
    try:
        server = serve(
            None,
            OPENAI_BASE_URL=upstream.stdout.readline().strip(),
            max_streams_per_owner=STREAMS,
            max_streams=STREAMS,
        )
        worker = server.worker()["pid"]
        before = resident_kib(worker)
        streams, peak = read_all(server, worker)
    finally:
        upstream.kill()
        upstream.wait()
        upstream.stdout.close()
    for body in streams:
        assert [int(number) for number in TOKEN.findall(body)] == list(range(TOKENS))
        ids = re.findall(rb"^id: [0-9a-f]+-(\d+)$", body, re.MULTILINE)
        assert [int(number) for number in ids] == list(range(1, TOKENS + 4))
        assert b'"status":"completed"' in body
        assert b'"output_tokens":%d' % TOKENS in body
    eventually(server.at_rest)
    assert [record["source"] for record in server.records()] == ["provider"] * STREAMS
    record_property("KiB per open stream", round((peak - before) / STREAMS, 1))
    print(f"\n{(peak - before) / STREAMS:.1f} KiB per open stream, logs included")


def test_readers_that_are_far_behind_hold_little_of_what_they_have_missed(
    upstream: Upstream, serve: Callable[..., Server]
) -> None:
    server = serve(upstream, max_stream_bytes=10_000_000)
    upstream.answer(*["word "] * 10_000)
    stream_id = server.events()[0][2]["id"]
    worker = server.worker()["pid"]
    before = resident_kib(worker)
    answer = 10_000 * 80 / 1024
    for _ in range(SLOW):  # each of them takes the beginning, and nothing more
        slow = Connection.get(server.port, f"/llm/streams/{stream_id}", read_buffer=4096, segment=1400)
        slow.read_until("word")
    assert server.worker()["pid"] == worker
    assert resident_kib(worker) - before < SLOW * answer / 2


def read_all(server: Server, worker: int) -> tuple[list[bytes], int]:
    """What each of the readers got, and the worker's memory at its highest."""
    selector = selectors.DefaultSelector()
    bodies: list[bytearray] = []
    request = f"GET /llm/chat?prompt=hi HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n"
    peak, until = 0, monotonic() + 120
    started = 0
    while started < STREAMS or selector.get_map():
        assert monotonic() < until, f"{len(selector.get_map())} streams are still open"
        for _ in range(min(10, STREAMS - started)):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(request.encode())
            bodies.append(body := bytearray())
            selector.register(connection, selectors.EVENT_READ, body)
            started += 1
        for key, _ in selector.select(timeout=0.05):
            assert isinstance(key.fileobj, socket.socket)
            if data := key.fileobj.recv(65536):
                key.data.extend(data)
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()
        if started == STREAMS:
            peak = max(peak, resident_kib(worker))
    selector.close()
    return [dechunked(bytes(body)) for body in bodies], peak


def dechunked(response: bytes) -> bytes:
    rest = response.partition(b"\r\n\r\n")[2]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body
