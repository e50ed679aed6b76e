"""Answers of workers that were killed: the worker that settles such a stream hands its answer over, once.

Real gunicorn with gevent, a real Valkey.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .databases import SQLite
from .sharers import Sharers
from .sharers import kill_worker
from .sharers import reading
from .stores import StoreServer


def answers_in(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def id_in(connection: Connection) -> str:
    head = connection.read_until("Hello").lower()
    return head.partition("x-llm-stream-id: ")[2].partition("\r\n")[0]


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared log", "memory and ledger"])
def test_lost_workers_answer_is_handed_over_once(
    serve: Callable[..., Server], upstream: Upstream, tmp_path: Path, is_shared: bool
) -> None:
    kept = tmp_path / "answers.jsonl"
    with StoreServer() as store:
        url = store.url() if is_shared else "memory://"
        sharers = Sharers(serve, upstream, url, SQLite(tmp_path))
        servers = [sharers.start(ANSWERS=str(kept)) for _ in range(2 if is_shared else 1)]
        upstream.answer("Hello", Stall())
        stream_id = id_in(reading(servers[0], "/noted?key=k"))
        eventually(lambda: is_shared is False or "Hello" in servers[-1].get(f"/llm/streams/{stream_id}",
                   Accept="application/json").text)  # fmt: skip
        kill_worker(servers[0])
        eventually(lambda: answers_in(kept), "the answer")
        assert sharers.row(stream_id)["status"] == "interrupted"
        upstream.answer("alive")
        servers[0].events()
        eventually(lambda: len(answers_in(kept)) == 2)
        for server in servers:
            server.stop()
    lost, _ = answers_in(kept)
    text = "Hello" if is_shared else ""
    assert lost == {
        "id": stream_id,
        "text": text,
        "status": "interrupted",
        "record": "interrupted",
        "metadata": {"note": 7},
        "key": "k" if is_shared else None,
        "messages": [{"role": "assistant", "content": text}] if text else [],
    }
