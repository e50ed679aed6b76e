"""The benchmarks run. What they measure is for people to read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from .conftest import ROOT
from .conftest import require

PATIENCE_S = 300


def printed_by(script: str, *arguments: str) -> str:
    """What a benchmark prints. Its servers end with it, also after a timeout: the next run needs their ports."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = running.communicate(timeout=PATIENCE_S)
    except BaseException:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        raise
    assert running.returncode == 0, output + errors
    return output


def test_every_scenario_runs_and_no_answer_is_broken() -> None:
    require("cc", "gcc")
    require("taskset", "util-linux")
    figures = json.loads(printed_by("run.py", "--short"))["flask-llm-stream"]
    assert figures["broken answers"] == 0
    assert figures["request: upstream connections made"] == 0
    assert figures["burst: CPU µs/token"] > 0


def test_every_scenario_of_the_shared_log_runs_and_every_reader_is_answered() -> None:
    require("cc", "gcc")
    require("taskset", "util-linux")
    figures = json.loads(printed_by("shared_log.py", "--short").splitlines()[-1])["shared, Valkey 9"]
    assert figures["broken answers"] == 0
    assert figures["8 × 50/s: commands/event"] > 0
    assert figures["resume of 20: answered"] == 20


def test_token_takes_no_more_instructions_than_it_did() -> None:
    """Times depend on the machine's mood; instructions hardly do, also from one build of Python to another."""
    require("valgrind", "valgrind")
    counts = json.loads(printed_by("layers.py", "--count"))
    recorded = json.loads((ROOT / "benchmarks/instructions.json").read_text())
    for mode, counted in counts.items():
        assert 0 < counted < 1.6 * recorded[mode], f"{mode}: {counted} instructions per token"


def test_every_request_that_may_hold_others_up_is_made_and_answered() -> None:
    figures = json.loads(printed_by("holdups.py", "--short"))
    assert len(figures) > 30
    assert all(found["waited"] and found["busy"][0] > 0 for found in figures.values())
