"""`flask llm doctor`: how gunicorn serves the app, by the configuration that gunicorn itself would read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from llm_stream import LLMStream

from .conftest import ROOT
from .doctored import config
from .doctored import opinion

MakeApp = Callable[..., Flask]

SERVING = [
    "patching",
    "worker-class",
    "preload",
    "workers",
    "connections",
    "files",
    "grace",
    "timeout",
    "recycling",
    "hooks",
]


@pytest.fixture(autouse=True)
def nothing_of_gunicorn_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("check", "line", "status", "what"),
    [
        ("patching", "import httpx2, llm_stream", "error", "llm_stream"),
        ("worker-class", 'worker_class = "sync"', "error", "sync workers"),
        ("worker-class", 'worker_class = "gthread"', "error", "one thread"),
        ("preload", "preload_app = True", "error", "preload_app is on"),
        ("workers", "workers = 3", "error", "several workers (3)"),
        ("workers", "reuse_port = True", "error", "several workers"),
        ("connections", "worker_connections = 1000", "warning", "LLM_STREAM_MAX_STREAMS is 1000"),
        ("grace", "graceful_timeout = 30", "warning", "graceful_timeout is 30 s, and an answer may take 600 s"),
        ("timeout", "timeout = 2", "warning", "timeout is 2 s"),
        ("timeout", "timeout = 0", "warning", "timeout is 0 s"),
        ("recycling", "max_requests = 1000", "warning", "max_requests is 1000"),
        ("hooks", "del worker_exit", "warning", "worker_exit"),
        ("hooks", "def worker_int(worker): print(worker)", "warning", "worker_int"),
    ],
)
def test_one_wrong_setting_is_one_finding(
    make_app: MakeApp, tmp_path: Path, check: str, line: str, status: str, what: str
) -> None:
    said = opinion(make_app(), "--offline", "--gunicorn-config", config(tmp_path, line))
    assert said[check]["status"] == status
    assert what in said[check]["what"]
    assert said[check]["causes"] and said[check]["advice"]
    assert [name for name in SERVING if "what" in said[name]] == [check]


@pytest.mark.parametrize(
    "lines",
    [
        ['worker_class = "gthread"', "threads = 50", "worker_connections = 1000"],
        ['worker_class = "sync"', "threads = 50"],  # which gunicorn runs as gthread
        ["from gevent import monkey", "monkey.patch_all()", "import http.client, llm_stream"],
        ["import decimal, json, msgspec, multiprocessing"],
        ["from llm_stream.worker import worker_exit, worker_int" + "\n" + 'worker_class = "gthread"; threads = 2'],
        ["def ours(worker): llm_stream_hook(worker)", "llm_stream_hook = post_worker_init", "post_worker_init = ours"],
    ],
    ids=["gthread", "sync with threads", "patched first", "harmless imports", "hooks as they are", "hook by a helper"],
)
def test_what_is_well_is_called_well(make_app: MakeApp, tmp_path: Path, lines: list[str]) -> None:
    said = opinion(make_app(), "--offline", "--gunicorn-config", config(tmp_path, *lines))
    assert [said[name] for name in SERVING if said[name]["status"] != "ok"] == []


def test_several_workers_may_share_a_log(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(log_url="redis://127.0.0.1:1/0")
    several = config(tmp_path, "workers = 3", "max_requests = 1000")
    said = opinion(app, "--offline", "--gunicorn-config", several)
    assert said["workers"]["status"] == said["recycling"]["status"] == "ok"


def test_configuration_is_the_one_that_gunicorn_would_read(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    monkeypatch.chdir(ROOT)
    assert opinion(app, "--offline")["grace"]["status"] == "ok"
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--graceful-timeout 7")
    assert "graceful_timeout is 7 s" in opinion(app, "--offline")["grace"]["what"]
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert "several workers (2)" in opinion(app, "--offline")["workers"]["what"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"-c {config(tmp_path, 'timeout = 3')}")
    assert "timeout is 3 s" in opinion(app, "--offline")["timeout"]["what"]


def test_app_that_gunicorn_does_not_serve_has_no_findings_about_it(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = opinion(make_app(prices={"scripted": {"input": "1", "output": "1"}}), status=0)
    assert {said[name]["status"] for name in [*SERVING, "fast-path", "public"]} == {"not checked"}
    assert "there is no gunicorn.conf.py here" in said["grace"]["reason"]
    assert {result["status"] for result in said.values()} == {"ok", "not checked"}


@pytest.mark.parametrize(
    ("line", "reason"), [("1 / 0", "Failed to read"), ("threads = 'many'", "threads"), ("import sys; sys.exit(7)", "7")]
)
def test_configuration_that_gunicorn_cannot_read_is_not_checked(
    make_app: MakeApp, tmp_path: Path, line: str, reason: str
) -> None:
    said = opinion(make_app(), "--offline", "--gunicorn-config", config(tmp_path, line))
    assert said["grace"]["status"] == "not checked"
    assert "gunicorn cannot read its configuration" in said["grace"]["reason"]


def test_configuration_that_prints_and_patches_does_so_elsewhere(make_app: MakeApp, tmp_path: Path) -> None:
    noisy = config(tmp_path, "print('hello')", "import gevent.monkey", "gevent.monkey.patch_all()", "print('{}')")
    assert opinion(make_app(), "--offline", "--gunicorn-config", noisy)["grace"]["status"] == "ok"


def test_too_few_open_files_for_a_full_worker_are_told(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    assert opinion(app, "--offline", "--gunicorn-config", config(tmp_path))["files"]["status"] == "ok"
    unraised = opinion(app, "--offline", "--gunicorn-config", config(tmp_path, "del post_worker_init"))["files"]
    assert unraised["what"] == "A process may open 1024 files here. A full worker needs 3100."
    more = opinion(app, "--offline", "--gunicorn-config", config(tmp_path, "worker_connections = 30_000"))["files"]
    assert more["what"] == "A process may open 4096 files here. A full worker needs 31100."
    assert more["advice"].startswith("Allow 31100: LimitNOFILE=")


def test_debug_mode_under_gunicorn_is_told(make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    assert opinion(app, "--offline", "--gunicorn-config", config(tmp_path))["debug"]["status"] == "ok"
    monkeypatch.setenv("FLASK_DEBUG", "1")  # Flask's commands go by this alone, and overwrite `app.debug`
    assert opinion(app, "--offline", "--gunicorn-config", config(tmp_path))["debug"]["status"] == "warning"


@pytest.mark.parametrize(
    ("bind", "status"),
    [("0.0.0.0:80", "warning"), ("[::]:80", "warning"), ("unix:/run/app.sock", "warning"), ("127.0.0.1:80", "ok")],
)
def test_public_app_without_a_limit_is_told_where_others_can_reach_it(
    make_app: MakeApp, tmp_path: Path, bind: str, status: str
) -> None:
    serving = ("--offline", "--gunicorn-config", config(tmp_path, f"bind = {bind!r}"))
    assert opinion(make_app(), *serving)["public"]["status"] == status
    limited = make_app(budgets={"day": "5"}, ledger_url=f"sqlite:///{tmp_path}/usage.db")
    assert opinion(limited, *serving)["public"]["status"] == "ok"
    guarded = LLMStream("llm", __name__, model="scripted")
    guarded.authorize(lambda: "ann")
    assert opinion(make_app(guarded), *serving)["public"]["status"] == "ok"


def test_approvals_of_several_workers_need_a_key(make_app: MakeApp) -> None:
    def app(**settings: str) -> Flask:
        llm = LLMStream("llm", __name__, model="scripted")
        llm.tool(name="delete", needs_approval=True)(lambda: "gone")
        return make_app(llm, **settings)

    assert opinion(make_app(), "--offline")["approvals"]["status"] == "not checked"
    assert opinion(app(), "--offline")["approvals"]["status"] == "ok"
    shared = app(log_url="redis://127.0.0.1:1/0")
    assert opinion(shared, "--offline", status=1)["approvals"]["status"] == "error"
    shared.secret_key = "secret"
    assert opinion(shared, "--offline")["approvals"]["status"] == "ok"
