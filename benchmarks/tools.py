"""Measures the cost of a step with a tool, in addition to the calls of the model: the worker's CPU, and time.

    python benchmarks/tools.py [--rounds 5] [--requests 200]

One gevent worker gets 200 requests in a row in each round. Each answer of the scripted model has 20 tokens.

- "call" is one call of the model.
- "step" is one stream in which the model calls a tool and is called again.
- "parts" is one stream of a generator that makes two calls through `llm.events()`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from time import monotonic
from typing import Any

import httpx2
import run

sys.path.insert(0, str(run.ROOT))

from llm_stream.testing import Script
from llm_stream.testing import Upstream

WAYS = ("call", "step", "parts")
WORDS = ["word "] * 20
FUNCTION = {"name": "weather", "arguments": '{"city": "Pune", "days": 3}'}
CALL = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": FUNCTION}]}}]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    with Upstream(answer_to) as upstream:
        figures = measured(upstream.base_url, options.rounds, options.requests)
    print(json.dumps(figures, indent=1))


def answer_to(request: Any) -> Script:
    if request["messages"][-1]["content"] == "tool":
        return Script([*WORDS, CALL], finish_reason="tool_calls")
    return Script(WORDS)


def measured(base_url: str, rounds: int, requests: int) -> dict[str, Any]:
    """The medians of the rounds."""
    port = run.free_port()
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-k",
        "gevent",
        "--bind",
        f"127.0.0.1:{port}",
        "benchmarks.with_tools:app",
    ]
    environment = os.environ | {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "none"}
    with subprocess.Popen(command, cwd=run.ROOT, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_for(client)
                for way in WAYS:
                    ask(client, way, requests // 4, server.pid)  # the first requests load modules and caches
                found = [{way: ask(client, way, requests, server.pid) for way in WAYS} for _ in range(rounds)]
        finally:
            server.terminate()
    cpu = {way: statistics.median(each[way][0] for each in found) for way in WAYS}
    time = {way: statistics.median(each[way][1] for each in found) for way in WAYS}
    return {
        "CPU ms per stream": {way: round(cpu[way], 2) for way in WAYS},
        "ms per stream": {way: round(time[way], 2) for way in WAYS},
        "CPU ms of a step beside two calls": round(
            statistics.median(each["step"][0] - 2 * each["call"][0] for each in found), 2
        ),
    }


def ask(client: httpx2.Client, way: str, requests: int, pid: int) -> tuple[float, float]:
    """The server's CPU and the elapsed time, in milliseconds per request."""
    before, began = run.cpu_us_of(run.tree(pid)), monotonic()
    for _ in range(requests):
        body = client.get(f"/{way}").text
        assert body.count("event: done") == 1 and '"status":"completed"' in body, body
        assert body.count("event: delta") >= (1 if way == "call" else 2), body
    used, took = run.cpu_us_of(run.tree(pid)) - before, monotonic() - began
    return used / requests / 1000, took / requests * 1000


def wait_for(client: httpx2.Client) -> None:
    until = monotonic() + 30
    while monotonic() < until:
        try:
            client.get("/llm/healthz")
            return
        except httpx2.TransportError:
            continue
    raise TimeoutError("the server did not respond in time")


if __name__ == "__main__":
    main()
