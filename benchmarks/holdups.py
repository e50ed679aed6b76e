"""Measures how long one request delays other streams: no kind of request may block the event loop for 50 ms.

    python benchmarks/holdups.py [--rounds 5]    some minutes; writes holdups.json and the table of the reliability page
    python benchmarks/holdups.py --short         every kind once, small; does not judge times
    python benchmarks/holdups.py --only emoji    only the kinds with this in their names; writes nothing

One gevent worker serves ten streams of 50 tokens/s; each token has its send time. "Waited" is the latest token's delay
minus the delay in an equally long time without the request. "Busy" is the most CPU time that the event loop's thread
spent without running a greenlet that is due every millisecond. "Busy" does not depend on other load of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.chaos.process import free_port
from benchmarks.held.kinds import KINDS
from benchmarks.held.kinds import Client
from benchmarks.held.kinds import Kind
from benchmarks.held.model import NAMES
from benchmarks.usage_page import fill
from llm_stream.settings import Settings

ROOT = Path(__file__).parent.parent
LIMIT_MS = 50.0
WARM_S = 1.0
AFTER_S = 0.1
EVENT_BYTES = 88 + 5 + 2
"""Slightly more than the bytes that a token takes in a log."""
BEGIN, END = "<!-- holdups -->", "<!-- end of holdups -->"

Figures = dict[str, dict[str, list[float]]]


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def told(running: subprocess.Popen[str], line: str | None = None) -> list[str]:
    assert running.stdin is not None and running.stdout is not None
    if line is not None:
        running.stdin.write(line + "\n")
        running.stdin.flush()
    return running.stdout.readline().split()


@contextmanager
def serving(victims_url: str, model_url: str, folder: Path, size: int) -> Iterator[int]:
    """Run the server, and yield its port."""
    port = free_port()
    table = {
        "victims": {"base_url": victims_url, "key_variable": "SOME_KEY", "models": ["victim"]},
        "large": {"base_url": model_url, "key_variable": "SOME_KEY", "models": NAMES},
        "secure": {"base_url": "https://127.0.0.1:1/v1", "key_variable": "SOME_KEY", "models": ["secure"]},
    }
    settings: dict[str, Any] = {
        "upstreams": table,
        "models": ["victim", "secure", *NAMES],
        "max_streams_per_owner": 1000,
        "max_request_bytes": size,
        "retries": 0,
        "total_s": 86400,
        "max_output_tokens": 100_000,
        "ledger_url": f"sqlite:///{folder}/usage.db",
        "prices": {"victim": {"input": "1", "output": "1"}},
    }
    environment = {"PORT": str(port), "SOME_KEY": "none"}
    for name, value in settings.items():
        environment[f"LLM_STREAM_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    command = ["-m", "gunicorn", "-c", "gunicorn.conf.py", "benchmarks.held.app:app"]
    with process(*command, **environment) as server:
        while not _answers(port):
            if server.poll() is not None:
                raise RuntimeError("the server did not start")
            time.sleep(0.05)
        yield port


def _answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/held").is_success
    except httpx2.TransportError:
        return False


def round_of(options: argparse.Namespace, size: int, ledger: Path, figures: Figures) -> None:
    log_tokens = Settings().max_stream_bytes // EVENT_BYTES * size // 2**20
    with (
        tempfile.TemporaryDirectory() as folder,
        process("benchmarks/held/victims.py", str(options.victims)) as victims,
        process("benchmarks/held/model.py", str(size), str(log_tokens)) as model,
    ):
        shutil.copy(ledger, f"{folder}/usage.db")
        victims_url, (model_url,) = f"http://127.0.0.1:{told(victims)[0]}/v1", told(model)
        with serving(victims_url, model_url, Path(folder), size) as port:
            client = Client(f"http://127.0.0.1:{port}", size)
            told(victims, f"read {port}")
            time.sleep(WARM_S)
            for kind in KINDS:
                if options.only in kind.name:
                    for name, value in measured(client, victims, kind).items():
                        figures.setdefault(kind.name, {}).setdefault(name, []).append(value)
                    if options.verbose:
                        print(kind.name, {k: round(v[-1], 1) for k, v in figures[kind.name].items()}, flush=True)


def measured(client: Client, victims: subprocess.Popen[str], kind: Kind) -> dict[str, float]:
    client.get("/held")
    told(victims, "")
    began = time.monotonic()
    answer: Any = kind.ask(client)
    time.sleep(AFTER_S)
    took = time.monotonic() - began
    late, tokens, _ = map(float, told(victims, ""))
    held = client.get("/held").json()
    if not tokens:
        raise RuntimeError("no token of the other streams arrived, so there is nothing to measure")
    if getattr(answer, "status_code", 200) not in kind.statuses:
        raise RuntimeError(f"{kind.name}: {answer} {answer.text[:300]}")
    time.sleep(min(took, 2.0))
    noise = float(told(victims, "")[0])
    return {"waited": max(0.0, late - noise), "busy": held["busy_ms"], "late": held["late_ms"], "noise": noise}


def table(figures: Figures) -> str:
    bounds = {kind.name: kind.bound for kind in KINDS}
    lines = ["| request | longest wait, ms | median | loop busy, most ms | what bounds it |", "|---|---|---|---|---|"]
    for name, found in figures.items():
        waited = found["waited"]
        shown = f"{max(waited):.0f} | {statistics.median(waited):.0f} | {max(found['busy']):.0f}"
        lines.append(f"| {name} | {shown} | {bounds[name]} |")
    return "\n".join(lines)


def write(figures: Figures, rounds: int) -> None:
    rounded = {name: {k: [round(x, 1) for x in v] for k, v in found.items()} for name, found in figures.items()}
    (ROOT / "benchmarks/holdups.json").write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")
    page = ROOT / "docs/reliability.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{told_about(figures, rounds)}\n\n{table(figures)}\n\n{END}{after}")


def told_about(figures: Figures, rounds: int) -> str:
    load = os.getloadavg()[2]
    longest = [name for name, found in figures.items() if max(found["waited"]) > LIMIT_MS]
    usual = [name for name, found in figures.items() if statistics.median(found["waited"]) > LIMIT_MS]
    busy = [name for name, found in figures.items() if max(found["busy"]) > LIMIT_MS]
    return (
        f"**Of {len(figures)} kinds of requests, {len(busy)} kept the event loop busy for more than"
        f" {LIMIT_MS:.0f} ms.** {len(longest)} made a token wait longer than that in at least one round,"
        f" {len(usual)} in most rounds."
        " `make holdups` measures this again, and fails if a request keeps the loop busy for more than"
        f" {LIMIT_MS:.0f} ms.\n\n"
        "One gevent worker writes ten streams of 50 tokens/s. Meanwhile one client sends a request that is as large as"
        " the default settings allow.\n\n"
        "- **Wait** is how late a token of the ten streams is, minus the same figure without the request. The table has"
        f" the longest wait and the median of {rounds} rounds. Waits include other work of the machine:"
        f" its load was {load:.0f} on {os.cpu_count()} cores in the last 15 minutes.\n"
        "- **Loop busy** is the most CPU time that the event loop's thread spent without a pause. It excludes the time"
        " in which the loop waited for another thread of the worker, such as one that sums a report."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--victims", type=int, default=10)
    parser.add_argument("--ledger", type=Path, help="a file of SQLite that has so many rows already")
    parser.add_argument("--only", default="")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    size = Settings().max_request_bytes
    if options.short:
        options.rounds, options.rows, options.victims, size = 1, 2000, 3, 65536
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        ledger = options.ledger or Path(folder) / "usage.db"
        if not ledger.exists():
            fill(f"sqlite:///{ledger}", options.rows, 365, 1000)
        for number in range(options.rounds):
            round_of(options, size, ledger, figures)
            if not (options.only or options.short):
                write(figures, number + 1)
    if options.short:
        print(json.dumps(figures))
        return
    print(table(figures))
    if slow := [name for name, found in figures.items() if max(found["busy"]) > LIMIT_MS]:
        sys.exit(f"more than {LIMIT_MS:.0f} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
