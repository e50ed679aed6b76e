"""The scenarios of `shared_log.py`, for one server and for two that share an engine. Each returns its figures."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import run
from engine import Engine
from engine import Reading
from engine import engine

OPENED_PER_S = 250
FOLLOWED_PER_S, RESUMED_PER_S = 50, 5
FIRST_READER_S = 1.0

Figures = dict[str, float]


@dataclass(frozen=True)
class Size:
    """The sizes of the scenarios: large enough for meaningful figures, or only large enough to run."""

    rounds: int
    requests: int
    paced: tuple[tuple[int, int], ...]
    """The number of streams, and the tokens per second of each."""
    settle_s: float
    window_s: float
    kept: int
    kept_tokens: tuple[int, int]
    followed: tuple[tuple[int, int], ...]
    resumed: int
    tries: int = 1
    """The maximum number of tries for a measurement without other load on the machine."""


@dataclass(frozen=True)
class Way:
    """A log to measure: its server and its engine."""

    name: str
    server: Callable[[str, int, int], run.Server]
    """Makes the server from the engine's URL, a port and a core."""
    program: str | None
    follow_path: str = "/llm/streams/%s"
    size: Size = field(kw_only=True)
    base: str | None = None
    """The same server without a shared log, for comparison."""
    is_peer: bool = False


@dataclass(frozen=True)
class Pair:
    """A server, the tools, and a second server if there is an engine to share."""

    way: Way
    servers: list[run.Running]
    engine: Engine | None
    tools: Path

    def readers(self, what: str, streams: int, tokens: int, delay_ms: int, seconds: float) -> Readers:
        first, second = (running.server for running in self.servers)
        body = first.body % f"bench-n{tokens}-d{delay_ms}"
        where = [str(first.port), str(second.port), first.path, self.way.follow_path, body]
        return Readers(self.tools, what, *where, str(streams), str(tokens), str(OPENED_PER_S), str(seconds))


class Readers:
    """The running program `readers`."""

    def __init__(self, tools: Path, *arguments: str) -> None:
        command = [str(tools / "readers"), *arguments]
        self._process = subprocess.Popen(run.pinned(run.TOOL_CORE, command), stdout=subprocess.PIPE)

    def result(self) -> dict[str, Any]:
        output, _ = self._process.communicate(timeout=150)
        result: dict[str, Any] = json.loads(output)
        return result


@contextmanager
def serving(way: Way, tools: Path, servers: int = 1) -> Iterator[Pair]:
    """A new engine, and new servers on it; the second one is on the tools' core."""
    with ExitStack() as stack:
        store = stack.enter_context(engine(way.program, tools, run.TOOL_CORE)) if way.program else None
        url = store.url if store else "memory://"
        made = [way.server(url, run.free_port(), core) for core in (run.SERVER_CORE, run.TOOL_CORE)[:servers]]
        yield Pair(way, [stack.enter_context(run.running(server, tools)) for server in made], store, tools)


def request(pair: Pair) -> Figures:
    """Answers of ten tokens, one after another on one connection."""
    count, server = pair.way.size.requests, pair.servers[0]
    cpu, before = server.cpu_us(), pair.engine and pair.engine.reading()
    result = server.load(1, 10, requests=count).result()
    figures = run.whole(result) | {
        "request: first token p50, ms": result["ttft"]["p50"],
        "request: first token p99, ms": result["ttft"]["p99"],
        "request: server CPU ms": (server.cpu_us() - cpu) / count / 1000,
    }
    if pair.engine and before:
        done = pair.engine.since(before)
        figures["request: commands"] = sum(done.commands.values()) / count
        figures["request: engine CPU µs"] = done.cpu_us / count
    return figures


def paced(pair: Pair, streams: int, per_s: int) -> Figures:
    """Streams with one token per read. Measures a window in the middle."""
    size, server = pair.way.size, pair.servers[0]
    opening = streams / OPENED_PER_S + size.settle_s
    tokens = math.ceil((opening + size.window_s + 0.5) * per_s)
    load = server.load(streams, tokens, 1000 // per_s, rate=OPENED_PER_S)
    time.sleep(opening)
    cpu, arrived, before = server.cpu_us(), load.arrived(), pair.engine and pair.engine.reading()
    started = time.monotonic()
    time.sleep(size.window_s)
    cpu, arrived = server.cpu_us() - cpu, load.arrived() - arrived
    per_second = arrived / (time.monotonic() - started)
    name = f"{streams} × {per_s}/s"
    figures = {f"{name}: server CPU µs/token": cpu / arrived, f"{name}: tokens/s": per_second}
    if pair.engine and before:
        figures |= per_event(name, pair.engine.since(before), arrived)
        figures[f"{name}: connections of the worker"] = pair.engine.connections()
    if per_second < 0.9 * streams * per_s:
        load.stop()  # the server is overloaded: the rest would take minutes
        return figures
    result = load.result()
    return figures | run.whole(result) | {f"{name}: lag p99, ms": result["lag"]["p99"]}


def per_event(name: str, done: Reading, events: int) -> Figures:
    return {
        f"{name}: commands/event": sum(done.commands.values()) / events,
        f"{name}: engine CPU µs/event": done.cpu_us / events,
        f"{name}: bytes to the engine/event": done.bytes_in / events,
        f"{name}: bytes from the engine/event": done.bytes_out / events,
    }


def kept(pair: Pair) -> Figures:
    """Short and long finished streams: the engine's memory for each stream, and for each further event."""
    assert pair.engine
    size = pair.way.size
    grown = []
    pair.servers[0].load(size.kept, size.kept_tokens[0], 20, rate=OPENED_PER_S).result()  # opens the connections
    for tokens in size.kept_tokens:
        before = pair.engine.memory()
        result = pair.servers[0].load(size.kept, tokens, 20, rate=OPENED_PER_S).result()
        time.sleep(0.5)  # the worker is still shipping the last events
        grown.append((pair.engine.memory() - before) / size.kept)
        if broken := run.whole(result)["broken answers"]:
            return {"broken answers": broken}
    short, long = size.kept_tokens
    per_token = (grown[1] - grown[0]) / (long - short)
    return {
        "kept: engine bytes/event": per_token,
        "kept: engine bytes/stream beside its events": grown[0] - short * per_token,
    }


def follow(pair: Pair, streams: int, per_s: int) -> Figures:
    """Read each stream at the worker that writes it and at the other worker."""
    assert pair.engine
    size = pair.way.size
    opening = streams / OPENED_PER_S + size.settle_s
    tokens = math.ceil((opening + size.window_s + 0.5) * per_s)
    readers = pair.readers("follow", streams, tokens, 1000 // per_s, tokens / per_s + 20)
    time.sleep(opening)
    cpu, before = [server.cpu_us() for server in pair.servers], pair.engine.reading()
    time.sleep(size.window_s)
    done = pair.engine.since(before)
    used = [server.cpu_us() - earlier for server, earlier in zip(pair.servers, cpu, strict=True)]
    connections = pair.engine.connections()
    result = readers.result()
    events = round(streams * per_s * done.at)
    name = f"followed {streams} × {per_s}/s"
    return {
        "broken answers": streams - result["whole"],
        f"{name}: delay p50, ms": result["delay"]["p50"],
        f"{name}: delay p99, ms": result["delay"]["p99"],
        f"{name}: delay longest, ms": result["delay"]["max"],
        f"{name}: first event of a late reader p50, ms": result["join"]["p50"],
        f"{name}: first event of a late reader p99, ms": result["join"]["p99"],
        f"{name}: CPU µs/token where it is written": used[0] / events,
        f"{name}: CPU µs/token where it is followed": used[1] / events,
        f"{name}: connections of a worker": connections / 2,
        **per_event(name, done, events),
    }


def resume(pair: Pair) -> Figures:
    """Kill the first worker. All its readers reconnect to the second worker at once."""
    assert pair.engine
    streams = pair.way.size.resumed
    opening = streams / OPENED_PER_S
    tokens = math.ceil((opening + 60) * RESUMED_PER_S)
    patience_s = opening + (10 if pair.way.is_peer else 30)
    readers = pair.readers("resume", streams, tokens, 1000 // RESUMED_PER_S, patience_s)
    time.sleep(opening + FIRST_READER_S)
    reading = run.upstream_stats()["open"]
    pids = pair.servers[0].pids()
    pair.servers[0].kill()
    killed = time.monotonic()
    lease_s = lease_left(pair.engine, pids)
    result = readers.result()
    name = f"resume of {streams}"
    figures = {
        f"{name}: readers that were cut": result["cut"],
        f"{name}: streams that were running": reading,
        f"{name}: answered": result["answered"],
        f"{name}: asked again": result["refused"],
        "broken answers": result["disordered"],
    }
    if result["answered"]:
        all_done = result["last_done_at"] - killed
        figures |= {
            f"{name}: lease left when it was killed, s": lease_s,
            f"{name}: all have done after, s": all_done,
            f"{name}: of which after the lease, s": all_done - lease_s,
        }
    return figures


def lease_left(store: Engine, pids: list[int]) -> float:
    """Seconds until the lease of a worker expires. The worker's name contains its process id."""
    seconds, micros = store.client.time()
    leases = store.client.zrange("llm_stream:llm:workers", 0, -1, withscores=True)
    ends = [end for name, end in leases if int(name.split(b":")[-2]) in pids]
    return ends[0] / 1000 - seconds - micros / 1e6 if ends else 0.0
