"""Calculates the resources for a hundred thousand streams at once from the figures of `shared_log.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass

MONTH_H = 730
GIB = 2**30


@dataclass(frozen=True)
class Load:
    """The assumed load."""

    streams: int = 100_000
    per_s: int = 50
    """Tokens per second of each stream."""
    tokens: int = 500
    """Tokens of an answer."""
    retention_s: float = 600
    """LLM_STREAM_RETENTION_S: how long a finished answer is kept."""


@dataclass(frozen=True)
class Assumptions:
    """Assumptions that are not measured. Prices are round figures for rented machines: replace them with your own."""

    worker_busy: float = 0.6
    """The share of a core that a worker may use without delaying tokens."""
    engine_busy: float = 0.5
    engine_gib: float = 16
    """The maximum memory of one shard."""
    engine_copies: int = 2
    """Each shard and its replica."""
    worker_gib: float = 0.25
    """The memory of a worker without streams."""
    vcpu_hour: float = 0.04
    gib_hour: float = 0.005
    gib_sent: float = 0.01
    """The price of traffic to an engine in another zone, in both directions."""
    currency: str = "$"


@dataclass(frozen=True)
class Costs:
    """The measured figures of one way."""

    worker_us_per_token: float
    worker_ms_per_stream: float
    engine_us_per_event: float
    engine_us_per_stream: float
    commands_per_event: float
    bytes_per_event: float
    """Both ways."""
    engine_bytes_per_event: float
    engine_bytes_per_stream: float
    worker_kib_per_stream: float


def needs(load: Load, costs: Costs, given: Assumptions) -> dict[str, float]:
    """The rows of the table."""
    events_per_s = load.streams * load.per_s
    begun_per_s = events_per_s / load.tokens
    worker_cores = (events_per_s * costs.worker_us_per_token + begun_per_s * 1000 * costs.worker_ms_per_stream) / 1e6
    workers = math.ceil(worker_cores / given.worker_busy)
    worker_gib = workers * given.worker_gib + load.streams * costs.worker_kib_per_stream * 1024 / GIB
    engine_cores = (events_per_s * costs.engine_us_per_event + begun_per_s * costs.engine_us_per_stream) / 1e6
    ended = begun_per_s * load.retention_s
    events_kept = load.streams * load.tokens / 2 + ended * load.tokens  # running streams are half done on average
    stream_bytes = (load.streams + ended) * costs.engine_bytes_per_stream
    engine_gib = (events_kept * costs.engine_bytes_per_event + stream_bytes) / GIB
    shards = math.ceil(max(engine_cores / given.engine_busy, engine_gib / given.engine_gib))
    machines = shards * given.engine_copies
    hourly = (workers + machines) * given.vcpu_hour
    hourly += (worker_gib + engine_gib * given.engine_copies) * given.gib_hour
    bytes_per_s = events_per_s * costs.bytes_per_event
    hourly_traffic = bytes_per_s * 3600 / GIB * given.gib_sent
    token_hours = events_per_s * 3600 / 1e6
    return {
        "tokens/s": events_per_s,
        "answers begun/s": begun_per_s,
        "workers, a core each": workers,
        "memory of the workers, GiB": worker_gib,
        "commands/s": events_per_s * costs.commands_per_event,
        "cores that the engine keeps busy": engine_cores,
        "answers kept": load.streams + ended,
        "memory of the engine, GiB": engine_gib,
        "shards, without replicas": shards,
        "to and from the engine, MB/s": bytes_per_s / 1e6,
        f"{given.currency} an hour, machines": hourly,
        f"{given.currency} an hour, if all traffic leaves the zone": hourly_traffic,
        f"{given.currency} per million tokens": hourly / token_hours,
        f"{given.currency} a month": hourly * MONTH_H,
    }


def costs_of(figures: dict[str, float], paced: str, worker_kib_per_stream: float) -> Costs:
    """Reads the figures of one way. `paced` names the rows whose streams have the load's pace."""
    return Costs(
        worker_us_per_token=figures[f"{paced}: server CPU µs/token"],
        worker_ms_per_stream=figures["request: server CPU ms"],
        engine_us_per_event=figures[f"{paced}: engine CPU µs/event"],
        engine_us_per_stream=figures["request: engine CPU µs"],
        commands_per_event=figures[f"{paced}: commands/event"],
        bytes_per_event=figures[f"{paced}: bytes to the engine/event"]
        + figures[f"{paced}: bytes from the engine/event"],
        engine_bytes_per_event=figures["kept: engine bytes/event"],
        engine_bytes_per_stream=figures["kept: engine bytes/stream beside its events"],
        worker_kib_per_stream=worker_kib_per_stream,
    )
