"""Measures how long the usage page takes for a year with a million streams.

python -m benchmarks.usage_page [--rows 1000000] [--url postgresql://…]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from itertools import islice
from time import perf_counter
from time import sleep
from typing import Any

from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy import insert
from sqlalchemy import text

from llm_stream import LLMStream
from llm_stream.ledger import schema

MODELS = {  # 10^-12 dollars per token, in and out
    "openai/gpt-4o-mini": (150_000, 600_000),
    "openai/gpt-4o": (2_500_000, 10_000_000),
    "openai/gpt-5-mini": (250_000, 2_000_000),
    "anthropic/claude-sonnet-4.5": (3_000_000, 15_000_000),
    "google/gemini-2.5-flash": (300_000, 2_500_000),
    "meta-llama/llama-3.3-70b-instruct": (130_000, 390_000),
    "mistralai/mistral-small": (100_000, 300_000),
}
STATUSES = ["completed", "incomplete", "cancelled", "abandoned", "failed", "timed_out", "over_budget", "interrupted"]
BATCH = 20_000

VIEWS = {
    "30 days, for the first time": "/usage",
    "30 days": "/usage",
    "30 days, one owner": "/usage?owner=user-00000@example.com",
    "a year, for the first time": "/usage?since=1y",
    "a year": "/usage?since=1y",
    "a year, one model": "/usage?since=1y&model=openai/gpt-4o",
    "a year, one owner": "/usage?since=1y&owner=user-00000@example.com",
    "a year, as JSON": "/usage.json?since=1y",
}


def rows(count: int, days: int, owners: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Rows in which few owners have most streams, and one answer in six is not read to its end."""
    pick = random.Random(seed)
    names = [f"user-{n:05}@example.com" for n in range(owners)]
    now = datetime.now(UTC)
    for n in range(count):
        started = now - timedelta(days=days * (1 - n / count))
        model = pick.choices(list(MODELS), (40, 10, 15, 10, 15, 6, 4))[0]
        status = pick.choices(STATUSES, (80, 4, 6, 5, 3, 1, 0.5, 0.5))[0]
        tokens_in, tokens_out = int(pick.lognormvariate(6.5, 1)), int(pick.lognormvariate(5.5, 0.8))
        priced = model in list(MODELS)[:6] and status != "failed"
        price_in, price_out = MODELS[model]
        ttft = None if status == "failed" else pick.lognormvariate(-0.7, 0.6)
        duration = (ttft or 0.2) + tokens_out / 80
        yield {
            "id": f"{n:08x}{pick.getrandbits(64):016x}",
            "llm": "llm",
            "worker": f"host-{n % 4}",
            "owner": names[min(int(pick.paretovariate(0.6)) - 1, owners - 1)],
            "model": model,
            "upstream_model": model.rpartition("/")[2],
            "request_id": f"gen-{int(started.timestamp())}-{pick.getrandbits(64):016x}",
            "status": status,
            "source": "provider" if status == "completed" else "estimated",
            "finish_reason": {"completed": "stop", "incomplete": "length"}.get(status),
            "error_code": "upstream_cut" if status == "failed" else None,
            "input_tokens": tokens_in,
            "cached_tokens": tokens_in // 2,
            "output_tokens": tokens_out,
            "reasoning_tokens": tokens_out // 4,
            "cost": tokens_in * price_in + tokens_out * price_out if priced else None,
            "currency": "USD" if priced else None,
            "price_source": "genai-prices 0.2" if priced else None,
            "ttft_s": ttft,
            "duration_s": duration,
            "started": started,
            "ended": started + timedelta(seconds=duration),
            "day": f"{started:%Y-%m-%d}",
            "was_read": status not in ("abandoned",) and pick.random() > 0.05,
        }


def fill(url: str, count: int, days: int, owners: int) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    schema.tables.create_all(engine)
    with engine.begin() as connection:
        made = rows(count, days, owners)
        while batch := list(islice(made, BATCH)):
            connection.execute(insert(schema.usage), batch)
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE llm_stream_usage"))


def seconds_of(url: str) -> dict[str, float]:
    """The time of each view, one after another. Later views use the sums that earlier views stored."""
    app = Flask("usage")
    app.config.update(LLM_STREAM_PUBLIC=True, LLM_STREAM_LEDGER_URL=url)
    llm = LLMStream("llm", __name__, model="none")
    llm.authorize_usage(lambda: True)
    app.register_blueprint(llm)
    client, seconds = app.test_client(), {}
    for name, path in VIEWS.items():
        begun = perf_counter()
        answer = client.get(path)
        seconds[name] = round(perf_counter() - begun, 2)
        assert answer.status_code == 200, answer.text
        sleep(1)  # the worker writes the sums of the days in the background
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="the URL of an empty database; default: a new SQLite file")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--owners", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llm-stream-usage-") as folder:
        url = options.url or f"sqlite:///{folder}/usage.db"
        fill(url, options.rows, options.days, options.owners)
        print(json.dumps(seconds_of(url), indent=1))


if __name__ == "__main__":
    main()
