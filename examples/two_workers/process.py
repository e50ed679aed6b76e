"""A process that the example starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from time import sleep

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0
STOP_S = 5.0
POLL_S = 0.05
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotStart(Exception):
    """A process cannot start. The message tells the user why."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay signals until the end of the block. Otherwise a signal could leave behind a process that just started."""
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for late in came:
        signal.raise_signal(late)


class Process:
    """A program that listens on a local port. It has its own process group, so Ctrl-C does not reach it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        port: int,
        *,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.log = folder / f"{name.replace(' ', '_')}.log"
        self._command = command
        self._environment = environment
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def pid(self) -> int:
        """The id of the first process and of its group."""
        assert self._process
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it listens. Raises `CannotStart`."""
        if self._listens():
            raise CannotStart(f"{self.name} cannot start: something else listens on {self.address}")
        with self.log.open("ab") as log, undisturbed():
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = monotonic() + START_S
        while not self._listens():
            if not self.is_running or monotonic() > until:
                raise CannotStart(f"{self.name} does not start:\n{self.log.read_text()}")
            sleep(POLL_S)

    def kill(self) -> None:
        """Kill the process and its children without a warning, like a crash or the loss of a machine."""
        self._signal_group(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        if self.is_running:
            os.kill(self.pid, self._stop_signal)
            self._wait()
        self._signal_group(signal.SIGKILL)  # children that are left
        self._wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # all have ended
            pass

    def _wait(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:  # `stop()` kills it next
            pass
