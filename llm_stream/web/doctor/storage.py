"""Checks the ledger, the shared log, and their clocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING
from typing import TypeVar

from ...core.shared.health import ahead_s
from ...errors import LogUnavailable
from ...ledger.file_system import network_file_system_of
from .finding import Finding
from .finding import NotChecked
from .patient import Patient

if TYPE_CHECKING:  # it imports SQLAlchemy, which is an extra
    from ...ledger.ledger import Ledger

Result = TypeVar("Result")

MOST_OFF_S = 1.0


def ledger(patient: Patient) -> Finding | None:
    problem = _problem_with(_ledger_of(patient))
    if problem is None:
        return None
    return Finding(
        f"The ledger cannot be opened: {problem}.",
        "Without the ledger no answer is bought: every request is refused with 503.",
        "Check LLM_STREAM_LEDGER_URL, and the permissions of the user that runs the server.",
        "error",
    )


def ledger_place(patient: Patient) -> Finding | None:
    file = _ledger_of(patient).file
    if file is None:
        raise NotChecked("the ledger is not SQLite")
    kind = network_file_system_of(file)
    if kind is None:
        return None
    return Finding(
        f"The ledger is an SQLite file on a network file system ({kind}): {file}.",
        "File locks are not reliable there: rows may get lost, and the file may be corrupted.",
        "Move it to a disk of this machine, or set LLM_STREAM_LEDGER_URL=postgresql://…",
        "error",
    )


def shared_log(patient: Patient) -> Finding | None:
    health = patient.health
    try:
        health.policy()
    except LogUnavailable as error:
        return Finding(
            f"Redis cannot be reached: {_cause_of(error)}.",
            "New streams are refused with 503.",
            "Check LLM_STREAM_LOG_URL, that Redis runs, and that it accepts connections from this machine.",
            "error",
        )
    return None


def eviction(patient: Patient) -> Finding | None:
    policy = _asked(patient.health.policy)
    if policy is None:
        raise NotChecked("this Redis does not report its maxmemory-policy")
    if policy == "noeviction":
        return None
    return Finding(
        f"The maxmemory-policy of Redis is {policy}.",
        "When its memory is full, Redis may delete streams that are running.",
        "Set maxmemory-policy to noeviction.",
        "error",
    )


def persistence(patient: Patient) -> Finding | None:
    keeps = _asked(patient.health.keeps_data)
    if keeps is None:
        raise NotChecked(
            "this Redis does not report whether it writes to a disk; its user may lack the right to CONFIG GET"
        )
    if keeps:
        return None
    return Finding(
        "Redis does not write to a disk.",
        "When it restarts, finished streams are lost. The workers write their running streams to it again.",
        "If finished answers must survive a restart of Redis, set appendonly to yes.",
        "note",
    )


def clocks(patient: Patient) -> Finding | None:
    offsets = {}
    if patient.state.streams.shared is not None:
        offsets["Redis"] = _asked(patient.health.clock_offset_s)
    if patient.state.ledger is not None and patient.state.ledger.file is None:
        offsets["PostgreSQL"] = _offset_of(patient.state.ledger)
    if not offsets:
        raise NotChecked("neither Redis nor PostgreSQL is used, so there is no other clock to compare with")
    wrong = {name: offset for name, offset in offsets.items() if abs(offset) > MOST_OFF_S}
    if not wrong:
        return None
    told = [f"the clock of {name} is {abs(s):.1f} s {'ahead' if s > 0 else 'behind'}" for name, s in wrong.items()]
    return Finding(
        f"Compared with this machine, {' and '.join(told)}.",
        "Around midnight, records and budgets count for the wrong day. Times of different workers cannot be compared.",
        "Synchronise the clocks of all machines with NTP.",
    )


def _ledger_of(patient: Patient) -> Ledger:
    if patient.state.ledger is None:
        raise NotChecked("there is no ledger (LLM_STREAM_LEDGER_URL)")
    return patient.state.ledger


def _problem_with(ledger: Ledger) -> str | None:
    """Check the file before opening the database, because SQLite creates a file that does not exist."""
    file = ledger.file
    if file is not None:
        if not file.parent.is_dir():
            return f"the folder {file.parent} does not exist"
        locked = [path for path in (file.parent, file) if path.exists() and not os.access(path, os.W_OK)]
        if locked:
            return f"{locked[0]} is not writable"
        if not file.exists():
            return None
    try:
        ledger.now()
    except Exception as error:
        return _cause_of(error)
    return None


def _offset_of(ledger: Ledger) -> float:
    try:
        ledger.now()
        before = time()
        theirs = ledger.now().timestamp()
        return ahead_s(theirs, before, time())
    except Exception:
        raise NotChecked("the ledger cannot be opened") from None


def _asked(question: Callable[[], Result]) -> Result:
    try:
        return question()
    except LogUnavailable:
        raise NotChecked("Redis cannot be reached") from None


def _cause_of(error: BaseException) -> str:
    """The first line of the driver's error. It contains no password."""
    cause = error.__cause__ or error
    cause = getattr(cause, "orig", None) or cause
    return f"{type(cause).__name__}: {cause}".splitlines()[0]
