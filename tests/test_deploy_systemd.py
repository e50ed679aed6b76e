"""deploy/llm.service: systemd accepts it, and its ExecStart tells when it is ready, reloads and stops."""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import Connection
from .conftest import eventually
from .conftest import require
from .deployed import DEPLOY
from .deployed import Deployed
from .deployed import checked
from .deployed import graceful_timeout
from .deployed import seconds

UNIT = DEPLOY / "llm.service"
MOST_EXPOSED = 15
"""In tenths, of the 10 that `systemd-analyze security` counts."""


def here(text: str) -> str:
    """With this project, in its virtual environment, instead of the one in /opt."""
    return text.replace("/opt/llm/.venv/bin", str(Path(sys.executable).parent)).replace("/opt/llm", str(ROOT))


@pytest.fixture
def service() -> dict[str, str]:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return {name: here(value) for name, value in parser["Service"].items()}


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE_S)
        yield listener


def start(service: dict[str, str], upstream: Upstream, folder: Path) -> Deployed:
    environment = dict(item.split("=", 1) for item in shlex.split(service["Environment"]))
    environment["LLM_STREAM_LEDGER_URL"] = environment["LLM_STREAM_LEDGER_URL"].replace("/var/lib/llm", str(folder))
    environment |= {"OPENAI_BASE_URL": upstream.base_url, "NOTIFY_SOCKET": str(folder / "notify")}
    return Deployed(shlex.split(service["ExecStart"]), folder, environment, cwd=Path(service["WorkingDirectory"]))


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(here(UNIT.read_text()))
    assert checked(require("systemd-analyze", "systemd"), "verify", str(unit)) == ""


def test_systemd_finds_it_closed_enough(tmp_path: Path) -> None:
    threshold = f"--threshold={MOST_EXPOSED}"
    checked(require("systemd-analyze", "systemd"), "security", "--offline=yes", "--no-pager", threshold, str(UNIT))


def test_systemd_hears_when_it_is_ready_and_term_lets_an_answer_finish(
    service: dict[str, str], notified: socket.socket, upstream: Upstream, tmp_path: Path
) -> None:
    assert service["Type"] == "notify"
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    with start(service, upstream, tmp_path) as server:
        assert b"READY=1" in notified.recv(4096)
        reading = Connection.get(server.port, "/llm/chat?prompt=hi")
        reading.read_until("Hello")
        server.process.terminate()
        eventually(lambda: "Handling signal: term" in server.log)
        gate.open()
        assert '{"status":"completed"' in reading.read_to_end()
        assert server.process.wait(PATIENCE_S) == 0
        assert (tmp_path / "usage.db").exists(), "the ledger is where the unit has its state"


def test_reload_starts_a_new_worker_while_the_old_one_finishes(
    service: dict[str, str], notified: socket.socket, upstream: Upstream, tmp_path: Path
) -> None:
    gate = Gate()
    upstream.answer("Hello", gate, " world")
    with start(service, upstream, tmp_path) as server:
        reading = Connection.get(server.port, "/llm/chat?prompt=hi")
        reading.read_until("Hello")
        reload = service["ExecReload"].replace("$MAINPID", str(server.process.pid))
        checked(*shlex.split(reload))
        eventually(lambda: server.log.count("Booting worker") == 2)
        upstream.answer("new")
        eventually(lambda: server.get("/llm/readyz").status_code == 200)
        assert '"text":"new"' in server.get("/llm/chat?prompt=hi").text
        gate.open()
        reading.read_until('{"status":"completed"')
        assert server.stop() == 0


def test_systemd_waits_longer_than_gunicorn(service: dict[str, str]) -> None:
    assert seconds(f"{service['TimeoutStopSec']}s") > graceful_timeout() + 5
    assert service["KillMode"] == "mixed"
