"""`flask llm doctor`: the demo is well, and what is wrong with an app is found, with what it causes and what to do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from collections.abc import Iterator
from functools import wraps
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wrapt
from flask import Flask
from flask import Response
from flask_compress import Compress
from openai import OpenAI
from openai.resources.chat.completions import Completions

from llm_stream import LLMStream
from llm_stream.testing import Upstream
from llm_stream.web.doctor.checks import CHECKS

from .conftest import ROOT
from .doctored import config
from .doctored import demo
from .doctored import findings_of
from .doctored import opinion
from .ports import free_port

MakeApp = Callable[..., Flask]


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """An upstream that answers every GET with a status: `answering(401)` is its base URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """The test knows what it has asked."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.05,)).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


PRICED = {"prices": {"scripted": {"input": "1", "output": "1"}}}


def test_demo_is_well_without_a_key(tmp_path: Path) -> None:
    done = demo(LLM_STREAM_LEDGER_URL=f"sqlite:///{tmp_path}/usage.db")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, empty, summary = done.stdout.splitlines()
    assert empty == "" and re.fullmatch(r"No problem found, \d+ not checked\.", summary)
    assert [re.split(r"\s{2,}", line)[1] for line in lines] == [check.name for check in CHECKS]
    assert {re.split(r"\s{2,}", line)[0] for line in lines} == {"ok", "not checked"}


def test_doctor_spends_nothing_and_leaves_no_record(upstream: Upstream, tmp_path: Path) -> None:
    ledger = tmp_path / "usage.db"
    environment = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "x"}
    done = demo(LLM_STREAM_LEDGER_URL=f"sqlite:///{ledger}", **environment)
    assert done.returncode == 0, done.stdout
    assert upstream.connections == 1
    assert not upstream.requests
    assert not ledger.exists()


def test_findings_say_what_is_wrong_what_it_causes_and_what_to_do() -> None:
    done = demo("--offline", LLM_STREAM_MODEL="never-heard-of")
    assert done.returncode == 0, "a warning is no error"
    at = done.stdout.splitlines().index("warning      prices        No price is known for never-heard-of.")
    causes, advice = (line.strip() for line in done.stdout.splitlines()[at + 1 : at + 3])
    assert "the cost is unknown" in causes
    assert advice.startswith("→ Set LLM_STREAM_PRICES")
    assert done.stdout.endswith("\n1 warning, 7 not checked.\n")


def test_errors_end_with_the_status_1_also_for_programs() -> None:
    done = demo("--json", "--offline", GUNICORN_CMD_ARGS="--worker-class sync")
    assert done.returncode == 1
    assert done.stderr == ""
    said = findings_of(done)["worker-class"]
    assert sorted(said) == ["advice", "causes", "check", "status", "what"]
    assert json.loads(done.stdout)[0]["check"] == CHECKS[0].name


def test_offline_asks_nothing(upstream: Upstream) -> None:
    done = demo("--offline", "--json", OPENAI_BASE_URL=upstream.base_url, OPENAI_API_KEY="x")
    assert upstream.connections == 0
    said = findings_of(done)
    assert {said[check.name]["reason"] for check in CHECKS if check.asks_network} == {"--offline"}


def test_terminal_gets_colours_and_others_do_not(make_app: MakeApp) -> None:
    app = make_app()
    plain = app.test_cli_runner().invoke(args=["llm", "doctor", "--offline"]).stdout
    assert "\x1b" not in plain
    coloured = app.test_cli_runner().invoke(args=["llm", "doctor", "--offline"], color=True).stdout
    assert "\x1b[33m" in coloured


# What stands between


def put_around(app: Flask, middleware: Any) -> None:
    app.wsgi_app = middleware  # type: ignore[method-assign]


def joined(app: Flask) -> None:
    inner: Any = app.wsgi_app
    put_around(app, lambda environ, start: [b"".join(inner(environ, start))])


def by_kilobytes(app: Flask) -> None:
    inner: Any = app.wsgi_app

    def buffered(environ: Any, start: Any) -> Iterator[bytes]:
        held = b""
        for piece in inner(environ, start):
            held += piece
            if len(held) > 4096:
                yield held
                held = b""
        yield held

    put_around(app, buffered)


def read_by_a_hook(app: Flask) -> None:
    @app.after_request
    def measure(response: Response) -> Response:
        response.headers["X-Size"] = str(len(response.get_data()))
        return response


def compressed(app: Flask) -> None:
    app.config["COMPRESS_MIMETYPES"] = ["text/event-stream"]
    Compress(app)


def relabelled(app: Flask) -> None:
    @app.after_request
    def cached(response: Response) -> Response:
        response.headers["Cache-Control"] = "max-age=60"
        return response


@pytest.mark.parametrize(
    ("stand_between", "status", "what", "culprit"),
    [
        (joined, "error", "holds event streams back", "tests.test_doctor.joined.<locals>.<lambda> (app.wsgi_app)"),
        (by_kilobytes, "error", "holds event streams back", "by_kilobytes.<locals>.buffered (app.wsgi_app)"),
        (read_by_a_hook, "error", "holds event streams back", "read_by_a_hook.<locals>.measure"),
        (compressed, "error", "compresses event streams", "flask_compress.flask_compress.Compress.after_request"),
        (relabelled, "warning", "changes headers of event streams: Cache-Control", "relabelled.<locals>.cached"),
    ],
)
def test_whatever_holds_tokens_back_is_found_and_named(
    make_app: MakeApp, stand_between: Callable[[Flask], None], status: str, what: str, culprit: str
) -> None:
    app = make_app()
    stand_between(app)
    said = opinion(app, "--offline")["middleware"]
    assert said["status"] == status
    assert what in said["what"] and culprit in said["what"]
    assert not app.extensions["records"]


def test_what_passes_tokens_on_is_no_trouble_but_costs_the_fast_path(make_app: MakeApp, tmp_path: Path) -> None:
    app, serving = make_app(), ("--offline", "--gunicorn-config", config(tmp_path))
    assert opinion(app, *serving)["fast-path"]["status"] == "ok"
    inner: Any = app.wsgi_app

    def counted(environ: Any, start: Any) -> Iterator[bytes]:
        yield from inner(environ, start)

    put_around(app, counted)
    said = opinion(app, *serving)
    assert said["middleware"]["status"] == "ok"
    assert said["fast-path"]["status"] == "note"
    assert "<locals>.counted stands between" in said["fast-path"]["what"]
    put_around(app, lambda environ, start: map(bytes, inner(environ, start)))
    assert "builtins.map stands between" in opinion(app, *serving)["fast-path"]["what"]


def test_functions_before_a_request_are_not_asked(make_app: MakeApp) -> None:
    app = make_app()

    @app.before_request
    def login() -> Response:
        raise AssertionError("the probe came to the login")

    assert opinion(app, "--offline")["middleware"]["status"] == "ok"


def test_app_that_does_not_let_the_probe_through_is_not_checked(make_app: MakeApp) -> None:
    app = make_app()
    put_around(app, lambda environ, start: (start("302 FOUND", []), [])[1])
    said = opinion(app, "--offline")["middleware"]
    assert (said["status"], said["reason"]) == ("not checked", "the app answers with 302 FOUND where it should stream")


def test_prefix_with_variables_is_probed_too() -> None:
    app, llm = Flask("tenants"), LLMStream("llm", __name__, model="scripted")
    llm.authorize(lambda: "ann")
    app.register_blueprint(llm, url_prefix="/t/<tenant>/llm")
    assert opinion(app, "--offline")["middleware"]["status"] == "ok"


# Those who watch


def by_wrapt(monkeypatch: pytest.MonkeyPatch) -> None:
    @wrapt.decorator
    def watch(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    monkeypatch.setattr(Completions, "create", watch(Completions.create))


def by_functools(monkeypatch: pytest.MonkeyPatch) -> None:
    create = Completions.create

    @wraps(create)
    def watched(*args: Any, **kwargs: Any) -> Any:
        return create(*args, **kwargs)

    monkeypatch.setattr(Completions, "create", watched)


def below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAI, "request", lambda self, *args, **kwargs: None)


@pytest.mark.parametrize("watch", [by_wrapt, by_functools, below])
def test_observer_of_the_sdk_is_told_that_it_sees_nothing(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, watch: Callable[[pytest.MonkeyPatch], None]
) -> None:
    assert opinion(make_app(), "--offline")["observers"]["status"] == "ok"
    watch(monkeypatch)
    said = opinion(make_app(), "--offline")["observers"]
    assert said["status"] == "warning"
    assert said["what"].startswith("tests.test_doctor watches")
    assert "on_usage" in said["advice"]


def test_sentry_watches_unasked_so_it_is_a_note_only(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("SENTRY", "SPANS")}
    done = demo(
        "--json",
        "--offline",
        app="tests.hosted:make_app",
        DATABASE=f"sqlite:///{tmp_path}/host.db",
        OPENAI_API_KEY="x",
        LLM_STREAM_PRICES=json.dumps(PRICED["prices"]),
        **files,
    )
    assert done.returncode == 0, done.stdout
    said = findings_of(done)
    assert said["observers"]["status"] == "note"
    assert said["middleware"]["status"] == "ok"
    assert "sentry_sdk" in said["fast-path"]["what"]
    assert {name for name, one in said.items() if one["status"] in ("warning", "error")} == set()


# What it costs


def test_model_without_a_price_is_told_and_with_budgets_it_is_an_error(make_app: MakeApp, tmp_path: Path) -> None:
    models = {"models": ["gpt-4o-mini", "unheard-of"], "fallback_models": ["spare"]}
    said = opinion(make_app(**models), "--offline")["prices"]
    assert (said["status"], said["what"]) == ("warning", "No price is known for scripted, unheard-of, spare.")
    assert opinion(make_app(**PRICED), "--offline")["prices"]["status"] == "ok"
    budgets = {"budgets": {"day": "5"}, "ledger_url": f"sqlite:///{tmp_path}/usage.db"}
    assert opinion(make_app(**budgets), "--offline")["prices"]["status"] == "error"


# The upstream


def upstream_of(**environment: str) -> dict[str, str]:
    said: dict[str, str] = findings_of(demo("--json", **environment))["upstream"]
    return said


def test_upstream_that_cannot_be_reached_is_told() -> None:
    said = upstream_of(OPENAI_BASE_URL=f"http://127.0.0.1:{free_port()}/v1", OPENAI_API_KEY="x")
    assert said["status"] == "error"
    assert said["what"].startswith("The upstream cannot be reached (")
    assert "Connection refused" in said["what"]


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (401, "The upstream refuses the key (HTTP 401)."),
        (403, "The upstream refuses the key (HTTP 403)."),
        (503, "The upstream fails (HTTP 503)."),
        (404, None),
        (429, None),
    ],
)
def test_wrong_key_is_told_apart_from_an_upstream_in_trouble(
    make_app: MakeApp, answering: Callable[[int], str], status: int, what: str | None
) -> None:
    client = OpenAI(base_url=answering(status), api_key="sk-secret", max_retries=5)
    said = opinion(make_app(LLMStream("llm", __name__, model="scripted", client=client)))["upstream"]
    assert said.get("what") == what
    assert "sk-secret" not in str(said)


def test_missing_key_is_told(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    said = opinion(make_app(LLMStream("llm", __name__, model="scripted")))["upstream"]
    assert "has no key" in said["what"]


def test_of_several_upstreams_the_one_in_trouble_is_named(
    make_app: MakeApp, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "x")
    table = {
        "good": {"base_url": upstream.base_url, "key_variable": "SOME_KEY", "models": ["scripted"]},
        "gone": {"base_url": f"http://127.0.0.1:{free_port()}/v1", "key_variable": "SOME_KEY", "models": ["scripted"]},
    }
    said = opinion(make_app(upstreams=table), status=1)["upstream"]
    assert said["what"].startswith("The upstream 'gone' cannot be reached")
    assert "Answers come from the other upstreams" in said["causes"]


# The documentation


def test_table_of_checks_is_complete() -> None:
    rows = re.findall(
        r"^\| `(.*?)` \| .+? \| .+? \| (✓?) ?\|$", (ROOT / "docs/guides/doctor.md").read_text(), re.MULTILINE
    )
    assert rows == [(check.name, "✓" if check.in_workers else "") for check in CHECKS]
