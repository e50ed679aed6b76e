"""Measures the cost of a schema: the worker's CPU and the sent bytes for each token of a streamed answer.

    python benchmarks/schema.py [--rounds 5] [--tokens 20000]

One gevent worker. The answers are the same JSON with and without a schema, in tokens of four characters. Each round
requests each kind of answer until it has received `--tokens` tokens.

- "burst": the model writes at full speed, so one read has many tokens.
- "alone": each token comes 2 ms after the previous one, in its own read. Eight answers are written at once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import monotonic
from typing import Any

import httpx2
import run

sys.path.insert(0, str(run.ROOT))

from llm_stream.testing import Pause
from llm_stream.testing import Script
from llm_stream.testing import Upstream

SIZES = (100, 1000, 5000)
"""Tokens of an answer."""
WAYS = ("plain", "schema")
PACE_S = 0.002
AT_ONCE = 8
FIGURES = {"prompt_tokens": 1, "completion_tokens": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=20_000)
    options = parser.parse_args()
    with Upstream(answer_to) as upstream:
        print(json.dumps(measured(upstream.base_url, options.rounds, options.tokens), indent=1))


def answer_to(request: Any) -> Script:
    pace, size = request["messages"][-1]["content"].split()
    pieces = pieces_of(int(size))
    if pace == "burst":
        return Script(pieces, usage=FIGURES)
    return Script([step for piece in pieces for step in (Pause(PACE_S), piece)], usage=FIGURES)


@cache
def pieces_of(tokens: int) -> list[str]:
    """An invoice of about this many tokens."""
    items: list[Any] = []
    text = ""
    while len(text) < 4 * tokens:
        items.append({"name": f"item {len(items)}", "price": 1.5 * len(items), "note": "some words about what it is"})
        text = json.dumps({"number": 12, "items": items})
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def measured(base_url: str, rounds: int, tokens: int) -> dict[str, Any]:
    """The medians of the rounds."""
    port = run.free_port()
    command = [sys.executable, "-m", "gunicorn", "-k", "gevent", "--bind", f"127.0.0.1:{port}"]
    environment = os.environ | {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "none"}
    environment |= {"LLM_STREAM_MAX_STREAMS_PER_OWNER": "100"}
    with subprocess.Popen(
        [*command, "benchmarks.with_schema:app"], cwd=run.ROOT, env=environment, stderr=subprocess.DEVNULL
    ) as server:
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_for(client)
                return {pace: of_pace(client, server.pid, pace, rounds, tokens) for pace in ("burst", "alone")}
        finally:
            server.terminate()


def of_pace(client: httpx2.Client, pid: int, pace: str, rounds: int, tokens: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for size in SIZES:
        each: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                each[way].append(ask(client, pid, way, pace, size, max(AT_ONCE, tokens // size)))
        cpu = {way: round(statistics.median(cpu for cpu, _ in each[way]), 2) for way in WAYS}
        sent = {way: round(statistics.median(sent for _, sent in each[way])) for way in WAYS}
        found[f"{size} tokens"] = {"CPU µs per token": cpu, "bytes per token": sent}
    return found


def ask(client: httpx2.Client, pid: int, way: str, pace: str, size: int, requests: int) -> tuple[float, float]:
    """CPU of the server in microseconds, and bytes, per token."""

    def one(_: int) -> int:
        body = client.get(f"/{way}", params={"prompt": f"{pace} {size}"}).text
        assert '"status":"completed"' in body and body.count("event: delta") == len(pieces_of(size)), body[-1000:]
        assert ('"whole":true' in body) == (way == "schema")
        return len(body)

    with ThreadPoolExecutor(AT_ONCE if pace == "alone" else 1) as threads:
        list(threads.map(one, range(AT_ONCE)))  # the first requests load modules and caches
        before = run.cpu_us_of(run.tree(pid))
        sent = sum(threads.map(one, range(requests)))
        used = run.cpu_us_of(run.tree(pid)) - before
    tokens = requests * len(pieces_of(size))
    return used / tokens, sent / tokens


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
