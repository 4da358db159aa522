"""Planted causes are found, and nothing else is; two that only act together are found as a pair."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from efishim.why.behind import Behind
from efishim.why.build import Question, _sanity, find_out
from efishim.why.causes import is_switched
from efishim.why.forks import CRASHED
from efishim.why.items import difference
from efishim.why.laboratory import Laboratory
from efishim.why.model import Answer
from efishim.why.side import Side, Start, meet
from tests.why import told


@dataclass(frozen=True)
class Pair:
    """Two machines that stand at one point and do not differ."""

    one: Side
    other: Side
    start: Start


@pytest.fixture(scope="module")
def pair() -> Pair:
    one, other = told.side(), told.side()
    return Pair(one, other, meet(one, other))


@dataclass(frozen=True)
class Plant:
    """Changes a machine, and gives what undoes that."""

    item: str
    line: str
    put: Callable[[Side], Callable[[], None]]


def memory(address: Callable[[Side], int], data: bytes) -> Callable[[Side], Callable[[], None]]:
    def put(side: Side) -> Callable[[], None]:
        at = address(side)
        before = side.machine.memory.read(at, len(data))
        side.machine.memory.write(at, data)
        return lambda: side.machine.memory.write(at, before)

    return put


def in_params(at: int, data: bytes = b"\1") -> Callable[[Side], Callable[[], None]]:
    return memory(lambda side: side.boot_params + at, data)


def fixed(address: int, data: bytes = b"\1") -> Callable[[Side], Callable[[], None]]:
    return memory(lambda _side: address, data)


def node(side: Side) -> Callable[[], None]:
    """A node of setup_data of an unknown type, and the pointer to it."""
    undo = [
        fixed(0x50_0000, struct.pack("<QII", 0, 99, 4) + b"body")(side),
        in_params(told.SETUP_DATA, struct.pack("<Q", 0x50_0000))(side),
    ]

    def both() -> None:
        for one in undo:
            one()

    return both


def register(side: Side) -> Callable[[], None]:
    side.machine.cpu.set("rdi", 5)
    return lambda: side.machine.cpu.set("rdi", 0)


def mask(side: Side) -> Callable[[], None]:
    ports = side.machine.ports
    before = ports.read(0x21, 1)
    ports.write(0x21, 1, 0xFB)
    return lambda: ports.write(0x21, 1, before)


PLANTS = [
    *(Plant(f"boot_params.{name}", f"told {name}", in_params(at)) for name, (at, _) in told.FIELDS.items()),
    Plant("setup_data", "told setup_data", node),
    Plant("kernel variable variable", "set variable", fixed(told.BASE + told.VARIABLE)),
    Plant("memory without a name", "found memory", fixed(told.LOOSE)),
    Plant("register rdi", "passed edi", register),
    Plant("device PIC", "found interrupts on", mask),
]


@contextmanager
def planted(side: Side, *plants: Plant) -> Iterator[None]:
    undo = [plant.put(side) for plant in plants]
    try:
        yield
    finally:
        for one in undo:
            one()


def asked(pair: Pair) -> tuple[Answer, tuple[Behind, Behind]]:
    question = Question((pair.one, pair.other), pair.start, jobs=1)
    return find_out(question), question.truth


def test_there_are_twenty_of_all_kinds() -> None:
    assert len(PLANTS) == len({plant.item for plant in PLANTS}) == 20


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=[plant.item for plant in PLANTS])
def test_a_planted_cause_is_found(pair: Pair, plant: Plant) -> None:
    with planted(pair.other, plant):
        answer, (without, with_it) = asked(pair)
    assert [item.name for item in answer.items] == [plant.item]
    assert answer.sound
    assert not answer.unexplained
    differences = {fact for fact in {*without.facts, *with_it.facts} if without.facts.get(fact) != with_it.facts.get(fact)}
    assert {effect.fact for effect in answer.effects} == set(answer.items[0].switches) == differences
    assert f"log.{plant.line}" in differences
    assert all(cause.items == (plant.item,) for effect in answer.effects for cause in effect.causes)
    assert all(len(effect.causes) == 2 for effect in answer.effects), "in both directions"


@pytest.mark.measured
@pytest.mark.slow
def test_what_does_nothing_is_told_from_what_acts(pair: Pair) -> None:
    acts, idle = PLANTS[0], Plant("boot_params.hdr.vid_mode", "", in_params(506, b"\3"))
    with planted(pair.other, acts, idle):
        answer, _ = asked(pair)
    assert {item.name: item.readers for item in answer.items} == {acts.item: ("startup_64",), idle.item: ()}
    assert {item.name: (item.idle, item.exact) for item in answer.items} == {acts.item: (False, False), idle.item: (True, True)}
    assert answer.sound
    assert not answer.unexplained


PARTNERS = (
    Plant("boot_params._pad2", "", in_params(told.PAIRED_FIELD)),
    Plant("kernel variable paired", "", fixed(told.BASE + told.PAIRED)),
)


@pytest.mark.measured
@pytest.mark.slow
def test_a_pair_that_acts_only_together_is_found_as_one(pair: Pair) -> None:
    with planted(pair.other, *PARTNERS, PLANTS[3]):
        answer, _ = asked(pair)
    effect = next(effect for effect in answer.effects if effect.fact == "log.both")
    into_first = [cause.items for cause in effect.causes if cause.sides == (1, 0)]
    assert into_first == [tuple(sorted(plant.item for plant in PARTNERS))]
    # Taking either away from where both are ends it.
    assert {cause.items for cause in effect.causes if cause.sides == (0, 1)} == {(plant.item,) for plant in PARTNERS}
    assert answer.sound
    assert not answer.unexplained


@pytest.mark.measured
@pytest.mark.slow
def test_state_that_no_item_has_is_a_defect(pair: Pair) -> None:
    class Hidden:
        """Keeps what it remembers where nobody can look: in a generator."""

        def __init__(self, value: int) -> None:
            self.values = (value for _ in range(1 << 20))

        def read(self, _offset: int, _size: int) -> int:
            return next(self.values)

        def write(self, _offset: int, _size: int, _value: int) -> None:
            pass

    one, other = told.side(), told.side()
    for side, value in ((one, 0xFF), (other, 0)):
        found = side.machine.ports.find(0x21)
        assert found is not None
        object.__setattr__(found, "device", Hidden(value))
    answer, _ = asked(Pair(one, other, meet(one, other)))
    assert not answer.sound
    assert not answer.items
    assert any("log.found interrupts on" in check.defects for check in answer.sanity)
    assert answer.unexplained


class Bios:
    """Firmware of the host's that both machines have, and that remembers other calls."""

    def __init__(self, *calls: str) -> None:
        self.calls = list(calls)

    def trap(self, *_: object) -> bool:
        return False


@pytest.mark.measured
@pytest.mark.slow
def test_what_a_bios_remembers_is_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = told.side(), told.side()
    monkeypatch.setattr(one.machine, "_on_trap", Bios("int 15h").trap)
    monkeypatch.setattr(other.machine, "_on_trap", Bios("int 15h", "int 10h").trap)
    answer, _ = asked(Pair(one, other, meet(one, other)))
    assert [item.name for item in answer.items] == ["device BIOS"]
    assert answer.sound


@pytest.mark.measured
@pytest.mark.slow
def test_firmware_that_only_one_machine_has_is_taken_over_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = told.side(), told.side()
    monkeypatch.setattr(one.machine, "_on_trap", Bios("int 15h").trap)
    monkeypatch.setattr(other.machine, "_on_trap", lambda *_: False)
    answer, _ = asked(Pair(one, other, meet(one, other)))
    assert [item.name for item in answer.items] == ["device BIOS"]
    assert answer.sound


def ended(outcome: str, *facts: str) -> Behind:
    return Behind(dict.fromkeys(facts, "there"), "", outcome, 0)


def test_a_run_that_crashed_early_has_switched_nothing_off() -> None:
    base, other = ended("shutdown", "milestone.init", "log.a", "log.b"), ended("shutdown", "milestone.init", "log.c")
    crashed = ended("triple fault", "log.c")
    assert not is_switched(crashed, base, other, "log.a"), "it is gone because the run is"
    assert is_switched(crashed, base, other, "log.c"), "what is there is there"
    assert is_switched(ended("shutdown", "milestone.init", "log.b"), base, other, "log.a")
    assert not is_switched(base, base, other, "log.a")
    early = ended("triple fault", "log.c")
    assert is_switched(ended("triple fault"), base, early, "log.a"), "the other side came no further"


def test_two_crashes_are_not_the_same_record(pair: Pair) -> None:
    laboratory = Laboratory(pair.one, pair.other, difference(pair.one, pair.other), pair.start, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Laboratory, "everything", lambda _self: [(True, CRASHED), (False, CRASHED)])
        checks = _sanity(laboratory, (CRASHED, CRASHED), (pair.one, pair.other))
    assert [one.same for one in checks] == [False, False]
