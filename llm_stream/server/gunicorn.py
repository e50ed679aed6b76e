"""Writes to a client's socket past gunicorn's gevent worker, found by the frame that iterates the response."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from collections.abc import Iterator
from types import FrameType
from types import GeneratorType
from typing import Any

from . import flask
from .gevent import send_of
from .private import SLOW_TOKENS
from .private import has_names
from .private import warn_missing

logger = logging.getLogger("llm_stream")

MODULE = "gunicorn.workers.base_async"
HANDLER = "AsyncWorker.handle_request"
LOCALS = ("respiter", "resp", "sock")
"""The handler's local variables: the iterated response, the response object, the client's socket."""

_said: set[str] = set()

RESPONSE = ("chunked", "headers_sent", "response_length", "sent")


class Writer:
    """Writes to a client's socket as gunicorn does, but from any greenlet and without blocking."""

    def __init__(self, response: Any, connection: Any, send: Callable[[bytes], int]) -> None:
        self._response = response
        self._connection = connection
        self._send = send
        self._chunked = response.chunked
        self._rest = b""

    def write(self, data: bytes) -> bool:
        """Whether the kernel took all of `data`. If not, the response's own greenlet must `flush()`.

        Raises `OSError` if the client has disconnected.
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
        """Block until the rest is written. Raises `OSError`."""
        rest, self._rest = self._rest, b""
        self._connection.sendall(rest)


class Pieces:
    """The iterable of a response: a generator of pieces, and a function to call when the response is closed."""

    def __init__(self, pieces: GeneratorType[bytes, None, None], close: Callable[[], None]) -> None:
        self.pieces = pieces
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        self.pieces.close()
        self._close()  # a generator that was never started does not run its `finally`


def writer_past(generator: FrameType) -> Writer | None:
    """A writer to the client of a running response, given the frame of the response's generator.

    None, unless gunicorn's gevent worker iterates our generator through Flask's usual wrapper and nothing else.
    Middleware that compresses, counts or rewrites must see every byte. So each link of the chain is compared by
    identity, not by name.
    """
    wrapper = flask.wrapper_around(generator)
    server = _handler_above(wrapper) if wrapper else None
    if wrapper is None or server is None:
        return None
    iterated, response, connection = (server.f_locals.get(name) for name in LOCALS)
    if between := in_between(wrapper, server, iterated):
        _say_once(between)
        return None
    send = send_of(connection)
    if send is None or response is None or not has_names(response, RESPONSE, "gunicorn", "Response", SLOW_TOKENS):
        return None
    return Writer(response, connection, send) if response.headers_sent and response.response_length is None else None


def in_between(wrapper: FrameType, server: FrameType, iterated: object) -> str | None:
    """The name of the middleware between Flask's wrapper and the server's frame, which iterates `iterated`; or None.

    Middleware written in C has no frame, so it is named by its type.
    """
    outer = wrapper.f_back
    if outer is not None and outer is not server:
        return f"{outer.f_globals.get('__name__')}.{outer.f_code.co_qualname}"
    if isinstance(iterated, Pieces) and iterated.pieces.gi_frame is wrapper:
        return None
    return f"{type(iterated).__module__}.{type(iterated).__qualname__}"


def caller() -> FrameType:
    """The frame of the function that calls this one."""
    return sys._getframe(1)


def _handler_above(frame: FrameType) -> FrameType | None:
    """The frame of gunicorn's gevent worker that serves this request; no other server has one."""
    above = frame.f_back
    while above is not None and above.f_globals.get("__name__") != MODULE:
        above = above.f_back
    return above if above is not None and _is_handler(above) else None


def _say_once(between: str) -> None:
    if between not in _said:
        _said.add(between)
        logger.info("%s wraps our event streams inside gunicorn, so %s", between, SLOW_TOKENS)


def _is_handler(frame: FrameType) -> bool:
    name = next((name for name in LOCALS if name not in frame.f_code.co_varnames), None)
    if frame.f_code.co_qualname != HANDLER or name:
        warn_missing("gunicorn", name or HANDLER, SLOW_TOKENS)
        return False
    return True
