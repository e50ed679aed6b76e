"""The description is valid, and the server does what it says: schemathesis makes thousands of requests of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_stream.testing import Script
from llm_stream.testing import Upstream

from .conftest import ROOT
from .conftest import Server
from .conftest import eventually
from .conftest import missing

PLACE = ROOT / ".venv-schemathesis"
PHASES = "examples,coverage,fuzzing,stateful"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not (PLACE / "ready").exists():
        missing("schemathesis is missing: make .venv-schemathesis/ready")
    with Upstream(lambda request: Script(("Hello",))) as upstream:
        short: dict[str, Any] = {"heartbeat_s": 0.5, "disconnect_grace_s": 0.5, "idle_s": 5}
        server = Server(upstream, tmp_path_factory.mktemp("server"), max_streams_per_owner=100, **short)
        yield server
        assert server.stop() == 0


def run(program: str, *arguments: str, cwd: Path) -> None:
    command = [str(PLACE / "bin" / program), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_description_is_valid(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_bytes(server.get("/llm/openapi.json").content)
    run("openapi-spec-validator", str(path), cwd=tmp_path)


def test_server_does_what_its_description_says(server: Server, tmp_path: Path) -> None:
    settings = ["--config-file", str(ROOT / "tests" / "schemathesis.toml")]
    bounds = ["--phases", PHASES, "--max-examples", "3", "--seed", "1", "--workers", "2", "--request-timeout", "20"]
    quiet = ["--generation-database", "none", "--no-color"]
    run("schemathesis", *settings, "run", f"{server.url}/llm/openapi.json", *bounds, *quiet, cwd=tmp_path)
    eventually(server.at_rest)
    assert "Traceback" not in server.log
