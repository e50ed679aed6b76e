"""A ledger of a million streams, as a year of them might look: `python benchmarks/usage_rows.py sqlite:///usage.db`."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy import insert

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


def rows(count: int, days: int, owners: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Few owners ask for most of it, and one answer in six is not read to its end."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the ledger")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--owners", type=int, default=1000)
    options = parser.parse_args()
    engine = create_engine(options.url)
    schema.tables.create_all(engine)
    batch = []
    with engine.begin() as connection:
        for row in rows(options.rows, options.days, options.owners):
            batch.append(row)
            if len(batch) == BATCH:
                connection.execute(insert(schema.usage), batch)
                batch.clear()
        if batch:
            connection.execute(insert(schema.usage), batch)


if __name__ == "__main__":
    main()
