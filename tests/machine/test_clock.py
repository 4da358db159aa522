"""The virtual clock against a list that is sorted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.machine.clock import COMPACT_AFTER, Clock, Event


def test_events_fire_in_order_of_time_and_then_of_asking() -> None:
    clock = Clock()
    fired: list[str] = []
    clock.at(20, lambda: fired.append("late"))
    clock.at(10, lambda: fired.append("first"))
    clock.at(10, lambda: fired.append("second"))
    assert clock.next_deadline() == 10
    assert not clock.fire()
    clock.advance_to(10)
    assert clock.fire()
    assert fired == ["first", "second"]
    assert clock.next_deadline() == 20
    clock.advance_to(5)
    assert clock.now == 10, "time never goes back"
    clock.advance_to(30)
    assert clock.fire()
    assert (fired[2:], clock.next_deadline()) == (["late"], None)


def test_a_cancelled_event_is_gone() -> None:
    clock = Clock()
    fired: list[int] = []
    event = clock.at(1, lambda: fired.append(1))
    clock.at(2, lambda: fired.append(2))
    clock.cancel(event)
    clock.cancel(event)
    assert clock.next_deadline() == 2
    clock.advance_to(9)
    clock.fire()
    assert fired == [2]


def test_cancelling_what_fired_is_harmless() -> None:
    clock = Clock()
    event = clock.at(0, lambda: None)
    clock.fire()
    clock.cancel(event)
    assert clock.next_deadline() is None


def test_a_callback_may_plan_again() -> None:
    clock = Clock()
    moments: list[int] = []

    def tick() -> None:
        moments.append(clock.now)
        if len(moments) < 3:
            clock.at(clock.now + 10, tick)

    clock.at(0, tick)
    clock.fire()
    assert moments == [0]
    for now in (10, 20, 30):
        clock.advance_to(now)
        clock.fire()
    assert moments == [0, 10, 20]


def test_what_is_due_already_fires_in_the_same_go() -> None:
    clock = Clock()
    fired: list[int] = []
    clock.advance_to(100)

    def again() -> None:
        clock.at(60, lambda: fired.append(60))

    clock.at(50, again)
    assert clock.fire()
    assert fired == [60]


def test_changes_are_told() -> None:
    clock = Clock()
    told: list[int | None] = []
    clock.on_change = lambda: told.append(clock.next_deadline())
    event = clock.at(7, lambda: None)
    clock.cancel(event)
    assert told == [7, None]


def test_planning_and_cancelling_for_ever_stays_small() -> None:
    clock = Clock()
    keep = clock.at(1_000_000, lambda: None)
    for moment in range(50 * COMPACT_AFTER):
        clock.cancel(clock.at(1000 + moment, lambda: None))
    assert len(clock._queue) <= 2 * COMPACT_AFTER + 2
    assert clock.next_deadline() == keep.when


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=200), st.lists(st.integers(0, 60), max_size=20))
def test_against_a_sorted_list(plan: list[tuple[int, bool]], steps: list[int]) -> None:
    clock = Clock()
    fired: list[int] = []
    events: list[Event] = []
    for number, (when, _cancel) in enumerate(plan):
        events.append(clock.at(when, lambda number=number: fired.append(number)))  # type: ignore[misc]
    for event, (_when, cancel) in zip(events, plan, strict=True):
        if cancel:
            clock.cancel(event)
    alive = [(when, number) for number, (when, cancel) in enumerate(plan) if not cancel]
    for now in sorted(steps):
        clock.advance_to(now)
        clock.fire()
        assert fired == [number for when, number in sorted(alive) if when <= now]
        later = [when for when, _ in alive if when > now]
        assert clock.next_deadline() == (min(later) if later else None)
