"""Closes a connection whose database no longer answers although the connection is open."""

from __future__ import annotations

import os
import socket
import threading
from contextvars import ContextVar
from contextvars import Token
from typing import Any
from typing import Self


class Patience:
    """Shuts a connection down if the work on it takes too long.

    TCP notices a server that is gone. It does not notice a server that accepts data and answers nothing, or a firewall
    or a pooler that has forgotten the connection. libpq would wait for them forever.
    """

    def __init__(self, seconds: float) -> None:
        self.connection: Any = None
        """The driver's connection, once there is one."""
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
        except Exception:  # the connection has ended, or is still being made, which has its own timeout
            pass


_current: ContextVar[Patience | None] = ContextVar("llm_stream_patience", default=None)


def begin(patience: Patience) -> Token[Patience | None]:
    """Call this in the thread that does the work: its new connections are watched from their first query on."""
    return _current.set(patience)


def end(token: Token[Patience | None]) -> None:
    _current.reset(token)


def watch(connection: Any) -> None:
    """Let the current `Patience`, if there is one, watch this connection of the driver."""
    if patience := _current.get():
        patience.connection = connection
