"""Measures the cost of a token, a request and an open stream, for this library and for its alternatives.

    make bench                      about ten minutes; writes results.json, the tables of README.md and capacity.svg
    python benchmarks/run.py --short    every scenario once, small: a smoke test that does not judge times
    python benchmarks/run.py --compare ../before    another checkout and this one, in turns: the cost of a change
    python benchmarks/run.py --responses          the upstream's Responses API and its chat completions, in turns

The servers take turns. If the machine has two cores, the server has one, and the mock upstream and the load share the
other. CPU is the run time of all threads of the server's process tree, from /proc; other load on the machine changes it
little. Compare servers of one run by their ratios, which are more reliable than single figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import ClassVar

HERE = Path(__file__).parent
ROOT = HERE.parent


def free_port() -> int:
    """A free port below the range that the kernel uses for outgoing connections."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


UPSTREAM_PORT, SERVER_PORT = free_port(), free_port()
UPSTREAM = f"http://127.0.0.1:{UPSTREAM_PORT}/v1"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, TOOL_CORE = CORES[0], CORES[-1]


OPENAI_BODY = '{"model":"%s","stream":true,"messages":[{"role":"user","content":"x"}]}'


@dataclass(frozen=True)
class Server:
    name: str
    command: list[str]
    path: str
    burst_tokens: int
    capacities: tuple[int, ...]
    body: str = '{"prompt":"x","model":"%s"}'
    environment: dict[str, str] = field(default_factory=dict)
    leaves_out: tuple[str, ...] = ()
    folder: Path = HERE / "peers"
    port: int = SERVER_PORT
    core: int = SERVER_CORE


@dataclass(frozen=True)
class Size:
    """The sizes of the scenarios: large enough for meaningful figures, or only large enough to run."""

    rounds: int
    burst_streams: int
    paced_tokens: int
    requests: int
    open_streams: int
    readers: int


FULL = Size(rounds=1, burst_streams=64, paced_tokens=350, requests=200, open_streams=1000, readers=1000)
SHORT = Size(rounds=1, burst_streams=4, paced_tokens=60, requests=5, open_streams=20, readers=20)


def servers(with_peers: bool, short: bool) -> list[Server]:
    models = [f"bench-n{tokens}-d{delay}" for tokens in range(1, 2001) for delay in (0,)]
    models += [f"bench-n{tokens}-d{delay}" for tokens in range(1, 1001) for delay in (20, 1000)]
    ours = {
        "OPENAI_BASE_URL": UPSTREAM,
        "OPENAI_API_KEY": "none",
        "PORT": str(SERVER_PORT),
        "LLM_STREAM_MODELS": json.dumps(models),
        "LLM_STREAM_LEDGER_URL": "null",  # the peers have no ledger; benchmarks/ledger.py measures its cost
        "LLM_STREAM_MAX_STREAMS": "2000",
        "LLM_STREAM_MAX_STREAMS_PER_OWNER": "2000",
    }
    gunicorn = [str(Path(sys.executable).parent / "gunicorn"), "-c", str(ROOT / "gunicorn.conf.py")]
    capacities = (20, 40) if short else (100, 200, 400, 600, 800, 1000)
    found = [
        Server(
            "flask-llm-stream", [*gunicorn, "wsgi:app"], "/llm/chat", 2000, capacities, environment=ours, folder=ROOT
        )
    ]
    if with_peers:
        few = (25, 50, 75, 100)
        python = peer_environment("blog") / "bin"
        uvicorn = [str(python / "uvicorn"), "fastapi_blog:app", "--port", str(SERVER_PORT), "--log-level", "warning"]
        flask = [str(python / "gunicorn"), "-k", "gevent", "-b", f"127.0.0.1:{SERVER_PORT}", "--no-control-socket"]
        peer = {"UPSTREAM": UPSTREAM, "PYTHONPATH": str(HERE / "peers")}
        found += [
            Server("FastAPI, blog pattern", uvicorn, "/chat", 300, few, environment=peer),
            Server("Flask, blog pattern", [*flask, "flask_blog:app"], "/chat", 300, few, environment=peer),
            litellm(peer_environment("litellm")),
        ]
        if shutil.which("nginx"):
            found.append(nginx())
    return found


def litellm(peers: Path) -> Server:
    """LiteLLM's proxy, as installed. Skips the thousand streams, because the proxy cannot serve so many."""
    config = Path(tempfile.gettempdir()) / "llm-stream-bench-litellm.yaml"
    model = {"model": "openai/*", "api_base": UPSTREAM, "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "*", "litellm_params": model}]}))
    command = [str(peers / "bin/litellm"), "--config", str(config), "--port", str(SERVER_PORT), "--host", "127.0.0.1"]
    keyless = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}  # the proxy listens only on loopback
    path, sweep = "/v1/chat/completions", (10, 20, 40)
    return Server("LiteLLM proxy", command, path, 100, sweep, OPENAI_BODY, keyless, leaves_out=("memory",))


def nginx() -> Server:
    """nginx, which only copies bytes: the kernel's cost, and so the lower limit."""
    folder = Path(tempfile.mkdtemp(prefix="llm-stream-bench-nginx-"))
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;"
        f"events {{ worker_connections 8192; }} http {{ access_log off; client_body_temp_path {folder}/body; {paths}"
        f"upstream model {{ server 127.0.0.1:{UPSTREAM_PORT}; keepalive 100; }}"
        f"server {{ listen 127.0.0.1:{SERVER_PORT}; location / {{ proxy_pass http://model; proxy_buffering off;"
        f'proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}'
    )
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    return Server("nginx, bytes only", command, "/v1/chat/completions", 2000, (400, 1000), OPENAI_BODY)


def cpu_us_of(pids: list[int]) -> float:
    """The run time of all threads of these processes."""
    return sum(
        int(stat.read_text().split()[0]) / 1000
        for pid in pids
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        waiting += map(int, children)
    return found


class Running:
    """A running server, and the resources that it has used."""

    killed_us: ClassVar[float] = 0.0
    """The CPU of killed servers, recorded here because their workers are not waited for."""

    def __init__(self, server: Server, process: subprocess.Popen[bytes], tools: Path) -> None:
        self.server = server
        self._process = process
        self._tools = tools

    def pids(self) -> list[int]:
        return tree(self._process.pid)

    def cpu_us(self) -> float:
        return cpu_us_of(self.pids())

    def kill(self) -> None:
        """Kill all processes of the server at once, like the loss of a machine."""
        Running.killed_us += self.cpu_us()
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)

    def memory_kib(self) -> int:
        """Proportional set size."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total

    def load(
        self, streams: int, tokens: int, delay_ms: int = 0, rate: int = 0, requests: int = 1, body: str = ""
    ) -> Load:
        body = body or self.server.body % f"bench-n{tokens}-d{delay_ms}"
        return Load(self._tools, self.server.port, self.server.path, body, streams, tokens, delay_ms, rate, requests)


class Load:
    """The running load generator."""

    def __init__(self, tools: Path, port: int, path: str, body: str, *numbers: float) -> None:
        command = [str(tools / "load"), str(port), path, body, *map(str, numbers)]
        self._process = subprocess.Popen(pinned(TOOL_CORE, command), stdout=subprocess.PIPE)

    def arrived(self) -> int:
        """The number of tokens that have arrived so far."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        count: int = json.loads(self._process.stdout.readline())["arrived"]
        return count

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def result(self) -> dict[str, Any]:
        output, _ = self._process.communicate(timeout=150)
        result: dict[str, Any] = json.loads(output)
        return result


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


@contextmanager
def running(server: Server, tools: Path) -> Iterator[Running]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLM_STREAM_"))}
    with open(tools / "server.log", "ab") as log:
        process = subprocess.Popen(
            pinned(server.core, server.command),
            cwd=server.folder,
            env=environment | server.environment,
            stdout=log,
            stderr=log,
        )
    run = Running(server, process, tools)
    try:
        for _ in range(600):
            time.sleep(0.1)
            if process.poll() is not None:
                raise SystemExit(f"{server.name} does not start: see {tools / 'server.log'}")
            try:
                if run.load(1, 2).result()["whole"]:
                    break
            except subprocess.TimeoutExpired:
                continue
        run.load(4, 20, requests=5).result()
        yield run
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def tool_chain() -> Iterator[Path]:
    """The running mock upstream, and the folder of the load generators."""
    folder = Path(tempfile.mkdtemp(prefix="llm-stream-bench-"))
    for name in ("upstream", "load", "readers", "soak"):
        source = str(HERE / f"{name}.c")
        subprocess.run(["cc", "-O2", "-w", "-o", str(folder / name), source, "-lm"], check=True)
    upstream = subprocess.Popen(pinned(TOOL_CORE, [str(folder / "upstream"), str(UPSTREAM_PORT)]))
    time.sleep(0.3)
    try:
        yield folder
    finally:
        upstream.kill()
        upstream.wait()


def upstream_stats() -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{UPSTREAM_PORT}/stats") as response:
        stats: dict[str, int] = json.load(response)
        return stats


# The scenarios: each takes a running server and returns its figures…


def burst(run: Running, size: Size) -> dict[str, float]:
    """Streams at full speed. The last stream's first token shows whether one greenlet makes the others wait."""
    tokens = run.server.burst_tokens
    before = run.cpu_us()
    result = run.load(size.burst_streams, tokens).result()
    used = run.cpu_us() - before
    return whole(result) | {
        "burst: CPU µs/token": used / (size.burst_streams * tokens),
        "burst: first token of the last stream, ms": result["ttft"]["max"],
    }


def paced(run: Running, size: Size) -> dict[str, float]:
    """40 streams of 50 tokens/s, each token in its own read. Measures the CPU in a window in the middle."""
    load = run.load(40, size.paced_tokens, 20)
    time.sleep(1.5 if size is FULL else 0.4)
    before, started = run.cpu_us(), time.monotonic()
    time.sleep(4 if size is FULL else 0.3)
    used, seconds = run.cpu_us() - before, time.monotonic() - started
    result = load.result()
    return whole(result) | {
        "paced: CPU µs/token": used / (seconds * 40 * 50),
        "paced: lag p99, ms": result["lag"]["p99"],
    }


def request(run: Running, size: Size) -> dict[str, float]:
    """Requests one after another: the time to the first token, the CPU, and the connections to the upstream."""
    connections = upstream_stats()["connections"]
    before = run.cpu_us()
    result = run.load(1, 10, requests=size.requests).result()
    used = run.cpu_us() - before
    return whole(result) | {
        "request: CPU ms": used / size.requests / 1000,
        "request: first token p50, ms": result["ttft"]["p50"],
        "request: first token p99, ms": result["ttft"]["p99"],
        "request: upstream connections made": upstream_stats()["connections"] - connections - 1,
    }


def memory(run: Running, size: Size) -> dict[str, float]:
    """Streams of one token per second, all open at once."""
    before = run.memory_kib()
    load = run.load(size.open_streams, 14 if size is FULL else 3, 1000, rate=120)
    time.sleep(size.open_streams / 120 + 1.5)
    most = run.memory_kib()
    return whole(load.result()) | {"memory: KiB per open stream": (most - before) / size.open_streams}


def public_shape(run: Running, size: Size) -> dict[str, float]:
    """128 streams of 64 tokens, 20 ms apart, like public benchmarks of gateways."""
    streams = 128 if size is FULL else 8
    result = run.load(streams, 64, 20, rate=200).result()
    return whole(result) | {
        "128 × 64 × 20 ms: first token p99, ms": result["ttft"]["p99"],
        "128 × 64 × 20 ms: longest delay, ms": result["lag"]["max"],
    }


def resume(run: Running, size: Size) -> dict[str, float]:
    """Readers of one stream that all reconnect at once and read it from its first event."""
    body = '{"prompt":"x","model":"bench-n300-d0","key":"resume"}'
    run.load(1, 300, body=body).result()
    before = run.cpu_us()
    result = run.load(size.readers, 300, body=body).result()
    used = run.cpu_us() - before
    return whole(result) | {
        f"resume: {size.readers} readers have caught up after, s": result["seconds"],
        "resume: CPU µs per replayed event": used / (size.readers * 303),
    }


def whole(result: dict[str, Any]) -> dict[str, float]:
    """Every answer must be complete, otherwise the figures mean nothing. This also detects an overloaded peer."""
    return {"broken answers": result["broken"] + result["unfinished"]}


def capacity(run: Running, streams: int) -> dict[str, float]:
    tokens = 400 if streams >= 100 else 250
    load = run.load(streams, tokens, 20, rate=150)
    result = load.result()
    return {"streams": streams, "p99": result["lag"]["p99"], "p50": result["lag"]["p50"], **whole(result)}


def direct(tools: Path, size: Size) -> dict[str, float]:
    """The instruments alone, without a server: the limits of the measurement."""
    tokens, streams = 2000, size.burst_streams
    body = '{"model":"bench-n%d-d%d"}'
    fast = Load(tools, UPSTREAM_PORT, "/v1/chat/completions", body % (tokens, 0), streams, tokens, 0, 0, 1).result()
    many = size.open_streams
    slow = Load(tools, UPSTREAM_PORT, "/v1/chat/completions", body % (100, 20), many, 100, 20, 500, 1).result()
    one = Load(tools, UPSTREAM_PORT, "/v1/chat/completions", body % (10, 0), 1, 10, 0, 0, size.requests).result()
    return {
        "tokens per second": fast["tokens"] / fast["seconds"],
        f"lag p99 of {many} streams, ms": slow["lag"]["p99"],
        "first token p50, ms": one["ttft"]["p50"],
        "first token p99, ms": one["ttft"]["p99"],
    }


SCENARIOS = (burst, paced, request, public_shape, memory)
OURS_ONLY = (resume,)


def measure(with_peers: bool, size: Size) -> dict[str, Any]:
    figures: dict[str, dict[str, list[float]]] = {}
    sweeps: dict[str, list[dict[str, float]]] = {}
    with tool_chain() as tools:
        instruments = direct(tools, size)
        competitors = servers(with_peers, size is SHORT)
        for turn in range(size.rounds):
            for server in competitors:
                print(f"round {turn + 1} of {size.rounds}: {server.name}", file=sys.stderr)
                rows = figures.setdefault(server.name, {})
                ours = server is competitors[0]
                for scenario in (*SCENARIOS, *(OURS_ONLY if ours else ())):
                    if scenario.__name__ in server.leaves_out:
                        continue
                    with running(server, tools) as run:
                        for name, value in scenario(run, size).items():
                            rows.setdefault(name, []).append(value)
        for server in competitors:
            print(f"capacity: {server.name}", file=sys.stderr)
            for streams in server.capacities:
                with running(server, tools) as run:
                    sweeps.setdefault(server.name, []).append(capacity(run, streams))
                if sweeps[server.name][-1]["p99"] > 500 or sweeps[server.name][-1]["broken answers"]:
                    break
        shutil.rmtree(tools)
    medians = {name: {row: statistics.median(values) for row, values in rows.items()} for name, rows in figures.items()}
    for name, rows in figures.items():
        medians[name]["broken answers"] = sum(rows["broken answers"])
    return {"instruments": instruments, "figures": medians, "all": figures, "capacity": sweeps}


def compare_checkouts(other: Path) -> dict[str, Any]:
    ours = servers(with_peers=False, short=True)[0]
    return compare(ours, replace(ours, name="other", command=in_checkout(ours.command, other), folder=other))


def compare_apis() -> dict[str, Any]:
    """Compare the upstream's Responses API with its chat completions."""
    ours = servers(with_peers=False, short=True)[0]
    return compare(replace(ours, environment=ours.environment | {"LLM_STREAM_API": "responses"}), ours)


def compare(ours: Server, theirs: Server, rounds: int = 5) -> dict[str, Any]:
    """Measure two servers in turns: the median of each figure, and the median of the rounds' ratios."""
    size = replace(FULL, burst_streams=16, requests=100)
    pairs: dict[str, list[tuple[float, float]]] = {}
    with tool_chain() as tools:
        for turn in range(rounds):
            print(f"round {turn + 1} of {rounds}", file=sys.stderr)
            for scenario in (burst, paced, request):
                with running(ours, tools) as run:
                    here = scenario(run, size)
                with running(theirs, tools) as run:
                    there = scenario(run, size)
                for name, value in here.items():
                    pairs.setdefault(name, []).append((value, there[name]))
        shutil.rmtree(tools)
    return {
        name: {
            "this": statistics.median(this for this, _ in values),
            "other": statistics.median(that for _, that in values),
            "ratio": statistics.median(this / that for this, that in values) if all(v for _, v in values) else None,
        }
        for name, values in pairs.items()
    }


def in_checkout(command: list[str], checkout: Path) -> list[str]:
    return [part.replace(str(ROOT), str(checkout)) if part.endswith(".conf.py") else part for part in command]


def layers() -> dict[str, dict[str, float]]:
    """Microseconds per token of our own code, without sockets."""
    output = subprocess.check_output(pinned(SERVER_CORE, [sys.executable, str(HERE / "layers.py")]))
    figures: dict[str, dict[str, float]] = json.loads(output)
    return figures


def peer_environment(name: str) -> Path:
    """The virtual environment of `requirements-NAME.txt`, created once."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / f"flask-llm-stream-{name}"
    requirements = HERE / f"requirements-{name}.txt"
    wanted = requirements.read_text()
    done = home / "installed"
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(home / "bin/pip"), "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        done.write_text(wanted)
    return home


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="every scenario once, small, without the peers")
    parser.add_argument("--no-peers", action="store_true", help="measure this project only")
    parser.add_argument(
        "--compare", metavar="CHECKOUT", type=Path, help="measure this checkout and another one in turns"
    )
    parser.add_argument("--responses", action="store_true", help="measure both APIs of the upstream in turns")
    options = parser.parse_args()
    if options.compare:
        print(json.dumps(compare_checkouts(options.compare.resolve()), indent=2, ensure_ascii=False))
        return
    if options.responses:
        print(json.dumps(compare_apis(), indent=2, ensure_ascii=False))
        return
    results = measure(not options.short and not options.no_peers, SHORT if options.short else FULL)
    if options.short:
        broken = sum(rows["broken answers"] for rows in results["figures"].values())
        print(json.dumps(results["figures"], indent=2, ensure_ascii=False))
        raise SystemExit(f"{broken} answers were broken" if broken else 0)
    results["layers"] = layers()
    (HERE / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    from report import write

    write(results)


if __name__ == "__main__":
    main()
