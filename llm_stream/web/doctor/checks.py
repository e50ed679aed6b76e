"""All checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import middleware
from . import models
from . import serving
from . import storage
from .finding import Finding
from .patient import Patient


@dataclass(frozen=True)
class Check:
    name: str
    promise: str
    """The report's sentence if the check finds nothing."""
    examine: Callable[[Patient], Finding | None]
    """May raise `NotChecked`."""
    in_workers: bool = False
    """Each worker runs it at the start, too: it uses no network, runs no code of the app, and is cheap."""
    asks_network: bool = False


CHECKS = (
    Check(
        "patching", "gevent patches the standard library before other modules use it", serving.patching, in_workers=True
    ),
    Check("worker-class", "a worker serves many readers at once", serving.worker_class),
    Check(
        "preload", "gevent patches the standard library before the app is imported", serving.preload, in_workers=True
    ),
    Check("workers", "every worker finds every stream", serving.workers),
    Check("connections", "a full worker still accepts a Stop request", serving.connections, in_workers=True),
    Check("files", "a full worker may open enough files", serving.files, in_workers=True),
    Check("grace", "a deploy waits for the longest answer", serving.grace, in_workers=True),
    Check("timeout", "a worker is killed only if it hangs", serving.timeout, in_workers=True),
    Check("recycling", "recycling a worker does not block new requests", serving.recycling, in_workers=True),
    Check("hooks", "a stopping worker finishes its answers or records their usage", serving.hooks, in_workers=True),
    Check("middleware", "the app passes each event on at once, uncompressed", middleware.middleware),
    Check("fast-path", "the worker writes tokens directly to the client's socket", middleware.fast_path),
    Check("observers", "no monitoring tool relies on methods of OpenAI's client", models.watchers, in_workers=True),
    Check("prices", "every model has a price", models.prices, in_workers=True),
    Check("upstream", "the upstream answers and accepts the key", models.upstream, asks_network=True),
    Check("ledger", "the ledger can be opened", storage.ledger, asks_network=True),
    Check("ledger-place", "the ledger is on a disk of this machine", storage.ledger_place, in_workers=True),
    Check("log", "Redis can be reached", storage.shared_log, asks_network=True),
    Check("eviction", "Redis never evicts a stream", storage.eviction, asks_network=True),
    Check("persistence", "finished answers survive a restart of Redis", storage.persistence, asks_network=True),
    Check("clocks", "the clocks of all machines agree", storage.clocks, asks_network=True),
    Check(
        "approvals", "every worker can verify approvals that another worker signed", serving.approvals, in_workers=True
    ),
    Check("public", "an app without authorize has a budget", serving.public, in_workers=True),
    Check("debug", "debug mode is off", serving.debug, in_workers=True),
)
