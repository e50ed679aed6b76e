"""What has not come back to where it was before the load, and which answers were wrong."""

from __future__ import annotations

from collections.abc import Iterator

from .course import Course

OBJECTS = 20_000
"""How many more Python objects there may be at the end: libraries fill their caches. A kept log has more.

Objects are counted, not bytes: Python returns memory to the system in arenas of 1 MiB, and one cached string keeps its
whole arena. The next load uses the rest of the arena again, which is what `GROWTH_MIB` checks.
"""

GROWTH_MIB = 16.0
"""How much more memory the worker may use in the last third of the load than in the third before."""

UPSTREAM_CONNECTIONS = 100
"""Those that are kept for the next question."""

OTHER_FILES = 8


def faults(course: Course) -> list[str]:
    return [*_answers(course), *_leftovers(course), *_memory(course)]


def growth_mib(course: Course) -> float:
    """The mean of the load's last third less that of the second one."""
    third = len(course.steady) // 3
    if not third:
        return 0.0
    used = [sample["pss_mib"] for sample in course.steady]
    return (sum(used[-third:]) - sum(used[-2 * third : -third])) / third


def _answers(course: Course) -> Iterator[str]:
    last = course.under_load[-1]
    if last["wrong"]:
        yield f"{last['wrong']:.0f} answers were wrong:\n{course.errors}"
    for name in ("whole", "returned", "stopped", "left", "slow_whole", "given_up"):
        if not last[name]:
            yield f"no reader was counted as {name}"


def _leftovers(course: Course) -> Iterator[str]:
    begin, end = course.begin, course.end
    for name, most in {
        "streams": 0.0,
        "slots": 0.0,
        "logs": 1.0,  # of the question that had the others forgotten
        "greenlets": begin["greenlets"],
        "files": begin["files"] + UPSTREAM_CONNECTIONS + OTHER_FILES,
    }.items():
        if end[name] > most:
            yield f"{name}: {end[name]:.0f} at the end, {most:.0f} at most are allowed"


def _memory(course: Course) -> Iterator[str]:
    more = course.end["objects"] - course.begin["objects"]
    if more > OBJECTS:
        yield f"objects: {more:,.0f} more than at the beginning, {OBJECTS:,} are allowed"
    if (growth := growth_mib(course)) > GROWTH_MIB:
        yield f"memory: {growth:.1f} MiB more in the last third than in the second, {GROWTH_MIB:.0f} are allowed"
