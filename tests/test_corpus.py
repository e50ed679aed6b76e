"""Inputs that fuzzers have found, or that were defects once: `make fuzz` starts from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from . import decoding
from . import transporting

CORPUS = Path(__file__).parent / "corpus"
CHECKS: dict[str, Callable[[bytes], object]] = {"decoder": decoding.check, "transport": transporting.check}
INPUTS = [path.relative_to(CORPUS) for path in sorted(CORPUS.glob("*/*"))]
MOST_BYTES = 200_000


@pytest.mark.parametrize("name", INPUTS, ids=str)
def test_any_input_ends_by_a_name_and_the_same_at_every_split(name: Path) -> None:
    CHECKS[name.parts[0]]((CORPUS / name).read_bytes())


def test_corpus_is_small() -> None:
    assert sum((CORPUS / name).stat().st_size for name in INPUTS) <= MOST_BYTES
