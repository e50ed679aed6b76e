"""The guide on observability: its app logs, hears its signals and prints its spans, and its lists are complete."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from llm_stream import UsageRecord
from llm_stream.testing import Upstream
from llm_stream.usage.telemetry import Telemetry

from ..conftest import ROOT
from ..pages import Running
from ..pages import page
from .consoles import extras_that_are_missing

PAGE = "docs/guides/observability.md"
RUNS = {PAGE: ["python", "json", "bash"]}
FIGURES = {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}
GUNICORN = "gunicorn -k gevent --bind 127.0.0.1:8000 traced:app"


def test_app_of_the_page_logs_hears_its_signals_and_prints_spans(upstream: Upstream, tmp_path: Path) -> None:
    folder = page(PAGE).write(tmp_path)
    upstream.answer("Hello", usage=FIGURES)
    with Running(GUNICORN, folder, OPENAI_BASE_URL=upstream.base_url) as server:
        answered = server.get("/llm/chat?prompt=hi")
        stream_id = answered.headers["x-llm-stream-id"]
        for line in (
            f"this response reads stream {stream_id}",
            "ann asks gpt-4o-mini",
            "ann used 1 tokens",
            f"{stream_id} ended as completed",
            '"name": "chat gpt-4o-mini"',
        ):
            server.line(line)
        assert names_in(server.line("stream=")) == names_in(page(PAGE).block("text"))


def test_line_of_json_is_that_of_the_page(upstream: Upstream, tmp_path: Path) -> None:
    folder = page(PAGE).write(tmp_path)
    upstream.answer("Hello", usage=FIGURES)
    settings = {"OPENAI_BASE_URL": upstream.base_url, "LLM_STREAM_LOG_FORMAT": "json"}
    with Running(GUNICORN.replace("traced:", "app:"), folder, **settings) as server:
        server.get("/llm/chat?prompt=hi")
        line = json.loads(server.line('"event": "stream_settled"'))
    told = json.loads(page(PAGE).block("json"))
    assert list(line) == list(told)
    assert {field.name for field in fields(UsageRecord)} <= told.keys()
    varies = {"time", "id", "price_source", "price_date", "ttft_s", "duration_s", "started", "ended"}
    assert {name: line[name] for name in line.keys() - varies} == {name: told[name] for name in told.keys() - varies}


def test_every_attribute_and_metric_is_in_the_tables() -> None:
    code = (ROOT / "llm_stream/usage/telemetry.py").read_text()
    names = set(re.findall(r'"((?:gen_ai|llm_stream|server|openai|error)\.[\w.]+)"', code))
    names |= set(re.findall(r'"((?:llm_stream|error)\.[\w.]+)"', (ROOT / "llm_stream/web/metrics.py").read_text()))
    names |= {f"gen_ai.client.{name}" for name in re.findall(r'"((?:token|operation)\.\w+)"', code)}
    assert Telemetry.__name__ in code and names
    assert {name for name in names if f"`{name}`" not in page(PAGE).text} == set()


def names_in(line: str) -> list[str]:
    return re.findall(r"(\w+)=", line)


def test_install_line_names_extras_that_exist() -> None:
    assert extras_that_are_missing(page(PAGE)) == set()
