"""Runs schemathesis against a real server: valid and invalid requests, generated from the OpenAPI description.

schemathesis has its own virtual environment: `make .venv-schemathesis/ready`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_stream.testing import Script
from llm_stream.testing import Upstream
from tests.conftest import ROOT
from tests.conftest import Server

NAME = "Requests made from the OpenAPI description"

PLACE = ROOT / ".venv-schemathesis"
MISSING = "schemathesis is missing: make .venv-schemathesis/ready"

SETTINGS: dict[str, Any] = {
    "heartbeat_s": 0.5, "disconnect_grace_s": 0.5, "idle_s": 5, "max_streams_per_owner": 500, "retention_s": 60,
    "max_retained_bytes": 8_000_000,
}  # fmt: skip
OPTIONS = [
    "--phases", "examples,coverage,fuzzing,stateful", "--workers", "1", "--request-timeout", "20",
    "--generation-database", "none", "--no-color",
]  # fmt: skip


def is_here() -> bool:
    return (PLACE / "ready").exists()


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    with Upstream(lambda asked: Script(("Hello",))) as upstream:
        server = Server(upstream, folder, **SETTINGS)
        try:
            yield server
        finally:
            server.process.kill()
            server.process.wait()


def tried(server: Server, folder: Path, seed: int, *bounds: str) -> subprocess.CompletedProcess[str]:
    """The outcome of schemathesis with all checks, except those that `tests/schemathesis.toml` excludes."""
    program = [str(PLACE / "bin" / "schemathesis"), "--config-file", str(ROOT / "tests" / "schemathesis.toml")]
    command = [*program, "run", f"{server.url}/llm/openapi.json", "--seed", str(seed), *OPTIONS, *bounds]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def run(seconds: float, seed: int) -> dict[str, int | float]:
    if not is_here():
        print(MISSING, file=sys.stderr)
        return {}
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as server:
        done = tried(server, Path(name), seed, "--max-time", str(max(1, int(seconds))), "--continue-on-failure")
        counts: dict[str, int | float] = {"operations": count("Tested", done.stdout)}
        counts |= {"requests": count(r"(?<=\s)", done.stdout, " generated"), "answers bought": len(server.records())}
        faults = count(r"(?<=\s)", done.stdout, " unique failure") or int(done.returncode != 0)
        faults += server.log.count("Traceback")
        if faults:
            print(done.stdout, done.stderr, server.log[-3000:], file=sys.stderr)
        return {**counts, "faults": faults}


def count(before: str, text: str, after: str = "") -> int:
    """The number between two patterns; 0 if there is none."""
    found = re.search(rf"{before}:?\s*(\d+){after}", text)
    return int(found[1]) if found else 0
