"""The queue before an upstream with limits."""

from __future__ import annotations

import threading

from llm_stream.upstream.queue import MINUTE_S
from llm_stream.upstream.queue import FairQueue

from .conftest import PATIENCE_S
from .test_breaker import Clock


def test_slots_go_round_the_owners_and_in_order_within_an_owner() -> None:
    queue = FairQueue(1, None, Clock())
    tickets = {name: queue.enter(name[0]) for name in ("a1", "a2", "a3", "b1", "b2", "c1")}
    order = []
    while tickets:
        ((name, ticket),) = [(name, ticket) for name, ticket in tickets.items() if ticket.has_slot]
        order.append(name)
        del tickets[name]
        ticket.leave()
    assert order == ["a1", "a2", "b1", "c1", "a3", "b2"]


def test_no_more_than_the_limit_have_a_slot() -> None:
    queue = FairQueue(2, None, Clock())
    tickets = [queue.enter("a") for _ in range(5)]
    assert [ticket.has_slot for ticket in tickets] == [True, True, False, False, False]
    tickets[0].leave()
    tickets[0].leave()
    assert [ticket.has_slot for ticket in tickets[1:]] == [True, True, False, False]


def test_no_more_than_the_limit_start_within_a_minute() -> None:
    clock = Clock()
    queue = FairQueue(None, 2, clock)
    first = queue.enter("a")
    clock.now += 10
    later = [queue.enter("a") for _ in range(3)]
    first.leave()
    assert [ticket.has_slot for ticket in later] == [True, False, False]
    assert queue.seconds_until_next(later[1]) == MINUTE_S - 10
    assert queue.seconds_until_next(later[2]) is None
    clock.now += MINUTE_S - 10
    queue.dispatch()
    assert [ticket.has_slot for ticket in later] == [True, True, False]


def test_a_paused_queue_starts_nothing_until_the_pause_is_over() -> None:
    clock = Clock()
    queue = FairQueue(2, None, clock)
    queue.pause(3)
    ticket = queue.enter("a")
    assert not ticket.has_slot
    assert queue.seconds_until_next(ticket) == 3
    clock.now += 3
    queue.dispatch()
    assert ticket.has_slot


def test_a_ticket_that_waits_leaves_at_once_and_takes_no_slot() -> None:
    queue = FairQueue(1, None)
    first, second, third = (queue.enter("a") for _ in range(3))
    got: list[bool] = []
    waiting = threading.Thread(target=lambda: got.append(second.wait(PATIENCE_S)))
    waiting.start()
    second.leave()
    waiting.join(PATIENCE_S)
    assert got == [False]
    first.leave()
    assert third.wait(PATIENCE_S)


def test_a_ticket_stops_waiting_at_its_deadline() -> None:
    queue = FairQueue(1, None)
    queue.enter("a")
    assert not queue.enter("b").wait(0.01)


def test_those_who_wait_for_time_to_pass_start_without_anybody_else() -> None:
    queue = FairQueue(1, None)
    queue.pause(0.05)
    first, second = queue.enter("a"), queue.enter("b")
    assert first.wait(PATIENCE_S)
    first.leave()
    assert second.wait(PATIENCE_S)
