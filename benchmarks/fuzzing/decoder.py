"""Any bytes as the body of an answer, of both APIs, in any pieces."""

from __future__ import annotations

from . import _runs

NAME = "The upstream's answers: any bytes, divided anywhere"


def run(seconds: float, seed: int) -> dict[str, int | float]:
    return _runs.run("tests.decoding", _runs.ROOT / "tests/corpus/decoder", seconds, seed)
