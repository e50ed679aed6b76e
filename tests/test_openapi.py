"""The description of our routes: complete, true to what the code checks, and made only for those who ask."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from llm_stream import LLMStream
from llm_stream.errors.statuses import STATUSES
from llm_stream.events import KINDS
from llm_stream.ledger import ledgers
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import ROOT

MakeApp = Callable[..., Flask]


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Flask:
    """With everything on, registered twice."""
    llm = LLMStream("llm", __name__, model="secret-model")
    llm.authorize_usage(lambda: True)
    app = make_app(llm, ledger_url=f"sqlite:///{tmp_path / 'usage.db'}", max_output_tokens=777)
    app.register_blueprint(llm, name="second", url_prefix="/t/<tenant>/<int:number>/llm")
    return app


def described(app: Flask, prefix: str = "/llm", **options: Any) -> dict[str, Any]:
    answer = app.test_client().get(f"{prefix}/openapi.json", **options)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.json
    return dict(answer.json)


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(path, method) for path, item in document["paths"].items() for method in item if method != "parameters"}


@pytest.mark.parametrize(
    ("name", "prefix", "registered"),
    [("llm", "/llm", "/llm"), ("second", "/t/acme/7/llm", "/t/{tenant}/{number}/llm")],
)
def test_description_has_the_routes_of_its_registration_and_no_others(
    app: Flask, name: str, prefix: str, registered: str
) -> None:
    document = described(app, prefix)
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint.startswith(f"{name}.") and not rule.endpoint.endswith(".static")
    }
    assert operations(document) == routes
    assert all(path.startswith(f"{registered}/") for path in document["paths"])
    for path, item in document["paths"].items():
        assert [parameter["name"] for parameter in item.get("parameters", [])] == re.findall(r"{(\w+)}", path)


def test_number_in_the_prefix_is_a_number(app: Flask) -> None:
    document = described(app, "/t/acme/7/llm")
    tenant, number = document["paths"]["/t/{tenant}/{number}/llm/chat"]["parameters"]
    assert (tenant["schema"]["type"], number["schema"]["type"]) == ("string", "integer")


def test_usage_that_nobody_may_see_is_left_out(make_app: MakeApp, tmp_path: Path) -> None:
    ledger = {"ledger_url": f"sqlite:///{tmp_path / 'usage.db'}"}
    for open_to_somebody, settings, shown in ((False, ledger, False), (True, {}, False), (True, ledger, True)):
        llm = LLMStream("llm", __name__, model="m")
        if open_to_somebody:
            llm.authorize_usage(lambda: True)
        assert ("/llm/usage" in described(make_app(llm, **settings))["paths"]) is shown
    assert list(ledgers.every())


def test_server_is_where_the_app_is_mounted(app: Flask) -> None:
    assert described(app)["servers"] == [{"url": "/"}]
    below = described(app, environ_overrides={"SCRIPT_NAME": "/app"})
    assert below["servers"] == [{"url": "/app"}]
    assert "/llm/chat" in below["paths"]


def test_description_tells_no_model_and_no_limit_of_the_operators(app: Flask) -> None:
    text = str(described(app))
    assert "secret-model" not in text
    assert "777" not in text


def test_every_event_and_every_code_is_described(app: Flask) -> None:
    document = described(app)
    chat = document["paths"]["/llm/chat"]["post"]["responses"]
    assert set(chat["200"]["content"]["text/event-stream"]["x-events"]) == set(KINDS)
    text = str(document)
    for code in STATUSES.keys() - {"config"}:
        assert code in text, code
    ids = [document["paths"][path][method]["operationId"] for path, method in operations(document)]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r"'operationId': '(\w+)'", text)) == set(ids)  # links lead somewhere


def test_events_of_an_answer_fit_their_schemas(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    document = described(app)
    named = document["paths"]["/llm/chat"]["get"]["responses"]["200"]["content"]["text/event-stream"]["x-events"]
    upstream.answer("Hello", usage={"prompt_tokens": 8, "completion_tokens": 1})
    upstream.answer(status=400)
    for _ in range(2):
        for _, kind, data in read_events(app.test_client().get("/llm/chat?prompt=hi").data):
            schema = document["components"]["schemas"][named[kind]["$ref"].rpartition("/")[2]]
            assert set(schema["required"]) <= set(data) <= set(schema["properties"]), kind


def test_nothing_is_made_before_somebody_asks() -> None:
    program = """
import sys
from flask import Flask
from llm_stream import LLMStream
app = Flask("app")
app.config["LLM_STREAM_PUBLIC"] = True
app.register_blueprint(LLMStream("llm", "app", model="m"), url_prefix="/llm")
assert "llm_stream.web.openapi" not in sys.modules
app.test_client().get("/llm/openapi.json")
assert "llm_stream.web.openapi" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=ROOT)
