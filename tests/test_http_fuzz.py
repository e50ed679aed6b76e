"""Any request is answered in our form, and leaves nothing behind; the long form is `make fuzz`."""

from __future__ import annotations

from benchmarks.fuzzing import http

SECONDS = 12


def test_no_request_hangs_breaks_the_server_or_leaves_something_behind() -> None:
    counts = http.run(SECONDS, seed=1)
    assert counts["faults"] == 0
    assert counts["status 2xx"] and counts["status 4xx"] and counts["answers bought"]
