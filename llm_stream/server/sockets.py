"""Looking at a socket, and shutting it down, from a thread that is not the one blocked on it.

Both go to the descriptor itself: the methods of gevent's sockets would wait for data where we only want to look.
"""

from __future__ import annotations

import _socket
import socket
from typing import Any

ESTABLISHED = 1  # of the states in linux/tcp_states.h


def peek(connection: Any) -> bytes | None:
    """What a socket has to say, without taking it: None if nothing yet, and nothing if it has ended."""
    plain = _plain(connection)
    if plain is None:
        return b""
    try:
        return plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    finally:
        plain.detach()


def has_ended(connection: Any) -> bool:
    """Whether the other side has closed a TCP connection, even if it left something unread before."""
    plain = _plain(connection)
    if plain is None:
        return True
    try:
        return plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED
    except (AttributeError, OSError):  # not Linux, or not TCP
        return peek(connection) == b""
    finally:
        plain.detach()


def shut_down(connection: Any) -> None:
    """End a socket in both directions, which wakes whoever is blocked on it; closing it is left to them."""
    plain = _plain(connection)
    if plain is None:
        return
    try:
        plain.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
    finally:
        plain.detach()


def _plain(connection: Any) -> _socket.socket | None:
    """A second object for the same descriptor, to be detached; None for a socket that is closed."""
    descriptor = connection.fileno()
    if descriptor < 0:
        return None
    return _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, descriptor)  # the family is of no account here
