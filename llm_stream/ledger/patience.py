"""Gives up a connection to a database that does not answer any more, although the connection is open."""

from __future__ import annotations

import os
import socket
import threading
from contextvars import ContextVar
from contextvars import Token
from typing import Any
from typing import Self


class Patience:
    """Shuts the connection of the work down that is done with it, unless that ends in time.

    TCP notices a server that is gone, but not one that takes everything and answers nothing, nor a firewall or a pooler
    on the way that has forgotten the connection. libpq waits for those for ever.
    """

    def __init__(self, seconds: float) -> None:
        self.connection: Any = None
        """The driver's, once there is one."""
        self._timer = threading.Timer(seconds, self._give_up)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _give_up(self) -> None:
        try:
            with socket.socket(fileno=os.dup(self.connection.fileno())) as connection:
                connection.shutdown(socket.SHUT_RDWR)
        except Exception:  # it has ended meanwhile, or is not made yet, which has a limit of its own
            pass


_current: ContextVar[Patience | None] = ContextVar("llm_stream_patience", default=None)


def begin(patience: Patience) -> Token[Patience | None]:
    """In the thread that does the work: connections that it opens are watched from their first question on."""
    return _current.set(patience)


def end(token: Token[Patience | None]) -> None:
    _current.reset(token)


def watch(connection: Any) -> None:
    """`connection` is the driver's."""
    if patience := _current.get():
        patience.connection = connection
