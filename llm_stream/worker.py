"""gunicorn hooks: a worker that stops finishes its answers first, and settles those that it cannot finish.

For `gunicorn.conf.py`, which is read before gevent patches anything; so import this inside the hooks:

    def post_worker_init(worker):
        from llm_stream import worker as llm
        llm.post_worker_init(worker)
"""

from __future__ import annotations

import fcntl
import gc
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
from .usage import estimate
from .usage import price

LOOK_EVERY_S = 0.1
TURN_S = 1.0
BOOT_ERROR = 3
"""The exit status by which gunicorn knows that no worker will ever start."""

SPARE_FILES = 256
SETTLE_S = 1.0
"""Kept back from `graceful_timeout` to tell the readers and write the records: then comes SIGKILL."""

_deadline: float | None = None


def post_worker_init(worker: Any) -> None:
    """After the app is loaded: wait for the worker's last hour, in the background.

    Ends the server if it has more than one worker, because a reader that comes back would often meet the wrong one.
    """
    if worker.cfg.workers > 1 and any(streams.every()):
        _refuse_to_share(worker)
    _make_room_for_connections(2 * worker.cfg.worker_connections + SPARE_FILES)
    estimate.count_tokens("")  # loads the vocabulary now: later it would hold up every stream for half a second
    for ledger in ledgers.every():
        ledger.begin()
    price.load()
    threading.Thread(target=_drain, args=(worker,), name="llm_stream drain", daemon=True).start()
    _keep_from_collector()


def _refuse_to_share(worker: Any) -> NoReturn:
    """One worker after the other: gunicorn stops at the first, and stumbles over a second that ends meanwhile."""
    until = monotonic() + TURN_S * (worker.age - 1)
    while worker.alive and monotonic() < until:
        sleep(LOOK_EVERY_S)
    if worker.alive:
        worker.log.critical(streams.SEVERAL_PROCESSES)
    sys.exit(BOOT_ERROR if worker.alive else 0)


def worker_int(worker: Any) -> None:
    """On SIGINT or SIGQUIT: there is no grace, but the records are written."""
    _interrupt_all()


def worker_exit(server: Any, worker: Any) -> None:
    """After the last response: streams that run on without a reader get what is left of the grace."""
    limit = monotonic() + max(0.0, (worker.timeout or 30) - 2 * SETTLE_S)  # nobody tells the arbiter we live
    until = min(limit, _deadline or 0.0)
    while _running() and monotonic() < until:
        sleep(LOOK_EVERY_S)
    _interrupt_all()


def _drain(worker: Any) -> None:
    """TERM, HUP and `max_requests` have one thing in common: the worker is no longer `alive`."""
    global _deadline
    while worker.alive:
        sleep(LOOK_EVERY_S)
    grace = float(worker.cfg.graceful_timeout)
    _deadline = monotonic() + max(grace - SETTLE_S, grace / 2)
    while monotonic() < _deadline:
        if not _running():
            return
        sleep(LOOK_EVERY_S)
    _interrupt_all()


def _running() -> list[Stream]:
    return [stream for kept in streams.every() for stream in kept.running()]


def _interrupt_all() -> None:
    interrupted = _running()
    for stream in interrupted:
        stream.fail(Interrupted())
    until = monotonic() + SETTLE_S
    for stream in interrupted:
        stream.settled.wait(max(0.0, until - monotonic()))
    ledgers.close_all(max(0.0, until - monotonic()))


def _keep_from_collector() -> None:
    """What is loaded by now stays. To look through it for garbage would stop every stream, each time for long."""
    gc.collect()
    gc.freeze()


def _make_room_for_connections(files: int) -> None:
    """Each open stream has two, and the usual limit is 1024.

    The kernel grows a process's table of files by doubling it, and if the process has threads, all of them stand still
    meanwhile: 10 to 30 ms each time, for every stream. So it is grown at once, before there are any.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    try:
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, wanted - 1))
    except OSError:  # it is only an optimisation
        pass
