"""A requested stream and the plan for its readers, determined by the seed."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from random import Random


@dataclass
class Plan:
    """The plan of one reader."""

    name: str
    asks: bool
    """The reader starts with the key. Otherwise it gets the stream's id from a reader that has it."""
    drops: list[int]
    """The number of events of each visit after which the reader disconnects."""
    is_patient: bool = True
    """The reader reconnects until it has the end."""
    comes_after_s: float = 0.0
    """The time after the question, or after the stream's end for a late reader."""
    is_late: bool = False


@dataclass
class Question:
    number: int
    at_s: float
    tokens: int
    pace_s: float
    plans: list[Plan]
    stop_after: int | None
    """A client stops the stream after this many events."""
    seed: str
    calls: list[float] = field(default_factory=list)
    """The times of the model's calls for this question."""
    written: int = 0
    """The largest number of tokens that the model sent in one call."""

    @property
    def owner(self) -> str:
        return f"q{self.number}"

    @property
    def prompt(self) -> str:
        return f"{self.number} is asked"

    @property
    def key(self) -> str:
        return f"key-{self.number}"

    @property
    def bill(self) -> dict[str, int]:
        """The usage that the model reports at the end of a complete answer."""
        return {"prompt_tokens": 7 + self.number % 50, "completion_tokens": self.tokens}

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.piece(n) for n in range(self.tokens))

    def piece(self, n: int) -> str:
        return f"{self.number}.{n} "


def questions(seed: str, count: int, seconds: float, retention_s: float) -> list[Question]:
    return [_question(f"{seed}:{n}", n, seconds * n / count, retention_s) for n in range(count)]


def _question(seed: str, number: int, at_s: float, retention_s: float) -> Question:
    chance = Random(seed)
    plans = [Plan("first", True, _drops(chance), is_patient=chance.random() > 0.06)]
    if chance.random() < 0.3:
        plans.append(Plan("twin", True, _drops(chance)))
    for n in range(chance.choice((0, 0, 1, 1, 2))):
        plans.append(Plan(f"follower {n}", False, _drops(chance), comes_after_s=chance.uniform(0.1, 6)))
    if chance.random() < 0.2:
        plans.append(Plan("late", True, [], comes_after_s=chance.uniform(0, retention_s / 2), is_late=True))
    if chance.random() < 0.1:
        after = chance.uniform(1.5, 2.5) * retention_s
        plans.append(Plan("after retention", True, [], comes_after_s=after, is_late=True))
    stop_after = chance.randint(3, 20) if chance.random() < 0.1 else None
    return Question(number, at_s, chance.randint(10, 90), chance.uniform(0.04, 0.25), plans, stop_after, seed)


def _drops(chance: Random) -> list[int]:
    return [chance.randint(1, 15) for _ in range(chance.choice((0, 0, 1, 2, 4)))]
