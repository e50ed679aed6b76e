"""A process that the run kills, freezes and restarts."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from time import sleep

START_S = 30.0


def free_port() -> int:
    """A port that Linux gives to no connection before the server listens: those begin at 32,768."""
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Process:
    def __init__(
        self,
        command: list[str],
        port: int,
        log: Path,
        cwd: Path,
        environment: Mapping[str, str],
        user: str | None = None,
    ) -> None:
        self.port = port
        self._user = user
        self._command = command
        self._log = log
        self._cwd = cwd
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._cwd, env=dict(self._environment), stdout=log, stderr=log, user=self._user
            )
        until = monotonic() + START_S
        while not self.answers():
            if monotonic() > until or self._process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} does not start: see {self._log}")
            sleep(0.05)

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def send(self, sign: signal.Signals) -> None:
        os.kill(self.pid, sign)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(sign)
            self._process.wait(60)

    def children(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except FileNotFoundError:  # the process has ended
            return []
