"""Streams that must not be delayed: their model, which writes at an even pace, and their readers, in one process.

Each token contains its send time. For each line on its input, the process prints the greatest delay of a token, in
milliseconds, since the previous line.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time

PACE_S = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAME = b'data: {"model":"victim","choices":[{"index":0,"delta":{"role":"assistant","content":"@%.6f@"}}]}\n\n'
STAMP = re.compile(rb"@([0-9.]+)@")


class Victims:
    def __init__(self, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._count = count
        self._streams: list[socket.socket] = []
        self._readers: list[socket.socket] = []
        self._late_s = 0.0
        self._tokens = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._told)
        self._is_over = False

    def run(self) -> None:
        print(self._listener.getsockname()[1], flush=True)
        due, at = time.monotonic(), 0
        while not self._is_over:
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                key.data(key.fileobj)
            if time.monotonic() >= due:
                due += PACE_S / self._count
                at += 1
                if self._streams:
                    self._write(self._streams[at % len(self._streams)])

    def _told(self, _: object) -> None:
        line = sys.stdin.readline()
        self._is_over = not line
        if line.startswith("read "):
            for _ in range(self._count):
                self._ask(int(line.split()[1]))
        print(1000 * self._late_s, self._tokens, len(self._streams), flush=True)
        self._late_s, self._tokens = 0.0, 0

    def _ask(self, port: int) -> None:
        reader = socket.create_connection(("127.0.0.1", port))
        reader.sendall(b"GET /llm/chat?prompt=hi&model=victim HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
        self._readers.append(reader)
        self._selector.register(reader, selectors.EVENT_READ, self._read)

    def _read(self, reader: socket.socket) -> None:
        data = reader.recv(65536)
        now = time.monotonic()
        if not data:
            self._selector.unregister(reader)
            self._readers.remove(reader)
            reader.close()
        for stamp in STAMP.findall(data):
            self._late_s = max(self._late_s, now - float(stamp))
            self._tokens += 1

    def _accept(self, listener: socket.socket) -> None:
        stream, _ = listener.accept()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(stream, selectors.EVENT_READ, self._begin)

    def _begin(self, stream: socket.socket) -> None:
        """The request is short enough to arrive in one piece."""
        if not stream.recv(65536):
            self._selector.unregister(stream)
            if stream in self._streams:
                self._streams.remove(stream)
            stream.close()
            return
        stream.sendall(HEAD)
        self._streams.append(stream)

    def _write(self, stream: socket.socket) -> None:
        data = FRAME % time.monotonic()
        try:
            stream.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        except OSError:
            self._streams.remove(stream)


if __name__ == "__main__":
    Victims(int(sys.argv[1])).run()
