"""Finds leaks after all streams have ended: in the ledger, the engine, the upstream and the workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .house import House
from .witness import Witness

MOST_GROWN_KIB = 32 * 1024
"""How much a worker's memory may grow after its tenth stream: arenas, caches, a second connection to a database."""

MOST_FILES = 24
"""The maximum of open files other than sockets: the log, pipes, event loops and mapped files."""

MOST_CONNECTIONS = 116
"""The maximum of connections to the upstream, engine and database. Up to 100 idle upstream ones stay for a minute."""


def judge_ledger(tables: Mapping[str, list[dict[str, Any]]], witness: Witness) -> None:
    for row in tables["llm_stream_reservations"]:
        witness.fault("reservations left", str(row))
    spent: dict[str, int] = {}
    for row in tables["llm_stream_budgets"]:
        if row["reserved"]:
            witness.fault("reservations left", str(row))
        if len(row["period"]) == len("2026-11-22"):
            spent[row["owner"]] = spent.get(row["owner"], 0) + row["spent"]
    for owner, cost in _costs(tables["llm_stream_usage"]).items():
        if cost > spent.get(owner, 0):
            witness.fault("budgets that miss a cost", f"{owner}: {cost}, {spent.get(owner)}", int(owner[1:]))


def _costs(rows: list[dict[str, Any]]) -> dict[str, int]:
    costs: dict[str, int] = {}
    for row in rows:
        costs[row["owner"]] = costs.get(row["owner"], 0) + (row["cost"] or 0)
    return costs


def judge_keys(client: Any, witness: Witness) -> int:
    """Return the number of keys."""
    names = [name.decode() for name in client.scan_iter(count=1000)]
    for name in names:
        if client.ttl(name) == -1:
            witness.fault("keys without an expiry", name)
        if ":running:" in name or ":slots:" in name:
            witness.fault("keys left of streams that ended", f"{name} {_value(client, name)}")
    return len(names)


def _value(client: Any, name: str) -> Any:
    return client.hgetall(name) if ":running:" in name else client.zrange(name, 0, -1, withscores=True)


def judge_worker(house: House, number: int, left: Mapping[str, Any], witness: Witness) -> None:
    who, port = f"server {number} of {house.name}", house.servers[number].port
    if left["threads"] or left["slots"]:
        witness.fault("threads or slots left in a worker", f"{who}: {left}")
    if left["objects"]:
        witness.fault("streams or readers left in a worker", f"{who}: {left}")
    sockets = {name: count for name, count in left["files"].items() if " to " in name}
    of_clients = sum(count for name, count in sockets.items() if name.startswith(f"{port} to") and name[-2:] != " 0")
    others = sum(count for name, count in sockets.items() if not name.startswith(f"{port} to"))
    files = sum(left["files"].values()) - sum(sockets.values())
    if of_clients > 1 or others > MOST_CONNECTIONS or files > MOST_FILES:  # one client connection is this request
        witness.fault("files left in a worker", f"{who}: {left['files']}")
    if left["grown"] > MOST_GROWN_KIB:
        witness.fault("memory left in a worker", f"{who}: {left['grown']} KiB")
