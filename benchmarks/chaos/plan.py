"""The troubles of a run, determined by its seed: a value that can be printed and reduced."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from . import network

WORKER = {"kill": 22, "freeze": 22, "term": 10, "int": 10, "reload": 14, "restart": 10, "crash": 12}
RECYCLED = "max_requests"
"""This trouble occurs by itself when a worker reaches `max_requests`, so it is in no plan."""
ENGINE = {"freeze": 24, "restart, kept": 20, "restart, older": 12, "restart, empty": 12, "flush": 12, "full": 20}
LEDGER = {"lock": 40, "restart": 30, "full": 30}
CLOCK = {"jump": 1}
LINK = dict.fromkeys(network.KINDS, 1)

QUIET = 0.25
"""No worker is ended in this last part of a run, so that leaks are still there when the run looks for them."""

JUMP_S = 6 * 3600
JUMPS = (-5, -4, -1, 1, 4, 5, 160)
"""Clocks jump by multiples of six hours, up to 40 days, so that the run can compute the real time."""


@dataclass(frozen=True)
class Trouble:
    number: int
    at_s: float
    area: str
    """The target: worker, clock, engine, ledger, or a link by the names of its ends."""
    kind: str
    server: int
    """The server of a worker or a clock."""
    lasts_s: float
    seed: str
    """The seed of the effects on single connections."""

    @property
    def name(self) -> str:
        return f"{self.area}: {self.kind}"

    @property
    def size(self) -> float:
        """The severity from 0 to 1, for kinds that have degrees."""
        return Random(self.seed).random()

    @property
    def jump_s(self) -> int:
        return Random(self.seed).choice(JUMPS) * JUMP_S

    def __str__(self) -> str:
        whose = f" of server {self.server}" if self.area in ("worker", "clock") else ""
        return f"{self.number:4} {self.at_s:7.1f} s  {self.name}{whose} for {self.lasts_s:.1f} s"


@dataclass(frozen=True)
class Cutting:
    """Selects the troubles of a plan that happen. All troubles keep their numbers, times and seeds."""

    only: frozenset[str] = frozenset()
    """Areas, kinds or names; empty for all."""
    since: int = 0
    until: int | None = None

    def keeps(self, trouble: Trouble) -> bool:
        is_named = not self.only or bool(self.only & {trouble.area, trouble.kind, trouble.name})
        return is_named and trouble.number >= self.since and (self.until is None or trouble.number < self.until)


@dataclass(frozen=True)
class Pace:
    seconds: float
    every_s: float
    """The average time from one trouble to the next."""
    longest_freeze_s: float


def troubles(
    seed: str, pace: Pace, servers: int, areas: Mapping[str, Mapping[str, int]], weights: Mapping[str, int]
) -> list[Trouble]:
    """`areas` has the kinds of each area with their likelihoods, `weights` the likelihood of each area."""
    chance, at_s = Random(f"troubles of {seed}"), pace.every_s / 2
    made: list[Trouble] = []
    while at_s < pace.seconds:
        loud = [area for area in areas if area != "worker" or at_s < (1 - QUIET) * pace.seconds]
        (area,) = chance.choices(loud, [weights.get(name, 6) for name in loud])
        (kind,) = chance.choices(list(areas[area]), list(areas[area].values()))
        number = len(made)
        lasts_s = chance.uniform(*_lengths(area, kind, pace))
        made.append(Trouble(number, at_s, area, kind, chance.randrange(servers), lasts_s, f"{seed}:{number}"))
        at_s += chance.uniform(0.3, 1.7) * pace.every_s
    return made


def _lengths(area: str, kind: str, pace: Pace) -> tuple[float, float]:
    if kind == "freeze":
        return 2.0, pace.longest_freeze_s
    if kind in network.KINDS or kind in ("lock", "full", "jump"):
        return 1.0, max(2.0, pace.longest_freeze_s / 2)
    return 0.2, 4.0


def text(plan: Sequence[Trouble], cutting: Cutting) -> str:
    return "\n".join(str(trouble) for trouble in plan if cutting.keeps(trouble))


def kinds(areas: Mapping[str, Iterable[str]]) -> list[str]:
    return [f"{area}: {kind}" for area in areas for kind in areas[area]]
