"""Requests that hypothesis makes up: arbitrary command lines, modules and machines."""

from __future__ import annotations

from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from efishim.provider import Entry, MachineFacts, MemoryKind, MemoryRange, Violation
from efishim.testing.checks_reading import symmetry
from efishim.testing.memory import MIB
from efishim.testing.stage import Wish
from efishim.testing.subject import Subject

EXAMPLES = 20
"""Requests for an entry."""


def any_request(subject: Subject, entry: Entry) -> list[Violation]:
    """What is wrong with a request that does not come back as it went in; empty when all do. It is not made simpler: that would
    take many times as long, and requests are short.
    """

    def found(wish: Wish) -> list[Violation]:
        return list(symmetry(subject, entry, wish))

    always = settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    try:
        return found(find(_wishes(subject.machine), lambda wish: bool(found(wish)), settings=always))
    except NoSuchExample:
        return []


def _wishes(machine: MachineFacts) -> st.SearchStrategy[Wish]:
    # Most of what hypothesis makes up is short; each third is not.
    lines = st.one_of(st.binary(max_size=20), st.binary(max_size=200), st.binary(min_size=100, max_size=200))
    lines = lines.map(lambda line: line.replace(b"\0", b" "))
    modules = st.lists(st.integers(1, 0x3000), max_size=3).map(tuple)
    machines = st.integers(8, 4096).map(lambda size: of_size(machine, size * MIB))
    return st.builds(Wish, lines, modules, st.just({}), machines)


def of_size(machine: MachineFacts, size: int) -> MachineFacts:
    """The same machine with more or less memory above 1 MiB, as far as it has memory there."""
    *below, last = machine.memory_map
    above = [one for one in machine.memory_map if one.kind is MemoryKind.RAM and one.start >= MIB]
    if len(above) == 1 and above[0] is last:
        ram = MemoryRange(last.start, size, MemoryKind.RAM)
        return MachineFacts((*below, ram), machine.rsdp, machine.smbios, machine.framebuffer, machine.efi, machine.held)
    if len(above) != 1 or above[0].end + last.size != last.end:
        return machine  # not a map that grows at its end
    end = above[0].start + size
    kept = tuple(one for one in below if one.end <= above[0].start)
    moved = MemoryRange(end, last.size, last.kind, last.content)
    ram = MemoryRange(above[0].start, size, MemoryKind.RAM)
    return MachineFacts((*kept, ram, moved), machine.rsdp, machine.smbios, machine.framebuffer, machine.efi, machine.held)
