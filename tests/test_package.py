"""The wheel: it installs, and carries what it needs."""

from __future__ import annotations

import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx2
import pytest

from llm_stream.testing import read_events

from .conftest import ROOT
from .conftest import eventually
from .conftest import free_port
from .conftest import text_of


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True)
    (path,) = folder.glob("flask_llm_stream-*.whl")
    return path


def test_requirements_alone_serve_the_demo(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip = [str(tmp_path / "venv/bin/pip"), "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(ROOT / "requirements.txt")], check=True)
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", "PORT": str(port), "HOME": str(tmp_path)}
    environment["LLM_STREAM_LEDGER_URL"] = f"sqlite:///{tmp_path / 'usage.db'}"
    gunicorn = [str(tmp_path / "venv/bin/gunicorn"), "-c", "gunicorn.conf.py", "wsgi:app"]
    with subprocess.Popen(gunicorn, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: is_listening(port) or process.poll() is not None, "the demo", 30)
            assert process.poll() is None, process.stderr and process.stderr.read()
            body = httpx2.get(f"http://127.0.0.1:{port}/llm/chat?prompt=hi", timeout=20).text
            assert "No model is connected" in text_of(read_events(body.encode()))
        finally:
            process.terminate()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_wheel_holds_the_package_its_types_and_its_static_files_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"llm_stream/py.typed", "llm_stream/static/llm-stream.js", "llm_stream/upstream/payloads.py"} <= names
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
