"""The wheel: it installs, and carries what it needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True)
    (path,) = folder.glob("flask_llm_stream-*.whl")
    return path


def test_wheel_holds_the_package_its_types_and_its_static_files_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"llm_stream/py.typed", "llm_stream/static/llm-stream.js", "llm_stream/upstream/sse.py"} <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"llm_stream", "flask_llm_stream"}


def test_installed_wheel_serves_its_static_files(wheel: Path, tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--target",
            str(tmp_path / "site"),
            str(wheel),
        ],
        check=True,
    )
    program = """
import flask, llm_stream
assert llm_stream.__file__.startswith(%r), llm_stream.__file__
app = flask.Flask("x"); app.config["LLM_STREAM_PUBLIC"] = True
app.register_blueprint(llm_stream.LLMStream("llm", "x", model="m"), url_prefix="/llm")
print(app.test_client().get("/llm/static/llm-stream.js").status_code)
"""
    site = str(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program % site],
        cwd=tmp_path,
        env={"PYTHONPATH": site, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "200"
