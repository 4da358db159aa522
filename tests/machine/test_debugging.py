"""Stops for a debugger: exact places, and nothing in the run that is not there without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from efishim.machine.debugging import Halt, Then, Why
from efishim.machine.machine import Machine
from efishim.machine.watchpoints import Watchpoint
from tests.debug.program import BEHIND, LOOP, LOOPS, NARROW, STORE, TOTAL, WIDE, switching
from tests.machine.guest import DATA, ORIGIN, protected

Answer = Callable[[Halt], Then]


class Looker:
    """A debugger that notes where it was asked, and answers with what it was given."""

    def __init__(self, answer: Answer, *, places: tuple[int, ...] = (), curious: bool = False) -> None:
        self._answer = answer
        self._places = places
        self._curious = curious
        self.halts: list[Halt] = []
        self.machine: Machine | None = None

    def attention(self) -> bool:
        return self._curious

    def over(self) -> bool:
        return False

    def stopped(self, halt: Halt) -> Then:
        assert self.machine is not None
        assert self.machine.debugging is not None
        if halt.why is Why.START:
            for place in self._places:
                self.machine.debugging.insert(place)
        self.halts.append(halt)
        return self._answer(halt)

    def at(self, why: Why) -> list[int]:
        return [halt.at for halt in self.halts if halt.why is why]


def run(
    looker: Looker | None = None, *, build: Callable[[], Machine] = switching, max_insns: int | None = None
) -> tuple[Machine, tuple[Any, ...]]:
    """A machine that has run to its end, and everything that is told of its run."""
    machine = build()
    if looker is not None:
        looker.machine = machine
        machine.debug(looker)
    stop = machine.run(max_insns=max_insns)
    native = machine.engine.native
    seen = (
        stop,
        machine.insns,
        machine.now(),
        native.blocks(),
        native.origins(),
        native.times_entered(),
        machine.cpu.get("rax"),
    )
    return machine, seen


def test_stepping_meets_every_instruction_and_changes_nothing() -> None:
    looker = Looker(lambda _: Then.STEP)
    assert run(looker)[1] == run()[1]
    assert [halt.insns for halt in looker.halts] == list(range(len(looker.halts)))
    assert looker.halts[-1].at == looker.halts[-2].at + 2, "HLT is behind the jump"
    assert looker.at(Why.STEP).count(LOOP) == LOOPS
    assert {NARROW, WIDE, STORE, BEHIND} <= set(looker.at(Why.STEP))


@pytest.mark.parametrize("curious", [False, True])
def test_breakpoints_within_blocks_are_met_each_time(curious: bool) -> None:
    looker = Looker(lambda _: Then.CONTINUE, places=(ORIGIN, NARROW + 4, BEHIND), curious=curious)
    assert run(looker)[1] == run()[1]
    hits = looker.at(Why.BREAK)
    assert hits == [NARROW + 4] + LOOPS * [BEHIND]  # the first instruction is where the guest was stopped already


def test_a_breakpoint_in_code_that_ran_before_and_one_that_is_taken_away() -> None:
    looker = Looker(lambda halt: Then.CONTINUE, places=(STORE,))

    def answer(halt: Halt) -> Then:
        assert looker.machine is not None
        assert looker.machine.debugging is not None
        if len(looker.at(Why.BREAK)) == 10 and halt.at == STORE:
            looker.machine.debugging.insert(LOOP)
            looker.machine.debugging.remove(STORE)
        return Then.CONTINUE

    looker._answer = answer
    assert run(looker)[1] == run()[1]
    assert looker.at(Why.BREAK) == 10 * [STORE] + (LOOPS - 10) * [LOOP]


def test_steps_from_within_a_block_and_on() -> None:
    left = 0

    def answer(halt: Halt) -> Then:
        nonlocal left
        left = 7 if halt.why is Why.BREAK else left - 1
        return Then.STEP if left > 0 else Then.CONTINUE

    looker = Looker(answer, places=(BEHIND,))
    assert run(looker)[1] == run()[1]
    assert looker.at(Why.STEP)[:4] == [BEHIND + 1, BEHIND + 3, LOOP, STORE]


def test_what_is_changed_outside_counts() -> None:
    def answer(halt: Halt) -> Then:
        if halt.why is Why.AGAIN:
            assert not halt.inside
            assert looker.machine is not None
            looker.machine.cpu.set("rcx", 1)
        return Then.OUTSIDE if halt.inside else Then.CONTINUE

    looker = Looker(answer, places=(STORE,))
    machine, _ = run(looker)
    assert machine.memory.u64(TOTAL) == machine.cpu.get("rax")
    assert [halt.why for halt in looker.halts] == [Why.START, Why.BREAK, Why.AGAIN]
    assert {halt.insns for halt in looker.halts[1:]} == {looker.halts[1].insns}
    whole = run()[0]
    assert machine.insns == whole.insns - 5 * (LOOPS - 1), "one turn of five instructions, and not fifty"


def test_a_debugger_ends_the_run_in_the_middle_of_a_block() -> None:
    looker = Looker(lambda halt: Then.END if halt.why is Why.BREAK else Then.CONTINUE, places=(STORE,))
    machine, (stop, insns, *_) = run(looker)
    assert (stop.reason, machine.engine.env.linear, insns) == ("interrupted", STORE, looker.halts[-1].insns)


def test_a_limit_of_instructions_is_as_exact_as_ever() -> None:
    whole = run()[0].insns
    for limit in (whole - 7, whole - 6, whole - 5):
        looker = Looker(lambda _: Then.STEP)
        assert run(looker, max_insns=limit)[1] == run(max_insns=limit)[1]


@pytest.mark.parametrize(
    ("point", "hits"), [(Watchpoint(TOTAL + 3, 1, False, True), LOOPS), (Watchpoint(TOTAL, 8, True, False), 0)]
)
def test_watchpoints_stop_behind_the_access(point: Watchpoint, hits: int) -> None:
    def answer(halt: Halt) -> Then:
        assert looker.machine is not None
        assert looker.machine.debugging is not None
        if halt.why is Why.START:
            looker.machine.debugging.watch(point)
        return Then.CONTINUE

    looker = Looker(answer)
    machine, seen = run(looker)
    assert seen[1] == run()[1][1]
    assert looker.at(Why.WATCH) == hits * [BEHIND]
    assert machine.memory.u64(TOTAL) == machine.cpu.get("rax")


def test_a_watchpoint_that_is_gone_stops_nobody() -> None:
    point = Watchpoint(TOTAL, 8, False, True)

    def answer(halt: Halt) -> Then:
        assert looker.machine is not None
        debugging = looker.machine.debugging
        assert debugging is not None
        if halt.why is Why.START:
            debugging.watch(point)
        elif halt.inside:
            return Then.OUTSIDE
        else:
            debugging.unwatch(point)
        return Then.CONTINUE

    looker = Looker(answer)
    run(looker)
    assert looker.at(Why.WATCH) == [BEHIND]


def test_a_read_is_seen() -> None:
    code = b"\xa1" + DATA.to_bytes(4, "little") + b"\x90\xf4"  # mov eax, [DATA]; nop; hlt
    point = Watchpoint(DATA, 4, True, False)

    def answer(halt: Halt) -> Then:
        assert looker.machine is not None
        assert looker.machine.debugging is not None
        if halt.why is Why.START:
            looker.machine.debugging.watch(point)
        return Then.CONTINUE

    looker = Looker(answer)
    run(looker, build=lambda: protected(code))
    (hit,) = [halt.hit for halt in looker.halts if halt.why is Why.WATCH]
    assert hit is not None
    assert (hit.address, hit.write) == (DATA, False)
    assert looker.at(Why.WATCH) == [ORIGIN + 5]
