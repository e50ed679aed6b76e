"""Tells whether this worker is shutting down."""

from __future__ import annotations

from typing import Any

_workers: list[Any] = []
"""gunicorn's worker object of this process. Empty if the hooks of `llm_stream.worker` have not run."""


def watch(worker: Any) -> None:
    """TERM, HUP and `max_requests` all set `worker.alive` to False."""
    _workers[:] = [worker]


def is_stopping() -> bool:
    return not all(worker.alive for worker in _workers)
