"""The wheel: it installs, carries what it needs, and serves without the repository."""

from __future__ import annotations

import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx2
import pytest

from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import eventually
from .conftest import of_kind
from .conftest import text_of
from .pages import page
from .ports import free_port


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True)
    (path,) = folder.glob("flask_llm_stream-*.whl")
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment that holds the wheel, what it needs, and gunicorn."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/pip"), "install", "-q", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, f"{wheel}[gunicorn]"], check=True)
    return folder / "bin"


def test_installed_wheel_serves_the_smallest_program_of_the_readme(
    upstream: Upstream, installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "smallest.py").write_text(page("README.md").block("python", "def owner"))
    port = free_port()
    environment = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "none"}
    gunicorn = [str(installed / "gunicorn"), "-k", "gevent", "-b", f"127.0.0.1:{port}", "smallest:app"]
    upstream.answer("Hello")
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen(gunicorn, cwd=tmp_path, env=environment, stderr=output) as process:
        try:
            eventually(lambda: is_listening(port) or process.poll() is not None, "the program")
            assert process.poll() is None, log.read_text()
            events = read_events(httpx2.get(f"http://127.0.0.1:{port}/llm/chat?prompt=hi", timeout=PATIENCE_S).content)
            module = httpx2.get(f"http://127.0.0.1:{port}/llm/static/llm-stream.js", timeout=PATIENCE_S)
        finally:
            process.terminate()
    assert text_of(events) == "Hello" and of_kind(events, "done")["status"] == "completed"
    assert module.status_code == 200
    assert str(ROOT) not in log.read_text()


def test_installed_wheel_needs_no_tokenizer(installed: Path, tmp_path: Path) -> None:
    program = "import llm_stream; from llm_stream.usage import tokenizer; print(tokenizer.serving().name)"
    python = [str(installed / "python"), "-W", "error", "-c", program]
    done = subprocess.run(python, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "the text's length\n"
    assert "pip install toktok-rs" in done.stderr


def test_wheel_from_the_sdist_is_the_wheel_from_the_tree(built: Path, wheel: Path) -> None:
    (from_sdist,) = built.glob("*.whl")
    assert contents(from_sdist) == contents(wheel)


def test_sdist_holds_the_tests_and_nothing_that_git_ignores(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "tests/conftest.py", "templates/chat.html"} <= names
    assert not [name for name in names if "__pycache__" in name or ".venv" in name or name.endswith(".db")]


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_requirements_alone_serve_the_demo(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip = [str(tmp_path / "venv/bin/pip"), "install", "-q", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, "-r", str(ROOT / "requirements.txt")], check=True)
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", "PORT": str(port), "HOME": str(tmp_path)}
    environment["LLM_STREAM_LEDGER_URL"] = f"sqlite:///{tmp_path / 'usage.db'}"
    gunicorn = [str(tmp_path / "venv/bin/gunicorn"), "-c", "gunicorn.conf.py", "wsgi:app"]
    with subprocess.Popen(gunicorn, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: is_listening(port) or process.poll() is not None, "the demo")
            assert process.poll() is None, process.stderr and process.stderr.read()
            body = httpx2.get(f"http://127.0.0.1:{port}/llm/chat?prompt=hi", timeout=PATIENCE_S).text
            assert "No model is connected" in text_of(read_events(body.encode()))
        finally:
            process.terminate()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_wheel_holds_the_package_its_types_and_its_static_files_and_nothing_else(wheel: Path) -> None:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "llm_stream").rglob("*") if path.is_file()}
    carried = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert {"llm_stream/py.typed", "llm_stream/static/llm-stream.js"} <= carried
    assert carried == {name for name in files if not name.endswith(".pyc")}
