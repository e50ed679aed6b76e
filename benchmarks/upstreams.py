"""Measures the time to the first token with several upstreams, while one is down or some of its answers stall.

    python -m benchmarks.upstreams

Two scripted upstreams answer a server with one gevent worker. The figures are times to the first delta.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from time import sleep
from typing import Any

import httpx2

from llm_stream.testing import Pause
from llm_stream.testing import Script
from llm_stream.testing import Upstream

ROOT = Path(__file__).parent.parent
CALLS = 1000
CONCURRENCY = 16
FIRST_TOKEN_S = 0.3
SPREAD = 0.1
STALL_S = 10.0
STALLS = 0.02
HEDGE_AFTER_S = 0.36

CLIENT = httpx2.Client(timeout=60, limits=httpx2.Limits(max_connections=None))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(upstreams: dict[str, str], **settings: Any) -> Iterator[str]:
    """The URL of a server that tries these upstreams in this order."""
    port, folder = free_port(), tempfile.TemporaryDirectory()
    table = {name: {"base_url": url, "key_variable": "SOME_KEY", "models": ["m"]} for name, url in upstreams.items()}
    settings = {"upstreams": table, "model": "m", "max_streams_per_owner": 1000, **settings}
    environment = os.environ | {
        "PORT": str(port),
        "SOME_KEY": "none",
        "LLM_STREAM_LEDGER_URL": f"sqlite:///{folder.name}/usage.db",
    }
    for name, value in settings.items():
        environment[f"LLM_STREAM_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    command = [str(Path(sys.executable).parent / "gunicorn"), "-c", "gunicorn.conf.py", "wsgi:app"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/llm"
        while not _answers(url):
            if server.poll() is not None:
                raise RuntimeError("the server did not start")
            sleep(0.05)
        yield url
    finally:
        server.kill()
        server.wait()
        folder.cleanup()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/v1/models").is_success
    except httpx2.TransportError:
        return False


def first_token(url: str) -> float:
    """The seconds until the first delta. Reads the answer to its end."""
    began, seen = monotonic(), None
    with CLIENT.stream("GET", f"{url}/chat?prompt=hi") as response:
        for line in response.iter_lines():
            if seen is None and line == "event: delta":
                seen = monotonic() - began
    if seen is None:
        raise RuntimeError("the answer has no text")
    return seen


def answer(_: Any) -> Script:
    return Script([Pause(random.uniform(1 - SPREAD, 1 + SPREAD) * FIRST_TOKEN_S), "Hello"])


def stalling(stalls: Iterator[bool]) -> Any:
    return lambda asked: Script([Pause(STALL_S), "Hello"]) if next(stalls) else answer(asked)


def dead_first() -> None:
    dead = f"http://127.0.0.1:{free_port()}/v1"
    with Upstream(lambda _: Script(["Hello"])) as second:
        figures = {}
        for name, upstreams in {
            "the second alone": {"second": second.base_url},
            "the first dead": {"first": dead, "second": second.base_url},
        }.items():
            with serving(upstreams) as url:
                opening = [first_token(url) for _ in range(3)]
                figures[name] = [first_token(url) for _ in range(200)]
                print(f"{name}: first call {1000 * opening[0]:.0f} ms; then {shown(figures[name])}")
        ours, own = (statistics.median(figures[name]) for name in ("the first dead", "the second alone"))
        print(f"a dead first upstream adds {1000 * (ours - own):.1f} ms")


def stalls(second_token_s: float, *, hedged: bool) -> None:
    random.seed(14)
    # exactly 2 % of the calls, in random places
    places = [number < STALLS * CALLS for number in range(CALLS)]
    random.shuffle(places)
    share = second_token_s / FIRST_TOKEN_S
    settings = {"hedge_after_s": HEDGE_AFTER_S} if hedged else {}

    def second_answer(asked: Any) -> Script:
        return Script([Pause(random.uniform(1 - SPREAD, 1 + SPREAD) * FIRST_TOKEN_S * share), "Hello"])

    with (
        Upstream(stalling(iter(places))) as first,
        Upstream(second_answer) as second,
        serving({"first": first.base_url, "second": second.base_url}, **settings) as url,
        ThreadPoolExecutor(CONCURRENCY) as pool,
    ):
        times = list(pool.map(first_token, [url] * CALLS))
        more = (len(first.requests) + len(second.requests)) / CALLS - 1
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    what = f"hedged after {HEDGE_AFTER_S} s, the second answers in {second_token_s} s" if hedged else "not hedged"
    print(f"{what}: {shown(times)}; p99 is {p99 / p50:.2f} times p50, {100 * more:.1f} % more calls")


def shown(times: list[float]) -> str:
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    return f"p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms"


def main() -> None:
    dead_first()
    stalls(FIRST_TOKEN_S, hedged=False)
    stalls(FIRST_TOKEN_S, hedged=True)
    stalls(0.6 * FIRST_TOKEN_S, hedged=True)


if __name__ == "__main__":
    main()
