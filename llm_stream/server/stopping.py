"""Whether the server has told this worker to stop."""

from __future__ import annotations

from typing import Any

_workers: list[Any] = []
"""gunicorn's worker of this process, where the hooks of `llm_stream.worker` have shown it."""


def watch(worker: Any) -> None:
    """TERM, HUP and `max_requests` all set `worker.alive` to False."""
    _workers[:] = [worker]


def is_stopping() -> bool:
    return not all(worker.alive for worker in _workers)
