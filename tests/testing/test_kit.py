"""The checks of the conformance kit one by one, on a provider in which nothing is wrong, and on one that truncates."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from efishim.provider import BootRequest, Entry, Handover, MachineFacts, MemoryKind, MemoryRange
from efishim.testing import Subject, facts
from efishim.testing.any_request import any_request, of_size
from efishim.testing.entered import Entered, enter, guest, userspace
from efishim.testing.kit import OF_ENTRY, told
from efishim.testing.memory import MIB
from efishim.testing.stage import CountedRam, OutOfWork, set_stage
from tests.support.others import BrokenHvmlite

PVH = Entry("pvh", "", through_shim=False)
OTHERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"command_line": b"other"}, "its command line is"),
    ({"memory_map": ()}, "RAM is [0x0, 0xa0000), "),
    ({"modules": ()}, "modules are at"),
    ({"rsdp": None}, "its RSDP is at"),
)


class Narrow(BrokenHvmlite):
    """One entry."""

    entries: Any = (PVH,)


class Truncating(Narrow):
    """Keeps 20 bytes of a command line."""

    def produce(self, request: BootRequest, memory: Any, arena: Any) -> Handover:
        """Without a word."""
        return super().produce(dataclasses.replace(request, command_line=request.command_line[:20]), memory, arena)


@pytest.mark.parametrize("check", OF_ENTRY)
def test_nothing_is_wrong(check: str) -> None:
    assert list(OF_ENTRY[check](Subject(Narrow()), PVH)) == []


@pytest.fixture(scope="module")
def run() -> Entered:
    return enter(Subject(Narrow()), PVH)


def test_a_run_has_nothing_against_it_either(run: Entered) -> None:
    assert run.record is not None
    assert [*run.found, *run.violations, *guest(run, PVH), *userspace(run.record)] == []


def test_what_was_read_is_compared_with_what_the_guest_says(run: Entered) -> None:
    assert run.told is not None
    for change, word in OTHERS:
        other = dataclasses.replace(run, told=dataclasses.replace(run.told, **change))
        (found,) = guest(other, PVH)
        assert found.rule == "provider/guest"
        assert found.found.startswith(word)


def test_a_request_is_made_up_that_does_not_come_back() -> None:
    assert any_request(Subject(Narrow()), PVH) == []
    (found,) = any_request(Subject(Truncating()), PVH)
    assert found.rule == "provider/command-line"
    assert told(found).startswith("provider/command-line: The command line comes back as it was given")


def test_a_machine_is_made_larger_where_its_map_can_be() -> None:
    small = of_size(facts(), 8 * MIB)
    assert [(one.start, one.end) for one in small.memory_map[2:]] == [(MIB, 9 * MIB), (9 * MIB, 9 * MIB + 0x1000)]
    two = MachineFacts((MemoryRange(MIB, MIB, MemoryKind.RAM), MemoryRange(4 * MIB, MIB, MemoryKind.RAM)))
    assert of_size(two, 8 * MIB) is two


def test_work_ends() -> None:
    memory = CountedRam(0x1000)
    memory.accesses = 2
    memory.write(0, b"ab")
    assert memory.read(0, 2) == b"ab"
    with pytest.raises(OutOfWork):
        memory.read(0, 1)
    assert memory.copy().read(0, 2) == b"ab"


def test_the_entries_are_those_that_the_image_has() -> None:
    class Many(Narrow):
        entries = (PVH, Entry("by-magic", "", through_shim=False), Entry("efi-mixed", "", through_shim=True))

    assert Subject(Many()).entries == (PVH,)


def test_modules_lie_behind_each_other_as_the_provider_wants() -> None:
    stage = set_stage(Subject(Narrow()), PVH)
    one, two = stage.request.modules
    assert (one.size, two.start % 0x1000, two.size) == (0x1234, 0, 0x10)
    assert stage.memory.read(one.start, one.size) == stage.contents[0] != stage.contents[1]
