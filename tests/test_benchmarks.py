"""The benchmarks run. What they measure is for people to read."""

from __future__ import annotations

import json
import subprocess
import sys

from .conftest import ROOT
from .conftest import require


def test_every_scenario_runs_and_no_answer_is_broken() -> None:
    require("cc", "gcc")
    require("taskset", "util-linux")
    command = [sys.executable, str(ROOT / "benchmarks/run.py"), "--short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["flask-llm-stream"]
    assert figures["broken answers"] == 0
    assert figures["request: upstream connections made"] == 0
    assert figures["burst: CPU µs/token"] > 0


def test_token_takes_no_more_instructions_than_it_did() -> None:
    """Times depend on the machine's mood; instructions hardly do, also from one build of Python to another."""
    require("valgrind", "valgrind")
    command = [sys.executable, str(ROOT / "benchmarks/layers.py"), "--count"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((ROOT / "benchmarks/instructions.json").read_text())
    for mode, counted in json.loads(done.stdout).items():
        assert 0 < counted < 1.6 * recorded[mode], f"{mode}: {counted} instructions per token"
