"""Watches other load on the machine during a measurement: it delays tokens, and delayed tokens cost less CPU each."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import run

MOST = 0.12
"""The share of all cores that other processes may use."""

PATIENCE_S = 15.0
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


class Watch:
    """Measures the time of all cores since the object was created."""

    def __init__(self) -> None:
        self._busy_us, self._total_us = _cores_us()
        self._own_us = _own_us()

    def others(self) -> float:
        """The share of this time that processes outside this benchmark used."""
        busy_us, total_us = _cores_us()
        used_us = busy_us - self._busy_us - (_own_us() - self._own_us)
        return max(0.0, used_us / (total_us - self._total_us))


def wait() -> None:
    """Return after a second with little other load, or when the patience ends."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        watch = Watch()
        time.sleep(1)
        if watch.others() < MOST:
            return
    print("the machine is busy", file=sys.stderr)


def _cores_us() -> tuple[float, float]:
    """The busy time of all cores, and their total time."""
    times = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    idle = times[3] + times[4]
    return (sum(times) - idle) * TICK_US, sum(times) * TICK_US


def _own_us() -> float:
    """The CPU time of this process and its descendants, including ended ones."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended_us = (ended.ru_utime + ended.ru_stime) * 1e6
    return run.cpu_us_of(run.tree(os.getpid())) + ended_us + run.Running.killed_us
