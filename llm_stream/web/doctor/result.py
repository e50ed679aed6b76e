"""The result of running one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .checks import Check
from .finding import Finding
from .finding import NotChecked
from .patient import Patient

Status = Literal["ok", "note", "warning", "error", "not checked"]


@dataclass(frozen=True)
class Result:
    check: Check
    status: Status
    finding: Finding | None = None
    reason: str | None = None
    """Why the check did not run."""


def result_of(check: Check, patient: Patient, *, offline: bool = False) -> Result:
    """Run the check. Raises nothing: if the check itself fails, its status is `not checked`."""
    if offline and check.asks_network:
        return Result(check, "not checked", reason="--offline")
    try:
        finding = check.examine(patient)
    except NotChecked as error:
        return Result(check, "not checked", reason=str(error))
    except Exception as error:
        return Result(check, "not checked", reason=f"the check failed: {type(error).__name__}: {error}")
    return Result(check, finding.level if finding else "ok", finding)
