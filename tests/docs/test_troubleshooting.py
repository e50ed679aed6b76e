"""docs/troubleshooting.md: each command shows the symptom that its section is about.

Proxies, sync workers, waitress and deploys are in tests/test_proxies.py, test_servers.py and test_shutdown.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import ROOT
from ..conftest import Connection
from ..conftest import eventually
from ..conftest import require
from ..pages import Running
from ..pages import page

RUNS = {"docs/troubleshooting.md": ["console"]}

PAGE = page("docs/troubleshooting.md")
GUNICORN = f"gunicorn -c {ROOT}/gunicorn.conf.py --bind 127.0.0.1:8000 app:app"
CHANGES = re.compile(r"[0-9a-f]{12,}|…")
"""Ids."""

Serving = Callable[..., Running]


@pytest.fixture
def serving(upstream: Upstream, tmp_path: Path) -> Iterator[Serving]:
    """The program of the README, whose model the settings may name: `serving(idle_s=1)`."""
    program = page("README.md").files()["app.py"].replace(', model="gpt-4o-mini"', "")
    (tmp_path / "app.py").write_text(program)
    require("curl", "curl")
    started: list[Running] = []

    def start(command: str = GUNICORN, **settings: object) -> Running:
        settings.setdefault("model", "gpt-4o-mini")
        names = {f"LLM_STREAM_{name.upper()}": str(value) for name, value in settings.items()}
        started.append(Running(command, tmp_path, OPENAI_BASE_URL=upstream.base_url, **names).__enter__())
        return started[-1]

    yield start
    for server in started:
        server.__exit__()


def command_and_output(holding: str) -> tuple[str, str]:
    command, _, output = PAGE.block("console", holding).removeprefix("$ ").partition("\n")
    return f"{command}; true", output


def run(server: Running, holding: str) -> str:
    """What the page's command prints. It must be what the page shows."""
    command, shown = command_and_output(holding)
    printed = server.shell(command)
    if shown:
        assert CHANGES.sub("…", printed).strip() == CHANGES.sub("…", shown).strip()
    return printed


@contextmanager
def running_answer(server: Running, upstream: Upstream) -> Iterator[None]:
    gate = Gate()
    upstream.answer("Hello", gate)
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("Hello")
    yield
    gate.open()
    reading.read_until("event: done")


def test_refusals_are_those_of_the_page(upstream: Upstream, serving: Serving) -> None:
    server = serving(max_streams_per_owner=1)
    for symptom in ("Origin:", "/streams/0123", "seq 9000", "readyz"):
        run(server, symptom)
    assert not upstream.requests
    with running_answer(server, upstream):
        assert "too_many_streams" in run(server, "-X POST")
    assert "request refused: too_many_streams" in server.log


def test_origin_that_is_listed_may_ask(upstream: Upstream, serving: Serving) -> None:
    (origins,) = re.findall(r"`LLM_STREAM_ORIGINS='(.*?)'`", PAGE.text)
    server = serving(origins=origins)
    upstream.answer("Hello")
    assert "event: done" in server.shell(command_and_output("Origin:")[0])


def test_lines_have_their_times_and_a_key_buys_once(upstream: Upstream, serving: Serving) -> None:
    server = serving()
    upstream.answer("Hel", "lo")
    times = run(server, "date +%T").splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d( |$)", line) for line in times)
    assert any(line.endswith("event: done") for line in times)
    upstream.answer("Hello")
    first, second = run(server, "key=").split()
    assert first == second
    assert len(upstream.requests) == 2


def test_answer_that_curl_leaves_is_abandoned(upstream: Upstream, serving: Serving) -> None:
    server = serving(disconnect_grace_s=0.1)
    upstream.answer("1", Stall())
    run(server, "--max-time 1")
    server.line("status=abandoned")


def test_log_names_the_deadline_of_a_silent_model(upstream: Upstream, serving: Serving) -> None:
    server = serving(idle_s=0.2)
    upstream.answer("Hello", Stall())
    assert "timed_out" in server.get("/llm/chat?prompt=hi").text
    server.line("error=idle_timeout")
    assert "error=idle_timeout" in run(server, "WORKER TIMEOUT")


def test_cost_and_usage_that_are_not_known_are_told(upstream: Upstream, serving: Serving) -> None:
    upstream.answer("Hello", usage=False)
    server = serving(model="never-heard-of")
    server.get("/llm/chat?prompt=hi")
    line = server.line("status=completed")
    assert "tokens=estimated" in line
    assert "cost=unknown" in line


def test_doctor_shows_what_keeps_gunicorn_from_serving(serving: Serving) -> None:
    server = serving()
    for symptom in ("--worker-class sync", "--graceful-timeout 30", "LLM_STREAM_HEARTBEATS"):
        run(server, symptom)
    command, _ = command_and_output("llm doctor\n")
    assert "worker-class" in server.shell(command)


def test_several_workers_without_redis_are_told_by_readyz(serving: Serving, upstream: Upstream) -> None:
    server = serving("gunicorn -c /dev/null --no-control-socket -w 2 --bind 127.0.0.1:8000 app:app")
    assert server.get("/llm/readyz").json() == {"status": "several_processes"}
    assert server.post().json()["error"]["code"] == "several_processes"
    eventually(lambda: "several_processes" in server.log)
    assert not upstream.requests
