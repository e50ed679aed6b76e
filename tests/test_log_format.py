"""The server's log as JSON: one object per line, with the record's fields, and nothing of what was said."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from llm_stream import UsageRecord
from llm_stream.testing import Cut
from llm_stream.testing import Pause
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.usage.logging import JSONLines

from .conftest import Server
from .conftest import of_kind

PRICES = {"openai/gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Upstream() as upstream:
        server = Server(upstream, tmp_path_factory.mktemp("json"), log_format="json", prices=PRICES)
        yield server
        server.stop()


def lines(server: Server) -> list[dict[str, Any]]:
    """What the library has logged; gunicorn's own lines begin with a bracket."""
    return [json.loads(line) for line in server.log.splitlines() if not line.startswith("[")]


def upstream_of(server: Server) -> Upstream:
    assert server.upstream is not None
    return server.upstream


def test_usage_line_has_the_records_fields(server: Server) -> None:
    upstream_of(server).answer("THE ANSWER", usage={"prompt_tokens": 8, "completion_tokens": 1})
    server.get("/llm/chat?prompt=THE+QUESTION")
    (line,) = (line for line in lines(server) if line.get("status") == "completed")
    assert line.keys() == {"time", "level", "logger", "event"} | {field.name for field in fields(UsageRecord)}
    assert (line["level"], line["logger"], line["event"]) == ("INFO", "llm_stream", "stream_settled")
    assert (line["input_tokens"], line["output_tokens"], line["cached_tokens"]) == (8, 1, None)
    assert (Decimal(line["cost"]), line["currency"]) == (Decimal("0.00017"), "INR")
    assert line["started"] < line["ended"] and line["started"].endswith("+00:00")
    assert "THE" not in server.log


def test_failure_is_found_by_its_error_id(server: Server) -> None:
    upstream_of(server).answer("THE ANSWER", Pause(0.1), Cut())
    told = of_kind(read_events(server.get("/llm/chat?prompt=THE+QUESTION").content), "failure")
    warning, settled = (line for line in lines(server) if line.get("error_id") == told["error_id"])
    assert (warning["level"], warning["error_code"]) == ("WARNING", "upstream_cut")
    assert warning["message"].startswith("stream failed: upstream_cut")
    assert (settled["event"], settled["status"], settled["error_code"]) == ("stream_settled", "failed", "upstream_cut")
    assert "THE" not in server.log


def test_refusal_is_found_by_its_error_id(server: Server) -> None:
    refused = server.post(prompt="").json()["error"]
    (line,) = (line for line in lines(server) if line.get("error_id") == refused["error_id"])
    assert (line["level"], line["error_code"]) == ("INFO", refused["code"])


def test_traceback_is_one_line(server: Server) -> None:
    events = server.events("/report?name=me&raise=1")
    (line,) = (
        line
        for line in lines(server)
        if line.get("error_id") == of_kind(events, "failure")["error_id"] and ("exception" in line)
    )
    assert line["level"] == "ERROR" and "RuntimeError" in line["exception"] and "\n" in line["exception"]


def test_nobody_writes_a_line_twice(server: Server) -> None:
    server.get("/llm/chat?prompt=hi")
    ids = [line["id"] for line in lines(server) if "id" in line]
    assert len(ids) == len(set(ids)) == len(server.records())


@pytest.mark.parametrize("told", ["a\nb", "a\u2028b", "\ud800", '{"level": "ERROR"}', "\x1b[2J"])
def test_line_is_one_line_whatever_is_told(told: str) -> None:
    record = logging.LogRecord("llm_stream", logging.INFO, __file__, 1, "owner %s", (told,), None)
    line = JSONLines().format(record)
    assert line.isascii() and line.isprintable() and len(line.splitlines()) == 1
    assert json.loads(line)["message"] == f"owner {told}"


def test_text_is_the_default(upstream: Upstream, serve: Callable[..., Server]) -> None:
    server = serve(upstream)
    server.get("/llm/chat?prompt=hi")
    (line,) = (line for line in server.log.splitlines() if "status=completed" in line)
    assert "stream=" in line and not line.startswith("{")
