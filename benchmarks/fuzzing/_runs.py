"""Runs a check on random bytes for some time in a separate process, and counts the outcomes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LAST = re.compile(r"#\d+\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/")


def run(module: str, corpus: Path, seconds: float, seed: int) -> dict[str, int | float]:
    """`module` has a function `check(data)`, which raises an exception for a fault."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("new", "faults"):
            Path(folder, name).mkdir()
        command = [
            sys.executable,
            "-m",
            "benchmarks.fuzzing._target",
            module,
            str(corpus),
            str(seconds),
            str(seed),
            folder,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, errors="replace")
        print(done.stdout, end="", flush=True)
        told = Path(folder, "counts.json")
        if not told.exists():
            raise RuntimeError(done.stderr[-2000:])
        counts: dict[str, int | float] = json.loads(told.read_text())
        if found := LAST.findall(done.stderr):
            coverage, features, inputs = map(int, found[-1])
            counts |= {"edges of the code reached": coverage, "features": features, "inputs that reach them": inputs}
            counts["new inputs"] = len(list(Path(folder, "new").iterdir()))
        counts["faults"] = counts.pop("faults")
        return counts
