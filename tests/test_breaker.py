"""The breaker of an upstream."""

from __future__ import annotations

from llm_stream.upstream.breaker import FAILURES
from llm_stream.upstream.breaker import FIRST_COOL_DOWN_S
from llm_stream.upstream.breaker import LONGEST_COOL_DOWN_S
from llm_stream.upstream.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker("first", clock)
    for _ in range(FAILURES):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = opened(Clock())
    assert breaker.is_open
    assert not breaker.admit()


def test_a_success_in_between_keeps_it_closed() -> None:
    breaker = Breaker("first", Clock())
    for _ in range(FAILURES):
        breaker.failed()
        breaker.succeeded()
    assert not breaker.is_open
    assert not breaker.has_failures


def test_one_trial_is_let_through_after_the_cool_down() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_COOL_DOWN_S
    assert [breaker.admit(), breaker.admit()] == [True, False]
    breaker.succeeded()
    assert [breaker.admit(), breaker.admit()] == [True, True]


def test_the_cool_down_doubles_up_to_a_bound() -> None:
    clock = Clock()
    breaker = opened(clock)
    expected = FIRST_COOL_DOWN_S
    for _ in range(10):
        clock.now += expected - 0.1
        assert not breaker.admit()
        clock.now += 0.1
        assert breaker.admit()
        breaker.failed()
        expected = min(2 * expected, LONGEST_COOL_DOWN_S)
    assert expected == LONGEST_COOL_DOWN_S


def test_a_trial_that_tells_nothing_leaves_room_for_another_one() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_COOL_DOWN_S
    assert breaker.admit()
    breaker.released()
    assert breaker.is_open
    assert breaker.admit()


def test_calls_that_began_before_it_opened_do_not_prolong_the_cool_down() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_COOL_DOWN_S - 1
    breaker.failed()
    clock.now += 1
    assert breaker.admit()
