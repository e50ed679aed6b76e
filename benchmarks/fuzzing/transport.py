"""Sends random bytes from an upstream's socket, in random pieces; the upstream then closes, resets or keeps it open."""

from __future__ import annotations

from . import _runs

NAME = "The upstream's connection: any bytes over a real socket"


def run(seconds: float, seed: int) -> dict[str, int | float]:
    return _runs.run("tests.transporting", _runs.ROOT / "tests/corpus/transport", seconds, seed)
