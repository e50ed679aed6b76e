"""What is remembered of forgotten streams: nothing kept lately is missing, and it takes few pieces of memory."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from llm_stream.core.remembered import DIGEST_BYTES
from llm_stream.core.remembered import Remembered
from llm_stream.core.remembered import digest

MOST = 200
names = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES).filter(any)
values = st.binary(min_size=3, max_size=3)


@given(st.lists(st.tuples(names, values), max_size=3 * MOST))
def test_the_newest_entries_are_remembered(entries: list[tuple[bytes, bytes]]) -> None:
    remembered = Remembered(3, MOST)
    for name, value in entries:
        remembered.keep(name, value)
    newest = dict(entries[-MOST:])
    assert {name: remembered.get(name) for name in newest} == newest
    first_of_each: dict[bytes, bytes] = {}
    for name, value in remembered.items():
        first_of_each.setdefault(name, value)
    assert first_of_each.items() >= newest.items()
    assert len(first_of_each) <= 2 * MOST


@given(st.lists(names, max_size=50), names)
def test_what_was_not_kept_is_not_found(kept: list[bytes], other: bytes) -> None:
    remembered = Remembered(0)
    for name in kept:
        remembered.keep(name)
    assert (other in remembered) == (other in kept)


def test_names_that_belong_to_the_same_place_are_told_apart() -> None:
    remembered = Remembered(1)
    same = [bytes(8) + digest(str(n))[8:] for n in range(40)]
    for n, name in enumerate(same):
        remembered.keep(name, bytes([n]))
    assert [remembered.get(name) for name in same] == [bytes([n]) for n in range(40)]


def test_an_entry_takes_no_object_of_its_own() -> None:
    remembered = Remembered(10)
    before = sys.getallocatedblocks()
    for n in range(5000):
        remembered.keep(digest(str(n)), bytes(10))
    assert sys.getallocatedblocks() - before < 100


def test_a_digest_tells_its_parts_apart() -> None:
    assert digest("a", "bc") != digest("ab", "c")
    assert len(digest("\ud800")) == DIGEST_BYTES  # a surrogate from a header that was not UTF-8
