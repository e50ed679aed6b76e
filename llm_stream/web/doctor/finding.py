"""The result of one check: a finding, or the reason why it could not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    what: str
    causes: str
    advice: str
    level: Level = "warning"


class NotChecked(Exception):
    """The check cannot run here. The message is the reason."""
