"""The description is valid, and the server does what it says: schemathesis makes thousands of requests of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fuzzing import routes

from .conftest import Server
from .conftest import eventually
from .conftest import missing


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not routes.is_here():
        missing(routes.MISSING)
    with routes.served(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_description_is_valid(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_bytes(server.get("/llm/openapi.json").content)
    validator = routes.PLACE / "bin" / "openapi-spec-validator"
    done = subprocess.run([str(validator), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_server_does_what_its_description_says(server: Server, tmp_path: Path) -> None:
    done = routes.tried(server, tmp_path, 1, "--max-examples", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert routes.count(r"(?<=\s)", done.stdout, " generated") > 1000
    eventually(server.at_rest)
    assert "Traceback" not in server.log
