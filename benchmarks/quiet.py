"""Waits for a machine that does nothing else: what others run beside a measurement makes tokens late."""

from __future__ import annotations

import sys
import time
from pathlib import Path

IDLE = 0.85
PATIENCE_S = 15.0


def wait() -> None:
    """Return when nearly all cores were idle for a second, or after a quarter of one."""
    until = time.monotonic() + PATIENCE_S
    while (share := idle_share()) < IDLE:
        if time.monotonic() > until:
            print(f"the machine is busy: {1 - share:.0%} of its cores", file=sys.stderr)
            return


def idle_share() -> float:
    idle, total = _times()
    time.sleep(1)
    idle_now, total_now = _times()
    return (idle_now - idle) / (total_now - total)


def _times() -> tuple[int, int]:
    times = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return times[3] + times[4], sum(times)
