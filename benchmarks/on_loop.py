"""The demo with its ledger's database in the event loop, as it would be without `greenlets.off_loop`."""

from __future__ import annotations

from llm_stream.server import greenlets

greenlets.off_loop = lambda function, *args: function(*args)

from wsgi import app  # noqa: E402

__all__ = ["app"]
