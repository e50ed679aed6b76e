"""What real workers of gunicorn say when they start: one warning for each finding, and nothing where all is well."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from flask import Flask

from llm_stream.server.gunicorn_config import read
from llm_stream.testing import Upstream
from llm_stream.web.doctor.checks import CHECKS
from llm_stream.web.doctor.patient import Patient
from llm_stream.web.doctor.result import result_of
from llm_stream.web.state import EXTENSION

from .conftest import GUNICORN
from .conftest import Server
from .conftest import text_of
from .doctored import HOOKS
from .doctored import config
from .stores import StoreServer

Serve = Callable[..., Server]

PRICED = {"prices": {"openai/gpt-4o-mini": {"input": "1", "output": "1"}, "scripted": {"input": "1", "output": "1"}}}
BETWEEN = " wraps our event streams inside gunicorn, "


def by(path: str, *more: str, app: str = "tests.served:app") -> list[str]:
    return ["{bin}/gunicorn", "-c", path, *more, app]


def told(server: Server) -> list[str]:
    """The names of the checks that have found something, in the order of the log."""
    return re.findall(r"WARNING in doctor: ([a-z-]+): ", server.log)


@pytest.mark.parametrize(
    "command", [GUNICORN, [*GUNICORN[:-1], "--worker-class", "gthread", "--threads", "9", GUNICORN[-1]]]
)
def test_worker_says_nothing_where_all_is_well(upstream: Upstream, serve: Serve, command: list[str]) -> None:
    server = serve(upstream, command=command)
    upstream.answer("Hello")
    assert text_of(server.events()) == "Hello"
    assert "WARNING" not in server.log
    assert BETWEEN not in server.log


def test_flask_run_says_nothing(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=["{bin}/flask", "--app", "tests.served:app", "run", "--port", "{port}"])
    upstream.answer("Hello")
    assert text_of(server.events()) == "Hello"
    assert "WARNING in doctor" not in server.log
    assert BETWEEN not in server.log


def test_each_finding_is_one_line_of_the_log(upstream: Upstream, serve: Serve, tmp_path: Path) -> None:
    wrong = config(
        tmp_path,
        'bind = "0.0.0.0:" + os.environ["PORT"]',
        "worker_connections = 1000",
        "graceful_timeout = 20",
        "timeout = 5",
        "max_requests = 1000",
        "del worker_exit",
    )
    server = serve(upstream, command=by(wrong), FLASK_DEBUG="1", models=["unheard-of"])
    assert told(server) == ["connections", "grace", "timeout", "recycling", "hooks", "prices", "public", "debug"]
    (line,) = (line for line in server.log.splitlines() if "WARNING in doctor: grace: " in line)
    assert line.endswith(
        "graceful_timeout is 20 s, and an answer may take 600 s. A deploy interrupts the answers that take longer."
        " Set graceful_timeout = 630, or lower LLM_STREAM_TOTAL_S."
    )
    upstream.answer("Hello")
    assert text_of(server.events()) == "Hello"


def test_worker_tells_of_a_preloaded_app(upstream: Upstream, serve: Serve, tmp_path: Path) -> None:
    server = serve(upstream, command=by(config(tmp_path, "preload_app = True")))
    assert told(server) == ["preload"]


def test_worker_tells_of_modules_that_gevent_came_too_late_for(
    upstream: Upstream, serve: Serve, tmp_path: Path
) -> None:
    server = serve(upstream, command=by(config(tmp_path, "import llm_stream")))
    assert told(server) == ["patching"]
    assert ", llm_stream" in server.log


def test_worker_tells_of_observers_and_of_several_apps_once(serve: Serve, tmp_path: Path) -> None:
    server = serve(command=by(config(tmp_path), app="tests.observed:app"))
    assert told(server) == ["observers", "prices"]


def test_worker_tells_of_approvals_without_a_key(upstream: Upstream, serve: Serve) -> None:
    with StoreServer() as store:
        shared = {
            "log_url": store.url(),
            "OPENAI_BASE_URL": "",
            "OPENAI_API_KEY": "",
        }  # the demo has tools without a model
        assert told(serve(upstream, **shared)) == ["approvals"]
        assert told(serve(upstream, FLASK_SECRET_KEY="secret", **shared)) == []


def test_worker_tells_of_a_ledger_on_the_network(serve: Serve, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path} nfs4 rw 0 0\n")
    hooks = HOOKS.replace(
        "    llm.post_worker_init(worker)",
        "    from pathlib import Path\n"
        "    from llm_stream.ledger import file_system\n"
        f"    file_system.MOUNTS = Path({str(mounts)!r})\n"
        "    llm.post_worker_init(worker)",
    )
    assert told(serve(command=by(config(tmp_path, start=hooks)))) == ["ledger-place"]


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("generator", "tests.served.stand_between.<locals>.generated"),
        ("map", "builtins.map"),
        ("after_request", "builtins.map"),
    ],
)
def test_what_takes_the_fast_path_away_is_named_once(upstream: Upstream, serve: Serve, what: str, name: str) -> None:
    server = serve(upstream, STANDS_BETWEEN=what)
    for _ in range(3):
        upstream.answer("Hello")
        server.get("/llm/chat?prompt=hi")
    assert server.log.count(BETWEEN) == 1
    assert f"INFO in gunicorn: {name}{BETWEEN}" in server.log


def test_no_check_of_a_worker_fails_for_lack_of_an_app_context(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app = make_app(ledger_url=f"sqlite:///{tmp_path}/usage.db")
    for llm, state in app.extensions[EXTENSION].items():
        patient = Patient(llm, state, partial(read, config(tmp_path)), is_worker=True)
        reasons = [result_of(check, patient).reason for check in CHECKS if check.in_workers]
        assert set(reasons) == {None, "no tool needs approval"}
