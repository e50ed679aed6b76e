"""A worker holds nothing of the load that it had; the long form is `benchmarks/soak.py`."""

from __future__ import annotations

from .conftest import require
from .test_benchmarks import printed_by


def test_worker_holds_no_more_than_before_when_all_readers_of_every_kind_are_gone() -> None:
    require("cc", "gcc")
    require("taskset", "util-linux")
    assert "| wrong | 0 |" in printed_by("soak.py", "--short")
