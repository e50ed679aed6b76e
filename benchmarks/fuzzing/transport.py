"""Any bytes from an upstream's socket, in any pieces, which it then closes, resets or leaves open."""

from __future__ import annotations

from . import _runs

NAME = "The upstream's connection: any bytes over a real socket"


def run(seconds: float, seed: int) -> dict[str, int | float]:
    return _runs.run("tests.transporting", _runs.ROOT / "tests/corpus/transport", seconds, seed)
