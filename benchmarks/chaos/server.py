"""A gunicorn with one gevent worker."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .process import Process
from .process import free_port

ROOT = Path(__file__).parent.parent.parent
GRACE_S = 8
"""Shorter than the longest answers, so that restarts interrupt some answers."""


class Server(Process):
    def __init__(self, settings: Mapping[str, str], log: Path, max_requests: int = 0) -> None:
        self._read = 0
        port = free_port()
        command = [str(Path(sys.executable).parent / "gunicorn"), "-c", "gunicorn.conf.py"]
        command += ["--graceful-timeout", str(GRACE_S), "--max-requests", str(max_requests)]
        command += ["benchmarks.chaos.app:create_app()"]
        super().__init__(command, port, log, ROOT, {**os.environ, **settings, "PORT": str(port)})

    def kill_worker(self) -> None:
        """Kill the worker, as the kernel does when memory runs out. gunicorn starts another one."""
        self.signal_workers(signal.SIGKILL)

    def crash(self) -> None:
        """Kill the worker and its parent, like the loss of a machine."""
        workers = self.children()
        self.stop(signal.SIGKILL)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def has_recycled(self) -> bool:
        """Whether a worker has reached its `max_requests` since the last call."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            lines = log.read()
        self._read += len(lines)
        return b"Autorestarting worker" in lines

    def signal_workers(self, sign: signal.Signals, pids: list[int] | None = None) -> list[int]:
        workers = self.children() if pids is None else pids
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
        return workers
