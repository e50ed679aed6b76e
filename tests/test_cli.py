"""`flask llm ask`, in a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import SOON_S

QUESTION = "Explain how JWT tokens work"


def ask(upstream: Upstream | None, *options: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    if upstream:
        environment |= {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "x"}
    environment["LLM_STREAM_LEDGER_URL"] = "null"  # not the demo's own
    environment["LLM_STREAM_PRICES"] = '{"openai/gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}'
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "flask"), "--app", "wsgi", "llm", "ask", QUESTION, *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read(process: subprocess.Popen[str], count: int) -> str:
    assert process.stdout is not None
    return process.stdout.read(count)


def test_prints_tokens_as_they_arrive_and_ends_with_what_they_cost(upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo", usage={"prompt_tokens": 1000, "completion_tokens": 200})
    with ask(upstream, "--max-output-tokens", "99") as process:
        assert read(process, 3) == "Hel"
        gate.open()
        rest, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert rest.startswith("lo\n\ntokens in: 1000, tokens out: 200, cost: ₹0.0256 · first token after ")
    assert errors == ""
    assert upstream.request(0).json["messages"] == [{"role": "user", "content": QUESTION}]
    assert upstream.request(0).json["max_tokens"] == 99


def test_ctrl_c_stops_the_upstream_and_still_prints_what_it_cost(upstream: Upstream) -> None:
    upstream.answer("Hello", Stall())
    with ask(upstream) as process:
        assert read(process, 5) == "Hello"
        process.send_signal(signal.SIGINT)
        assert upstream.request(0).left.wait(SOON_S)
        rest, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, rest + errors
    assert "tokens out: 1 (estimated), cost: ₹" in rest
    assert rest.rstrip().endswith("cancelled")
    assert errors == ""


def test_answer_that_nobody_reads_is_stopped(upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hello", gate, *["word " for _ in range(10_000)], Stall())
    with ask(upstream) as process:
        read(process, 5)
        assert process.stdout is not None
        process.stdout.close()
        gate.open()
        assert upstream.request(0).left.wait(SOON_S)


def test_failure_is_told_and_is_the_exit_status(upstream: Upstream) -> None:
    upstream.answer(status=401)
    with ask(upstream) as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "upstream_refused" in errors and "Traceback" not in errors
    assert "HTTP 401" in errors, "whoever asks in a terminal is the operator, and wants the cause"
    assert "tokens in: unknown" in output


def test_stand_in_answers_where_there_is_no_model() -> None:
    with ask(None) as process:
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert f"You asked: “{QUESTION}”" in output
    assert "tokens in: 5, tokens out: " in output
