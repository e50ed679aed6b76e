"""The chaos run's app: a header names the owner, each hook writes a file, and one view shows the worker's leaks."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import threading
from collections import Counter
from pathlib import Path
from time import time_ns
from typing import Any

from flask import Flask
from flask import Response
from flask import jsonify
from flask import request

from llm_stream import LLMStream
from llm_stream import UsageRecord
from llm_stream.core import streams
from llm_stream.core.followed import Followed
from llm_stream.core.reader import Reader

THREADS_OF_THE_WORKER = {f"llm_stream {name}" for name in ("drain", "ledger", "lease", "log", "inbox")}
WARM = 10
"""After this many streams a worker has loaded all modules and caches."""


class Memory:
    """Measures how much the worker's memory has grown since it was warm, in KiB."""

    def __init__(self) -> None:
        self._streams = 0
        self._warm: int | None = None

    def count(self) -> None:
        self._streams += 1
        if self._streams == WARM:
            self._warm = resident()

    def grown(self) -> int:
        return 0 if self._warm is None else resident() - self._warm


def resident() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def files() -> dict[str, int]:
    """The open file descriptors by their targets; sockets by their two ports."""
    kinds: Counter[str] = Counter()
    connections = dict(_connections())
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:  # the descriptor of the directory listing itself
            continue
        kinds[connections.get(name, name.partition(":")[0])] += 1
    return dict(kinds)


def _connections() -> list[tuple[str, str]]:
    found = []
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        here, there = (int(end.partition(":")[2], 16) for end in fields[1:3])
        found.append((f"socket:[{fields[9]}]", f"{here} to {there}"))
    return found


def left(memory: Memory) -> dict[str, Any]:
    """Whether a thread is ours, by its name. Under gevent it is a greenlet."""
    # the next stream's start removes expired streams
    for kept in streams.every():
        with kept._lock:
            kept._forget_expired()
    gc.collect()
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("llm_stream")}
    objects = [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, (Followed, Reader))]
    return {
        "pid": os.getpid(),
        "threads": sorted(names - THREADS_OF_THE_WORKER),
        "slots": sum(kept._running.total() for kept in streams.every()),
        "objects": dict(Counter(objects)),
        "files": files(),
        "grown": memory.grown(),
    }


def create_app() -> Flask:
    app = Flask("chaos")
    llm = LLMStream("llm", __name__, model="chaos")
    memory = Memory()

    @llm.authorize
    def owner() -> str:
        return request.headers["X-Owner"]

    @llm.on_usage
    def write_down(record: UsageRecord) -> None:
        memory.count()
        text = json.dumps({"id": record.id, "status": record.status, "pid": os.getpid()})
        (Path(os.environ["CHAOS_HOOKS"]) / f"{record.id}-{os.getpid()}-{time_ns()}").write_text(text)

    @app.get("/left")
    def show_left() -> Response:
        return jsonify(left(memory))

    app.register_blueprint(llm, url_prefix="/llm")
    return app
