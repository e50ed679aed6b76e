"""gunicorn hooks: a stopping worker finishes its streams, and settles the streams that it cannot finish in time.

`gunicorn.conf.py` is read before gevent patches the standard library, so import this module inside the hooks:

    def post_worker_init(worker):
        from llm_stream import worker as llm
        llm.post_worker_init(worker)
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import resource
import sys
import threading
from time import monotonic
from time import sleep
from typing import Any
from typing import NoReturn

from .core import streams
from .core.stream import Stream
from .errors import Interrupted
from .ledger import ledgers
from .server import stopping
from .usage import price
from .usage import tokenizer
from .web.access import ONE_AT_A_TIME
from .web.access import SEVERAL_PROCESSES
from .web.doctor import doctor

logger = logging.getLogger("llm_stream")

POLL_S = 0.1
STAGGER_S = 1.0
BOOT_ERROR = 3
"""gunicorn's exit status for a worker that cannot boot. gunicorn then shuts the server down."""

EXTRA_FILES = 256
SETTLE_S = 1.0
"""Reserved at the end of `graceful_timeout`, before SIGKILL: to notify readers and write records."""

SHIP_S = 0.5
"""The minimum time for a shared log to store the remaining events."""

_deadline: float | None = None
_is_hurried = False
"""SIGINT or SIGQUIT arrived: there is no grace period."""


def post_worker_init(worker: Any) -> None:
    """Prepare the process after the app is loaded, and start the thread that drains it at shutdown.

    Shuts the server down in two cases: it has several workers without a shared log, so a reconnecting reader would
    often reach the wrong worker; or its worker answers one request at a time.
    """
    registries = list(streams.every())
    has_others = worker.cfg.workers > 1 or worker.cfg.reuse_port
    if has_others and not all(registry.shared for registry in registries):
        _refuse(worker, SEVERAL_PROCESSES)
    if _is_one_at_a_time(worker):
        _refuse(worker, ONE_AT_A_TIME)
    _grow_file_table(2 * worker.cfg.worker_connections + EXTRA_FILES)
    tokenizer.serving()  # loading the vocabulary later would block every stream for half a second
    for ledger in ledgers.every():
        ledger.begin()
        _load_reports()
    for registry in registries:
        if registry.shared:
            registry.shared.begin()
    price.load()
    stopping.watch(worker)
    doctor.warn(worker.cfg)
    threading.Thread(target=_drain, args=(worker,), name="llm_stream drain", daemon=True).start()
    _freeze_heap()


def _is_one_at_a_time(worker: Any) -> bool:
    kind = type(worker).__name__
    return kind == "SyncWorker" or (kind == "ThreadWorker" and worker.cfg.threads == 1)


def _refuse(worker: Any, reason: str) -> NoReturn:
    """Exit, one worker at a time: gunicorn shuts down at the first exit, and mishandles another exit during that."""
    until = monotonic() + STAGGER_S * (worker.age - 1)
    while worker.alive and monotonic() < until:
        sleep(POLL_S)
    if worker.alive:
        worker.log.critical(reason)
    sys.exit(BOOT_ERROR if worker.alive else 0)


def worker_int(worker: Any) -> None:
    """Handles SIGINT and SIGQUIT: streams get no grace period, but their records are written."""
    global _is_hurried
    _is_hurried = True
    _interrupt_all()


def worker_exit(server: Any, worker: Any) -> None:
    """Runs after the last response. Streams without readers, and writes to the ledger, may use up the grace period."""
    limit = monotonic() + max(0.0, (worker.timeout or 30) - 2 * SETTLE_S)  # gunicorn hears no heartbeats now
    until = 0.0 if _is_hurried else min(limit, _deadline or 0.0)
    while _running() and monotonic() < until:
        sleep(POLL_S)
    _interrupt_all(until)


def _drain(worker: Any) -> None:
    """Wait for the shutdown. TERM, HUP and `max_requests` all set `worker.alive` to False."""
    global _deadline
    while worker.alive:
        sleep(POLL_S)
    grace = float(worker.cfg.graceful_timeout)
    _deadline = monotonic() + max(grace - SETTLE_S, grace / 2)
    if left := len(_running()):
        logger.info("the worker stops: %d running answers may take %.0f more seconds", left, _deadline - monotonic())
    while monotonic() < _deadline:
        if not _running():
            return
        sleep(POLL_S)
    _interrupt_all()


def _running() -> list[Stream]:
    return [stream for registry in streams.every() for stream in registry.running()]


def _interrupt_all(write_until: float = 0.0) -> None:
    interrupted = _running()
    for stream in interrupted:
        stream.fail(Interrupted())
    until = monotonic() + SETTLE_S
    for stream in interrupted:
        stream.settled.wait(max(0.0, until - monotonic()))
    for registry in streams.every():
        if registry.shared:
            registry.shared.close(max(SHIP_S, until - monotonic()))
    ledgers.close_all(max(0.0, max(until, write_until) - monotonic()))


def _load_reports() -> None:
    """Compile the usage page now, which takes 80 ms. Only a worker with a ledger needs it."""
    from .reports import page

    page.load()


def _freeze_heap() -> None:
    """Exclude all objects loaded so far from garbage collection: scanning them would pause every stream."""
    gc.collect()
    gc.freeze()


def _grow_file_table(files: int) -> None:
    """Raise the limit of open files: each stream has two connections, and the usual limit is 1024.

    Also grow the kernel's file table now. The table grows by doubling. Each growth stops a process with threads for 10
    to 30 ms, so all streams would pause.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    size = files if hard == resource.RLIM_INFINITY else min(files, hard)
    try:
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, size - 1))
    except OSError:  # only an optimisation
        pass
