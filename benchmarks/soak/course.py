"""The course of a run: samples the worker at the beginning, every few seconds, and at the end."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from time import sleep

from quiet import Watch
from run import ROOT
from run import SERVER_PORT
from run import TOOL_CORE
from run import UPSTREAM
from run import Running
from run import Server
from run import cpu_us_of
from run import pinned
from run import running
from run import tool_chain
from run import tree

Sample = dict[str, float]

DELAY_MS = 50
LONG_TOKENS = 6000
GRACE_S = 5.0
"""In addition to the retention: how long the worker may take to notice lost readers and to end their streams."""

IDLE_S = 4.0
"""gunicorn keeps an idle connection for 2 s."""


@dataclass(frozen=True)
class Size:
    seconds: float
    streams: int
    slow: int
    tokens: int
    """The maximum tokens of an answer."""
    window_s: float
    send_timeout_s: float
    retention_s: float


class Course:
    def __init__(self, size: Size) -> None:
        self.size = size
        self.samples: list[Sample] = []
        self.errors = ""
        """A description of the wrong answers; empty if there are none."""
        self._watch = Watch()
        self._looked = monotonic()
        self._used_us = 0.0
        self._pid = 0

    def make(self) -> None:
        with tool_chain() as tools, running(self._server(tools), tools) as server:
            self._pid = tree(server.pids()[0])[1]
            self._take(server, collect=True)
            started = monotonic()
            with self._readers(tools) as lines:
                for line in lines:
                    self._take(server, json.loads(line))
            self.errors = (tools / "soak.log").read_text()
            self._rest(server, started)

    @property
    def begin(self) -> Sample:
        return self.samples[0]

    @property
    def under_load(self) -> list[Sample]:
        return [sample for sample in self.samples if "tokens" in sample]

    @property
    def steady(self) -> list[Sample]:
        """The samples from the time in which all readers still request further answers."""
        return [sample for sample in self.under_load if sample["at"] <= self.size.seconds]

    @property
    def end(self) -> Sample:
        return self.samples[-1]

    def _server(self, tools: Path) -> Server:
        """gunicorn with its configuration file. Settings that are not named here have their defaults."""
        size = self.size
        models = [f"bench-n{LONG_TOKENS}-d0", "bench-n2-d0", "bench-n20-d0"]
        models += [f"bench-n{size.tokens // 5 * part}-d{DELAY_MS}" for part in range(1, 6)]
        environment = {
            "OPENAI_BASE_URL": UPSTREAM,
            "OPENAI_API_KEY": "none",
            "PORT": str(SERVER_PORT),
            "LLM_STREAM_MODELS": json.dumps(models),
            "LLM_STREAM_LEDGER_URL": f"sqlite:///{tools}/usage.db",
            "LLM_STREAM_SEND_TIMEOUT_S": str(size.send_timeout_s),
            "LLM_STREAM_RETENTION_S": str(size.retention_s),
        }
        gunicorn = [str(Path(sys.executable).parent / "gunicorn"), "-c", str(ROOT / "gunicorn.conf.py")]
        command = [*gunicorn, "benchmarks.soak.app:create_app()"]
        return Server("flask-llm-stream", command, "/llm/chat", 0, (), environment=environment, folder=ROOT)

    @contextmanager
    def _readers(self, tools: Path) -> Iterator[Iterator[str]]:
        size = self.size
        numbers = [size.seconds, size.streams, size.slow, size.send_timeout_s, size.window_s, size.tokens, DELAY_MS]
        command = [str(tools / "soak"), *map(str, [SERVER_PORT, *numbers, LONG_TOKENS])]
        with open(tools / "soak.log", "w") as log:
            process = subprocess.Popen(pinned(TOOL_CORE, command), stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        finally:
            process.kill()
            process.wait()

    def _rest(self, server: Running, started: float) -> None:
        """Wait until no stream is stored. The worker forgets expired streams when the next stream begins or ends."""
        until = monotonic() + self.size.retention_s + GRACE_S
        while monotonic() < until:
            sleep(self.size.window_s)
            self._take(server, {"at": monotonic() - started})
        server.load(1, 2).result()
        sleep(IDLE_S)
        self._take(server, {"at": monotonic() - started}, collect=True)

    def _take(self, server: Running, sample: Sample | None = None, *, collect: bool = False) -> None:
        counts = json.load(urllib.request.urlopen(f"http://127.0.0.1:{SERVER_PORT}/counts{'?collect' * collect}"))
        used_us = cpu_us_of([self._pid])
        rollup = _fields(Path(f"/proc/{self._pid}/smaps_rollup"))
        self.samples.append(
            {"at": 0.0, **(sample or {}), **counts}
            | {
                "pss_mib": rollup["Pss"] / 1024,
                "rss_mib": rollup["Rss"] / 1024,
                "files": len(list(Path(f"/proc/{self._pid}/fd").iterdir())),
                "greenlets": counts["requests"] + counts["threads"],
                "native_threads": _fields(Path(f"/proc/{self._pid}/status"))["Threads"],
                "cpu": (used_us - self._used_us) / 1e6 / (monotonic() - self._looked),
                "others": self._watch.others(),
            }
        )
        self._watch, self._used_us, self._looked = Watch(), used_us, monotonic()


def _fields(path: Path) -> dict[str, int]:
    """The numbers in a /proc file, by name."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.split()[:1] and value.split()[0].isdigit():
            found[name] = int(value.split()[0])
    return found
