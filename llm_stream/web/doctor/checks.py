"""All checks, in the order in which they are told."""

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
    """What holds where it finds nothing."""
    examine: Callable[[Patient], Finding | None]
    """May raise `NotChecked`."""
    in_workers: bool = False
    """Also made when a worker starts: it asks nothing of other machines, runs no code of the app's, and is cheap."""
    asks_network: bool = False


CHECKS = (
    Check("patching", "gevent patched the standard library before it was used", serving.patching, in_workers=True),
    Check("worker-class", "a worker serves many readers at once", serving.worker_class),
    Check("preload", "the app is imported after gevent has patched", serving.preload, in_workers=True),
    Check("workers", "every worker finds every stream", serving.workers),
    Check("connections", "Stop gets in when the worker is full", serving.connections, in_workers=True),
    Check("grace", "a deploy waits for the longest answer", serving.grace, in_workers=True),
    Check("timeout", "a worker is killed only if it hangs", serving.timeout, in_workers=True),
    Check(
        "recycling", "no worker stops for new requests while it finishes old ones", serving.recycling, in_workers=True
    ),
    Check("hooks", "a stopping worker finishes or settles its answers", serving.hooks, in_workers=True),
    Check("middleware", "events pass the app one by one, uncompressed", middleware.middleware),
    Check("fast-path", "tokens go to the client without a detour", middleware.fast_path),
    Check("observers", "nobody watches calls that do not happen", models.watchers, in_workers=True),
    Check("prices", "every model has a price", models.prices, in_workers=True),
    Check("upstream", "the upstream answers, and takes the key", models.upstream, asks_network=True),
    Check("ledger", "the ledger can be opened", storage.ledger, asks_network=True),
    Check("ledger-place", "the ledger is on a disk of this machine", storage.ledger_place, in_workers=True),
    Check("log", "Redis can be reached", storage.shared_log, asks_network=True),
    Check("eviction", "Redis deletes no stream to make room", storage.eviction, asks_network=True),
    Check("persistence", "answers outlive a restart of Redis", storage.persistence, asks_network=True),
    Check("clocks", "all clocks agree", storage.clocks, asks_network=True),
    Check("approvals", "every worker knows the approvals of the others", serving.approvals, in_workers=True),
    Check("public", "no stranger spends without a limit", serving.public, in_workers=True),
    Check("debug", "debug mode is off", serving.debug, in_workers=True),
)
