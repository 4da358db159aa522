"""Virtual time: instructions, waiting, and the time stamp counter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.machine.clock import Clock
from efishim.machine.native import NEVER, State
from efishim.machine.timekeeper import INSNS_PER_US, PORT_ACCESS_NS, SPIN_LONGEST_STEP_NS, TSC_READ_NS, Timekeeper

GHZ = 1_000_000_000

INSNS_PER_NS = INSNS_PER_US // 1000


def keeper(seed: int = 0, tsc_hz: int = 2 * GHZ, insns_per_us: int = INSNS_PER_US) -> tuple[Timekeeper, State, Clock]:
    state, clock = State(deadline=NEVER, limit=NEVER), Clock()
    return Timekeeper(clock, state, tsc_hz=tsc_hz, seed=seed, insns_per_us=insns_per_us), state, clock


def test_instructions_are_time() -> None:
    time, state, clock = keeper()
    state.insns = 4000
    assert time.now() == clock.now == 4000 // INSNS_PER_NS
    assert time.tsc() == 2 * 4000 // INSNS_PER_NS
    assert time.insns_at(5000) == 5000 * INSNS_PER_NS


@pytest.mark.parametrize(("speed", "insns", "ns"), [(4000, 4000, 1000), (3970, 3970, 1000), (3970, 4000, 1007), (100, 1, 10)])
def test_a_processor_has_a_speed(speed: int, insns: int, ns: int) -> None:
    time, state, _ = keeper(insns_per_us=speed)
    state.insns = insns
    assert time.now() == ns
    due = time.insns_at(ns + 1)
    state.insns = due
    assert time.now() >= ns + 1
    other, state, _ = keeper(insns_per_us=speed)
    state.insns = due - 1
    assert other.now() <= ns, "one instruction less is too early"


def test_skipping_takes_no_instructions() -> None:
    time, state, clock = keeper()
    state.insns = 400
    time.skip_to(1_000_000)
    assert (time.now(), state.insns) == (1_000_000, 400)
    assert time.insns_at(1_000_001) == 400 + INSNS_PER_NS
    time.skip_to(5)
    assert clock.now == 1_000_000, "never back"


def test_instructions_that_are_taken_back_do_not_turn_the_clock_back() -> None:
    """A block that was left early is counted whole at first. A device that asks what time it is would otherwise plan for
    a moment that the clock has passed: the PIT did so without end under Xen.
    """
    time, state, clock = keeper()
    state.insns = 4000
    assert time.now() == 1000
    state.insns -= 40
    assert time.now() == clock.now == 1000
    state.insns += 80
    assert time.now() == clock.now == 1010


def test_what_is_planned_stops_the_processor_in_time() -> None:
    time, state, _ = keeper()
    state.limit = state.deadline = 1_000_000
    time.plan(10_000)
    assert state.limit == state.deadline == 10_000 * INSNS_PER_NS
    time.port_access()
    assert state.limit == (10_000 - PORT_ACCESS_NS) * INSNS_PER_NS, "time moved, so fewer instructions are left"
    time.plan(None)
    state.limit = state.deadline = 77
    time.port_access()
    assert state.limit == 77


def test_what_is_overdue_stops_at_once() -> None:
    time, state, _ = keeper()
    state.limit = state.deadline = 1_000_000
    time.plan(10)
    time.port_access()
    assert state.limit == state.deadline == 0


@pytest.mark.slow
@given(st.integers(0, 1 << 63), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 5)), min_size=2, max_size=60))
def test_the_counter_never_goes_back_and_follows_the_clock(seed: int, reads: list[tuple[int, int]]) -> None:
    time, state, clock = keeper(seed)
    last = -1
    for insns, place in reads:
        state.insns += insns
        value = time.read_tsc(place)
        assert value > last
        assert abs(value - 2 * clock.now) <= 2
        last = value


@given(st.integers(0, 1 << 63))
def test_reading_costs_and_depends_on_the_seed_only(seed: int) -> None:
    one, other = keeper(seed)[0], keeper(seed)[0]
    values = [one.read_tsc(number) for number in range(20)]
    assert values == [other.read_tsc(number) for number in range(20)]
    assert TSC_READ_NS * 20 <= one.now() <= (TSC_READ_NS + 7) * 20


def test_another_seed_another_jitter() -> None:
    keepers = [keeper(seed)[0] for seed in range(50)]
    assert len({tuple(time.read_tsc(number) for number in range(8)) for time in keepers}) == 50


def test_a_waiting_loop_moves_time_and_an_event_bounds_it() -> None:
    time, state, clock = keeper()
    for _ in range(100):
        state.insns += 5
        time.spin(0x1000)
    assert time.now() > 50 * SPIN_LONGEST_STEP_NS
    time, state, clock = keeper()
    clock.at(1500, lambda: None)
    for _ in range(100):
        state.insns += 5
        time.spin(0x1000)
    assert 1500 <= time.now() <= 1500 + 100 * 5 // INSNS_PER_NS, "not past what is due"


def test_work_between_is_not_waiting() -> None:
    time, state, _ = keeper()
    for _ in range(100):
        state.insns += 100_000
        time.spin(0x1000)
    assert time.now() == 100 * 100_000 // INSNS_PER_NS


def test_two_places_wait_each_for_itself() -> None:
    time, state, _ = keeper()
    for _ in range(50):
        state.insns += 5
        time.spin(0x1000)
        state.insns += 5
        time.spin(0x2000)
    assert time.now() > SPIN_LONGEST_STEP_NS


def test_polling_a_device_is_not_skipped() -> None:
    time, state, _ = keeper()
    for _ in range(100):
        state.insns += 5
        time.spin(0x1000)
        time.port_access()
    assert time.now() == 100 * PORT_ACCESS_NS + 100 * 5 // INSNS_PER_NS
