"""Finds the client's socket under the servers that expose it: gunicorn, Werkzeug's server and waitress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .private import has_names
from .private import warn_missing

LATE = "a client that disconnects is noticed only at the second write"

CHECK = "waitress.client_disconnected"
"""A bound method of waitress's channel. Calling it does not help: waitress does not poll while a request runs."""

CHANNEL = ("socket",)


def connection_of(environ: Mapping[str, Any]) -> Any:
    """The client's socket; None under any other server."""
    return environ.get("gunicorn.socket") or environ.get("werkzeug.socket") or _of_waitress(environ)


def _of_waitress(environ: Mapping[str, Any]) -> Any:
    if CHECK not in environ:
        return None
    channel = getattr(environ[CHECK], "__self__", None)
    if channel is None:
        warn_missing("waitress", f"channel behind {CHECK!r}", LATE)
        return None
    return channel.socket if has_names(channel, CHANNEL, "waitress", "HTTPChannel", LATE) else None
