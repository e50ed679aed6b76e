"""Feeds random bytes as an answer's body to the decoders of both APIs, in random pieces; doubles awkward bodies."""

from __future__ import annotations

import logging

from . import _doubling
from . import _runs

NAME = "The upstream's answers: any bytes, divided anywhere"


def run(seconds: float, seed: int) -> dict[str, int | float]:
    logging.getLogger("llm_stream").setLevel(logging.ERROR)
    counts = _runs.run("tests.decoding", _runs.ROOT / "tests/corpus/decoder", seconds, seed)
    slow = _doubling.slow_shapes()
    for name in slow:
        print(f"{name}: twice as many bytes take more than {_doubling.MOST} times the work")
    faults = counts.pop("faults") + len(slow)
    return {**counts, "awkward shapes decoded at double length": len(_doubling.SHAPES), "faults": faults}
