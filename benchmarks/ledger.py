"""Measures how long the ledger delays other streams: 200 streams a second start and end next to 40 paced streams.

    python benchmarks/ledger.py [--seconds 15] [--url postgresql://…]

One gevent worker on one core; SQLite on this disk. "Longest" is the greatest delay of a token of the paced streams.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import run

RATE = 200
PACED, TOKENS_PER_S = 40, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=15, choices=range(1, 18), metavar="1…17")
    parser.add_argument("--url", help="another database to measure in addition to SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llm-stream-ledger-", dir=run.HERE) as folder:
        sqlite = f"sqlite:///{Path(folder) / 'usage.db'}"
        ways = {"no ledger": ("wsgi:app", ""), "SQLite": ("wsgi:app", sqlite)}
        ways["SQLite, in the event loop"] = ("benchmarks.on_loop:app", f"{sqlite}-2")
        if options.url:
            ways["the other database"] = ("wsgi:app", options.url)
        with run.tool_chain() as tools:
            figures = {name: measured(tools, app, url, options.seconds) for name, (app, url) in ways.items()}
    print(json.dumps(figures, indent=1))


def measured(tools: Path, app: str, url: str, seconds: int) -> dict[str, float]:
    ours = run.servers(with_peers=False, short=True)[0]
    many = {"LLM_STREAM_MAX_STREAMS": "9999", "LLM_STREAM_MAX_STREAMS_PER_OWNER": "9999"}
    environment = ours.environment | many | {"LLM_STREAM_LEDGER_URL": url, "PYTHONPATH": str(run.ROOT)}
    server = replace(ours, command=[*ours.command[:-1], app], environment=environment)
    with run.running(server, tools) as running:
        paced = running.load(PACED, (seconds + 2) * TOKENS_PER_S, 1000 // TOKENS_PER_S)
        before = running.cpu_us()
        churn = running.load(RATE * seconds, 5, rate=RATE).result()
        used = running.cpu_us() - before
        result = paced.result()
    return {
        "broken answers": run.whole(result)["broken answers"] + run.whole(churn)["broken answers"],
        "lag of paced tokens p50, ms": result["lag"]["p50"],
        "p99": result["lag"]["p99"],
        "longest": result["lag"]["max"],
        "first token of the others p50, ms": churn["ttft"]["p50"],
        "first token p99": churn["ttft"]["p99"],
        "CPU of all, s": round(used / 1e6, 2),
    }


if __name__ == "__main__":
    main()
