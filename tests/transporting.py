"""Any bytes from an upstream's socket, in any pieces, and any end of the connection: what must hold for a call."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from openai import OpenAI

from llm_stream.chat_request import ChatRequest
from llm_stream.upstream.call import Call
from llm_stream.upstream.chat import ChatCompletions
from llm_stream.upstream.endpoint import Endpoint
from llm_stream.upstream.source import Attempt
from llm_stream.upstream.transport import LeanTransport

from .decoding import Outcome
from .decoding import divided
from .decoding import drained

REQUEST = ChatRequest(messages=[{"role": "user", "content": "hi"}], model="m", max_output_tokens=10)
ENDS = {1: "reset", 2: "stall"}
"""By the first byte of the input; the others close."""
STALL_S = 0.5
MOST_SENDS = 20


class Sender:
    """Accepts one connection at a time, reads its request, and sends what it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.pieces: list[bytes] = []
        self.end = "close"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    pass  # the client has closed it

    def _answer(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
            more = connection.recv(65536)
            if not more:
                return
            data += more
        for piece in self.pieces:
            connection.sendall(piece)
        if self.end == "stall":
            connection.recv(1)  # until the client gives up
        elif self.end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self._listener.close()


def _length(request: bytes) -> int:
    head = request.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length:")[2].split(b"\r\n")[0])


@contextmanager
def sending() -> Iterator[Sender]:
    sender = Sender()
    try:
        yield sender
    finally:
        sender.close()


_sender: Sender | None = None


def check(data: bytes) -> None:
    """Any bytes: the first two choose the end of the connection and the split. Raises `AssertionError`."""
    global _sender
    if len(data) < 2:
        return
    _sender = _sender or Sender()
    end, answer = ENDS.get(data[0] % 16, "close"), data[2:]
    whole = outcome(_sender, [answer], end)
    apart = outcome(_sender, divided(answer, data[1])[:MOST_SENDS] if end == "reset" else pieces(answer, data[1]), end)
    if end != "reset":  # a reset may overtake what was sent
        assert apart == whole, f"the split makes a difference:\n{whole}\n{apart}"


def pieces(answer: bytes, seed: int) -> list[bytes]:
    first = divided(answer, seed)[: MOST_SENDS - 1]
    return [*first, answer[sum(map(len, first)) :]]


def outcome(sender: Sender, sent: list[bytes], end: str) -> Outcome:
    """What comes of a call that is sent these pieces."""
    sender.pieces, sender.end = [piece for piece in sent if piece], end
    transport = LeanTransport()
    timeout = httpx2.Timeout(STALL_S if end == "stall" else 10)
    with OpenAI(
        base_url=sender.url,
        api_key="none",
        max_retries=0,
        http_client=httpx2.Client(transport=transport, timeout=timeout),
    ) as client:
        attempt = Attempt("m")
        came = drained(Call(Endpoint(client, ChatCompletions(client), transport), REQUEST, attempt))
    assert attempt.request_id is None or attempt.request_id.encode() is not None
    return came
