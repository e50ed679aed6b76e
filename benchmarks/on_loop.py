"""The demo with the ledger's database calls in the event loop, as without `gevent.off_loop`."""

from __future__ import annotations

from llm_stream.server import gevent

gevent.off_loop = lambda function, *args: function(*args)

from wsgi import app  # noqa: E402

__all__ = ["app"]
