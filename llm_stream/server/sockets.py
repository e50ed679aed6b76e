"""Polls a socket, or shuts it down, while another thread is blocked on it.

Everything works on the file descriptor, because the methods of gevent's sockets would wait for data.
"""

from __future__ import annotations

import _socket
import socket
import sys
from typing import Any

ESTABLISHED = 1  # TCP_ESTABLISHED in linux/tcp_states.h
BYTES_ACKED = slice(120, 128)  # the offset of tcpi_bytes_acked in the struct tcp_info of linux/tcp.h


def peek(connection: Any) -> bytes | None:
    """The next byte, without consuming it; None if there is none yet; empty if the connection has ended."""
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
    """Whether the other side has closed a TCP connection, even if unread data comes before the end."""
    plain = _plain(connection)
    if plain is None:
        return True
    try:
        return plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED
    except (AttributeError, OSError):  # not Linux, or not TCP
        return peek(connection) == b""
    finally:
        plain.detach()


def bytes_taken(connection: Any) -> int | None:
    """How many bytes the other side of a TCP connection has acknowledged so far; None if unknown."""
    plain = _plain(connection)
    if plain is None:
        return None
    try:
        info = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
        return int.from_bytes(info[BYTES_ACKED], sys.byteorder) if len(info) == BYTES_ACKED.stop else None
    except (AttributeError, OSError):  # not Linux, or not TCP
        return None
    finally:
        plain.detach()


def shut_down(connection: Any) -> None:
    """Shut a socket down in both directions. This wakes the thread blocked on the socket, which then closes it."""
    plain = _plain(connection)
    if plain is None:
        return
    try:
        plain.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # already ended
    finally:
        plain.detach()


def _plain(connection: Any) -> _socket.socket | None:
    """A second object for the same descriptor, which the caller must detach; None if the socket is closed."""
    descriptor = connection.fileno()
    if descriptor < 0:
        return None
    return _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, descriptor)  # the family does not matter here
