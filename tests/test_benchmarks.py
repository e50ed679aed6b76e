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
