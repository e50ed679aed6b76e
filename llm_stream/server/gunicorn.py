"""What we know of gunicorn's gevent worker: the frame that iterates a response, and how it writes to the client."""

from __future__ import annotations

import sys
from collections.abc import Callable
from collections.abc import Iterator
from types import FrameType
from types import GeneratorType
from typing import Any

from . import flask
from .gevent import send_of
from .private import first_missing
from .private import missing

MODULE = "gunicorn.workers.base_async"
HANDLER = "AsyncWorker.handle_request"
LOCALS = ("respiter", "resp", "sock")
"""Of the handler: what it iterates, the response that it writes to, and the client's socket."""

RESPONSE = ("chunked", "headers_sent", "response_length", "sent")


class Writer:
    """Writes to a client's socket as gunicorn would, but from any greenlet, and never waits."""

    def __init__(self, response: Any, connection: Any, send: Callable[[bytes], int]) -> None:
        self._response = response
        self._connection = connection
        self._send = send
        self._chunked = response.chunked
        self._rest = b""

    def write(self, data: bytes) -> bool:
        """Whether the kernel has taken all of it; if not, the response's own greenlet must `flush()`.

        Raises `OSError` where the client has gone.
        """
        self._response.sent += len(data)  # for the access log
        if self._chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        self._rest = data[sent:]
        return not self._rest

    @property
    def has_rest(self) -> bool:
        return bool(self._rest)

    def flush(self) -> None:
        """Wait until the client has taken what is left. Raises `OSError`."""
        rest, self._rest = self._rest, b""
        self._connection.sendall(rest)


class Pieces:
    """The iterable of a response: an iterator of its pieces, and what is to be closed with it."""

    def __init__(self, pieces: GeneratorType[bytes, None, None], close: Callable[[], None]) -> None:
        self.pieces = pieces
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        self.pieces.close()
        self._close()  # a generator that was never begun has no `finally`


def writer_past(generator: FrameType) -> Writer | None:
    """A writer to the client that `generator`, the frame of a running response, is written to.

    None, unless gunicorn's gevent worker iterates exactly our generator, through Flask's usual wrapper and nothing
    else: middleware that compresses, counts or rewrites must see every byte. So each link is compared with the next by
    identity, not by name.
    """
    wrapper = flask.wrapper_around(generator)
    server = wrapper.f_back if wrapper else None
    if wrapper is None or server is None or not _is_handler(server):
        return None
    iterated, response, connection = (server.f_locals.get(name) for name in LOCALS)
    if not isinstance(iterated, Pieces) or iterated.pieces.gi_frame is not wrapper:
        return None
    send = send_of(connection)
    if send is None or response is None or not _is_known(response):
        return None
    return Writer(response, connection, send) if response.headers_sent and response.response_length is None else None


def caller() -> FrameType:
    """The frame of the function that calls this one."""
    return sys._getframe(1)


def _is_handler(frame: FrameType) -> bool:
    if frame.f_globals.get("__name__") != MODULE:
        return False
    lacking = next((name for name in LOCALS if name not in frame.f_code.co_varnames), None)
    if frame.f_code.co_qualname != HANDLER or lacking:
        missing("gunicorn", lacking or HANDLER, "tokens take the portable way, which costs more CPU")
        return False
    return True


def _is_known(response: Any) -> bool:
    lacking = first_missing(response, RESPONSE)
    if lacking is not None:
        missing("gunicorn", f"Response.{lacking}", "tokens take the portable way, which costs more CPU")
    return lacking is None
