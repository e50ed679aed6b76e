"""Checks the ledger's sums: runs many streams with every kind of ending, while workers are killed and the database is
locked or unreachable, and compares the ledger with an upstream that counts the tokens it really sent.

    python -m benchmarks.bill [--streams 10000] [--rate 50] [--url postgresql://…]

Two gevent workers share the ledger. Prints the results, and fails if a promise is broken.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from decimal import Decimal
from pathlib import Path
from typing import Any

from flask import Flask
from flask import request
from sqlalchemy import NullPool
from sqlalchemy import create_engine
from sqlalchemy import event
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from llm_stream import LLMStream
from llm_stream.testing import Cut
from llm_stream.testing import Pause
from llm_stream.testing import Script
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

ROOT = Path(__file__).parent.parent
MODEL = "billed"
PRICES = {MODEL: {"input": "14", "output": "58", "currency": "INR"}}
MOST = 64
"""The maximum output of each request."""

ENDINGS = {
    "finish": 45,
    "finish, unreported": 8,
    "finish, over the maximum": 3,
    "stop": 12,
    "reader gone": 12,
    "cut": 8,
    "stall": 4,
    "error": 4,
    "error in the middle": 4,
}
WORDS = (" the", " of", " and", " water", " light", " house", " never", " under", " people", " great")  # a token each
PACE_S = 0.02
TROUBLE_S = 5.0
PATIENCE_S = 120.0


@dataclass
class Ask:
    """One stream: its planned ending, and its outcome."""

    number: int
    ending: str
    tokens: int
    stop_after: int
    sent: int = 0
    called: int = 0
    reported: dict[str, int] | None = None
    is_unsure: bool = False
    """The worker died before it responded."""
    refusals: int = 0


@dataclass
class Books:
    """The asks, and the upstream's own books."""

    asks: list[Ask] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def script(self, body: Any) -> Script:
        """The upstream's answer. It counts a token once the socket has accepted the token."""
        ask = self.asks[int(body["messages"][0]["content"].split()[0])]
        with self.lock:
            ask.called += 1
        headers = {"x-request-id": f"req-{ask.number}"}
        if ask.ending == "error":
            return Script((), status=random.choice((400, 404, 500)), headers=headers)
        usage = {"prompt_tokens": 7 + ask.number % 50, "completion_tokens": ask.tokens}
        reports = ask.ending not in ("finish, unreported", "finish, over the maximum")

        def steps() -> Iterator[Any]:
            for n in range(ask.tokens):
                yield Pause(PACE_S)
                yield WORDS[(ask.number + n) % len(WORDS)]
                ask.sent += 1
            if ask.ending == "cut":
                yield Cut()
            if ask.ending == "stall":
                yield Stall()
            if ask.ending == "error in the middle":
                yield {"error": {"message": "x", "code": 500}}
                yield Cut()
            if reports:
                ask.reported = usage

        return Script(steps(), headers=headers, usage=usage if reports else False)


def create_app() -> Flask:
    """The app that the workers serve. A header names the owner, so that each row can be matched to its stream."""
    app = Flask("bill")
    llm = LLMStream("llm", __name__, model=MODEL)

    @llm.authorize
    def owner() -> str:
        return request.headers["X-Owner"]

    app.register_blueprint(llm, url_prefix="/llm")
    return app


class Worker:
    """A gunicorn with one gevent worker."""

    def __init__(self, upstream: str, ledger: str, log: Path) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        settings = {"PORT": str(self.port), "OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "none"}
        ours = {"LEDGER_URL": ledger, "PRICES": json.dumps(PRICES), "MAX_OUTPUT_TOKENS": str(MOST), "RETRIES": "0"}
        ours |= {"IDLE_S": "1.5", "FIRST_TOKEN_S": "20", "DISCONNECT_GRACE_S": "0.05"}
        command = [
            str(Path(sys.executable).parent / "gunicorn"),
            "-c",
            "gunicorn.conf.py",
            "benchmarks.bill:create_app()",
        ]
        environment = os.environ | settings | {f"LLM_STREAM_{name}": value for name, value in ours.items()}
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)

    def kill(self) -> None:
        """Kill the worker, as the kernel does when memory runs out. gunicorn starts another one."""
        for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Client:
    """Sends the requests, and behaves as each planned ending requires."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers

    def ask(self, ask: Ask) -> None:
        worker = self._workers[ask.number % len(self._workers)]
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=PATIENCE_S)
            try:
                connection.connect()
            except OSError:  # the worker is being replaced
                time.sleep(0.2)
                continue
            with closing(connection):
                try:
                    if self._read(connection, ask):
                        return
                except (OSError, http.client.HTTPException):
                    ask.is_unsure = True
                    return
            ask.refusals += 1
            time.sleep(1.0)
        raise SystemExit(f"stream {ask.number} was not taken")

    def _read(self, connection: http.client.HTTPConnection, ask: Ask) -> bool:
        """Whether a worker accepted the request."""
        body = json.dumps({"prompt": f"{ask.number} is asked"})
        headers = {"X-Owner": str(ask.number), "Content-Type": "application/json"}
        connection.request("POST", "/llm/chat", body, headers)
        response = connection.getresponse()
        if response.status == 503 and b"ledger_unavailable" in response.read():
            return False
        if response.status != 200:
            return True
        stream, tokens = "", 0
        while line := response.readline():
            if line.startswith(b"data: ") and b'"created"' in line:
                stream = json.loads(line[6:])["id"]
            tokens += line.startswith(b"event: delta")
            if tokens == ask.stop_after and ask.ending == "reader gone":
                return True
            if tokens == ask.stop_after and ask.ending == "stop":
                self._stop(ask, stream)
                tokens += 1
        return True

    def _stop(self, ask: Ask, stream: str) -> None:
        worker = self._workers[ask.number % len(self._workers)]
        with closing(http.client.HTTPConnection("127.0.0.1", worker.port, timeout=PATIENCE_S)) as connection:
            connection.request("DELETE", f"/llm/streams/{stream}", headers={"X-Owner": str(ask.number)})
            connection.getresponse().read()


def lock(url: str) -> None:
    """A foreign transaction that locks the table while the trouble lasts."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    statement = "LOCK TABLE llm_stream_usage IN ACCESS EXCLUSIVE MODE"
    if engine.dialect.name == "sqlite":
        statement = "BEGIN EXCLUSIVE"
        event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
                time.sleep(TROUBLE_S)
                return connection.rollback()
        except DBAPIError:  # the database is unreachable, or has no tables yet
            time.sleep(0.05)


def rows_of(url: str) -> list[dict[str, Any]]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM llm_stream_usage")).mappings()]


def run(streams: int, rate: float, url: str, troubles: list[Callable[[], object]], seed: int = 1) -> dict[str, Any]:
    """`troubles` are spread evenly over the run, in addition to the kills and locks of every run."""
    chance, books = random.Random(seed), Books()
    for number in range(streams):
        (ending,) = chance.choices(list(ENDINGS), list(ENDINGS.values()))
        tokens = 100 if ending == "finish, over the maximum" else chance.randint(35, MOST)
        books.asks.append(Ask(number, ending, tokens, stop_after=chance.randint(25, 34)))
    folder = Path(tempfile.mkdtemp(prefix="llm-stream-bill-"))
    with Upstream(books.script) as upstream, serving(upstream, url, folder / "log") as workers:
        client = Client(workers)
        all_troubles = [workers[0].kill, lambda: lock(url), *troubles, workers[1].kill, lambda: lock(url)]
        seconds = streams / rate
        with ThreadPoolExecutor(1000) as pool, ThreadPoolExecutor(len(all_troubles)) as troublemakers:
            begun = time.monotonic()
            coming = [(seconds * (n + 0.5) / len(all_troubles), trouble) for n, trouble in enumerate(all_troubles)]
            asked = []
            for ask in books.asks:
                time.sleep(max(0.0, begun + ask.number / rate - time.monotonic()))
                while coming and time.monotonic() - begun > coming[0][0]:
                    asked.append(troublemakers.submit(coming.pop(0)[1]))
                asked.append(pool.submit(client.ask, ask))
            for done in asked:
                done.result()
        rows = settled(url)
        known = {row["owner"] for row in rows}
        with ThreadPoolExecutor(50) as pool:  # a worker was killed between taking them and opening their rows
            list(pool.map(client.ask, [ask for ask in books.asks if str(ask.number) not in known and ask.is_unsure]))
        return judge(books.asks, settled(url), seconds)


@contextmanager
def serving(upstream: Upstream, url: str, log: Path) -> Iterator[list[Worker]]:
    workers = [Worker(upstream.base_url, url, log) for _ in range(2)]
    try:
        for worker in workers:
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", worker.port)).close()
                    break
                except OSError:
                    time.sleep(0.1)
        yield workers
    finally:
        for worker in workers:
            worker.stop()


def settled(url: str) -> list[dict[str, Any]]:
    """The rows, as soon as none is open or a timeout has passed."""
    until = time.monotonic() + PATIENCE_S
    while True:
        rows = rows_of(url)
        if time.monotonic() > until or all(row["status"] != "running" for row in rows):
            return rows
        time.sleep(0.5)


def judge(asks: list[Ask], rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    ask_of = {str(ask.number): ask for ask in asks}
    reported = [(row, ask_of[row["owner"]]) for row in rows if row["source"] == "provider"]
    bill = sum(_price(ask.reported) for _, ask in reported if ask.reported)
    estimated = [(row, ask_of[row["owner"]]) for row in rows if row["source"] == "estimated"]
    errors = [
        (row["output_tokens"] - ask.sent) / ask.sent
        for row, ask in estimated
        if ask.sent and ask.ending != "finish, over the maximum"
    ]
    return {
        "streams": len(asks),
        "rows": len(rows),
        "double": len(rows) - len({row["owner"] for row in rows}),
        "open": sum(row["status"] == "running" for row in rows),
        "asked upstream without a row": sum(ask.called > 0 for ask in asks)
        - len({row["owner"] for row in rows if ask_of[row["owner"]].called}),
        "endings": dict(Counter(row["status"] for row in rows).most_common()),
        "figures": dict(Counter(row["source"] for row in rows).most_common()),
        "reported, but other figures in the row": sum(
            ask.reported is None
            or (row["input_tokens"], row["output_tokens"])
            != (ask.reported["prompt_tokens"], ask.reported["completion_tokens"])
            for row, ask in reported
        ),
        "whole and reported, but not so in the row": sum(
            ask_of[row["owner"]].ending == "finish" and row["status"] == "completed" and row["source"] != "provider"
            for row in rows
        ),
        "cost of the reported, INR": str(Decimal(sum(row["cost"] or 0 for row, _ in reported)) / 10**12),
        "bill of the upstream, INR": str(Decimal(bill) / 10**12),
        "estimates": len(errors),
        "estimates off by, on average": round(sum(map(abs, errors)) / max(1, len(errors)), 4),
        "all of them together off by": round(sum(errors) / max(1, len(errors)), 4),
        "estimates above the maximum": sum(row["output_tokens"] > MOST for row, _ in estimated),
        "refused while the database was away": sum(ask.refusals for ask in asks),
        "seconds": seconds,
    }


def _price(reported: dict[str, int]) -> int:
    """The cost in 10^-12 INR, computed independently from the upstream's counts."""
    return (14 * reported["prompt_tokens"] + 58 * reported["completion_tokens"]) * 10**6


def broken_promises(found: dict[str, Any]) -> list[str]:
    zero: tuple[str, ...] = ("double", "open", "asked upstream without a row", "reported, but other figures in the row")
    zero += ("whole and reported, but not so in the row", "estimates above the maximum")
    broken = [name for name in zero if found[name]]
    broken += ["rows"] * (found["rows"] != found["streams"])
    broken += ["cost"] * (found["cost of the reported, INR"] != found["bill of the upstream, INR"])
    broken += ["estimates"] * (found["estimates off by, on average"] > 0.05)
    return broken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--url", help="the ledger; default: a new SQLite file")
    parser.add_argument("--restart", help="a command that makes the database unreachable for some seconds")
    options = parser.parse_args()
    troubles: list[Callable[[], object]] = []
    if options.restart:
        troubles = [lambda: subprocess.run(options.restart, shell=True, check=True)]
    with tempfile.TemporaryDirectory(prefix="llm-stream-bill-") as folder:
        found = run(options.streams, options.rate, options.url or f"sqlite:///{folder}/usage.db", troubles)
    broken = broken_promises(found)
    print(json.dumps(found | {"broken promises": broken}, indent=1))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
