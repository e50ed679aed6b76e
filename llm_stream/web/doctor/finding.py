"""What a check returns or raises."""

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
    """A check cannot be made here: the reason."""
