"""The observer sees each access to watched memory, byte by byte, in every mode and mapping, and changes nothing."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.errors import MachineError
from efishim.machine import access_observer, env, native, softtlb
from efishim.machine.access_observer import ObservedRange, disjoint
from efishim.machine.machine import Machine
from tests.machine import guest
from tests.machine.test_hostile import hostile

SOURCE = (Path(efishim_firmware_stubs.__file__).parent / "machine/observer_x86_64.asm").read_text()
DEFINES = {
    name: int(value, 0)
    for name, value in re.findall(r"^%define (\w+)\s+(0x[0-9a-fA-F]+|\d+)\s*(?:;.*)?$", SOURCE, re.MULTILINE)
}
HLT = b"\xf4"
PAGE_AT = guest.DATA
"""A page that holds nothing else."""


def seen(machine: Machine, *ranges: ObservedRange) -> list[tuple[int, int, str, int]]:
    """Run to the end; address, size, r or w, and place of the instruction behind the start of the code, of each access."""
    machine.engine.observer.watch(*(ranges or (ObservedRange(PAGE_AT, 0x2000),)))
    stop = machine.run(max_insns=100_000)
    assert stop.reason == "halted"
    return [
        (one.address, one.size, "w" if one.write else "r", one.code - guest.ORIGIN)
        for one in machine.engine.observer.accesses()
    ]


# The assembly and its Python side


def test_constants_stand_as_the_assembly_has_them() -> None:
    state: Any = native.State
    processor: Any = env.Env
    segment: Any = env.Segment
    assert DEFINES["LEFT"] == state.left.offset
    assert DEFINES["TARGET"] == state.target.offset
    assert DEFINES["LAST_ENTRY"] == state.last_entry.offset
    assert DEFINES["ENV_EIP"] == processor.eip.offset
    assert DEFINES["ENV_CC_OP"] == processor.cc_op.offset
    assert DEFINES["ENV_HFLAGS"] == processor.hflags.offset
    assert DEFINES["ENV_CS_BASE"] == processor.cs.offset + segment.base.offset
    assert 1 << DEFINES["CS64_BIT"] == env.HF_CS64
    assert DEFINES["R_SIZE"] == access_observer._RANGE.size


def test_variables_stand_in_the_order_of_the_assembly() -> None:
    block = SOURCE[SOURCE.index("variables:\n") : SOURCE.index("fill:\n")]
    assert tuple(re.findall(r"^(\w+):\s+dq 0", block, re.MULTILINE)) == access_observer.VARIABLES


# What is seen: 64 bit


def test_loads_and_stores_of_every_size() -> None:
    code = bytes.fromhex(
        "8a042510002000"  # mov al, [0x200010]
        "668b042512002000"  # mov ax, [0x200012]
        "8b042514002000"  # mov eax, [0x200014]
        "488b042518002000"  # mov rax, [0x200018]
        "88042520002000"  # mov [0x200020], al
        "6689042522002000"
        "89042524002000"
        "4889042528002000"
    )
    assert seen(guest.long_mode(code + HLT)) == [
        (0x200010, 1, "r", 0),
        (0x200012, 2, "r", 7),
        (0x200014, 4, "r", 15),
        (0x200018, 8, "r", 22),
        (0x200020, 1, "w", 30),
        (0x200022, 2, "w", 37),
        (0x200024, 4, "w", 45),
        (0x200028, 8, "w", 52),
    ]


def test_read_modify_write_is_both() -> None:
    code = bytes.fromhex("83042510002000 01".replace(" ", ""))  # add dword [0x200010], 1
    machine = guest.long_mode(code + HLT)
    assert seen(machine) == [(0x200010, 4, "r", 0), (0x200010, 4, "w", 0)]
    assert machine.memory.u32(0x200010) == 1


def test_locked_instructions() -> None:
    code = bytes.fromhex("f00fc10c2510002000f0ff042514002000")  # lock xadd [0x200010], ecx; lock inc dword [0x200014]
    assert [(address, size, way) for address, size, way, _ in seen(guest.long_mode(code + HLT))] == [
        (0x200010, 4, "r"),
        (0x200010, 4, "w"),
        (0x200014, 4, "r"),
        (0x200014, 4, "w"),
    ]


def test_unaligned_accesses_are_one_each() -> None:
    code = bytes.fromhex("8b042511002000890425250020004889042533002000")
    assert [(address, size, way) for address, size, way, _ in seen(guest.long_mode(code + HLT))] == [
        (0x200011, 4, "r"),
        (0x200025, 4, "w"),
        (0x200033, 8, "w"),
    ]


def test_an_access_into_the_next_page_is_split_there() -> None:
    code = bytes.fromhex("488b0425fd0f200048890425fd0f2000")  # eight bytes at 0x200ffd
    assert [(address, size, way) for address, size, way, _ in seen(guest.long_mode(code + HLT))] == [
        (0x200FFD, 3, "r"),
        (0x201000, 5, "r"),
        (0x200FFD, 3, "w"),
        (0x201000, 5, "w"),
    ]


def test_of_an_access_that_leaves_the_watched_page_the_bytes_in_it() -> None:
    code = bytes.fromhex("488b0425fd1f200048890425fd1f2000")
    found = seen(guest.long_mode(code + HLT), ObservedRange(PAGE_AT + 0x1000, 0x1000))
    assert [(address, size, way) for address, size, way, _ in found] == [(0x201FFD, 3, "r"), (0x201FFD, 3, "w")]


def test_a_store_that_enters_the_watched_page() -> None:
    code = bytes.fromhex("48890425fd0f2000")
    found = seen(guest.long_mode(code + HLT), ObservedRange(PAGE_AT + 0x1000, 0x1000))
    assert [(address, size, way) for address, size, way, _ in found] == [(0x201000, 5, "w")]


def test_vectors_come_in_halves() -> None:
    code = bytes.fromhex("0f10042510002000")  # movups xmm0, [0x200010]
    assert [(address, size) for address, size, _, _ in seen(guest.long_mode(code + HLT))] == [(0x200010, 8), (0x200018, 8)]


def test_a_copy_reads_every_element() -> None:
    code = bytes.fromhex("be00002000bf00003000b900020000f348a5")  # 512 times 8 bytes from 0x200000
    machine = guest.long_mode(code + HLT)
    machine.memory.write(PAGE_AT, bytes(range(256)) * 16)
    found = seen(machine)
    assert found == [(PAGE_AT + 8 * number, 8, "r", 15) for number in range(512)]
    assert machine.memory.read(0x300000, 0x1000) == bytes(range(256)) * 16
    insns = [one.first for one in machine.engine.observer.accesses()]
    assert insns == list(range(insns[0], insns[0] + 512)), "an iteration counts as one instruction"


def test_repeated_accesses_are_counted_with_first_and_last() -> None:
    code = bytes.fromhex("b90a0000008b042510002000ffc975f5")  # ten times
    machine = guest.long_mode(code + HLT)
    seen(machine)
    (one,) = machine.engine.observer.accesses()
    assert (one.address, one.count, one.linear) == (0x200010, 10, 0x200010)
    assert one.last - one.first == 9 * 3


def test_other_mappings_of_the_same_memory() -> None:
    """The page at 2 MiB, mapped again at 0xffff800000200000 and, by a page of its own, at 0x40005000."""
    code = bytes.fromhex(
        "48b8100020000080ffff"
        "8b18"  # mov rax, 0xffff800000200010; mov ebx, [rax]
        "8b042514500040"  # mov eax, [0x40005014]
        "8b042518002000"
    )
    machine = guest.long_mode(code + HLT)
    memory, tables = machine.memory, guest.TABLES
    memory.put_u64(tables + 8 * 256, tables + 0x1003)
    memory.put_u64(tables + 0x1000 + 8, tables + 0x3003)
    memory.put_u64(tables + 0x3000, tables + 0x4003)
    memory.put_u64(tables + 0x4000 + 8 * 5, PAGE_AT | 3)
    assert [(address, size) for address, size, _, _ in seen(machine)] == [(0x200010, 4), (0x200014, 4), (0x200018, 4)]
    assert [one.linear for one in machine.engine.observer.accesses()] == [0xFFFF800000200010, 0x40005014, 0x200018]


def test_a_mapping_changed_while_watched() -> None:
    """A page that showed watched memory shows other memory after INVLPG, and the other way round."""
    code = bytes.fromhex(
        "8b042510500040"  # mov eax, [0x40005010]: watched
        "48c7042528401000"
        "03003000"  # the page at 0x40005000 is at 0x300000 from now on
        "0f013c2500500040"  # invlpg
        "8b042514500040"  # mov eax, [0x40005014]: not watched
        "48c7042528401000"
        "03002000"
        "0f013c2500500040"
        "8b042518500040"
    )
    machine = guest.long_mode(code + HLT)
    memory, tables = machine.memory, guest.TABLES
    memory.put_u64(tables + 0x1000 + 8, tables + 0x3003)
    memory.put_u64(tables + 0x3000, tables + 0x4003)
    memory.put_u64(tables + 0x4000 + 8 * 5, PAGE_AT | 3)
    assert [address for address, _, _, _ in seen(machine)] == [0x200010, 0x200018]


def test_faulting_accesses_are_seen_when_they_succeed() -> None:
    """A store to a page that is not present: the handler maps it, and the store is repeated."""
    code = bytes.fromhex("c704251050004078563412")  # mov dword [0x40005010], 0x12345678
    machine = guest.long_mode(code + HLT)
    memory, tables = machine.memory, guest.TABLES
    memory.put_u64(tables + 0x1000 + 8, tables + 0x3003)
    memory.put_u64(tables + 0x3000, tables + 0x4003)
    handler = bytes.fromhex("48c7042528401000030020004883c40848cf")
    guest.handle64(machine, 14, handler)
    assert seen(machine) == [(0x200010, 4, "w", 0)]
    assert machine.memory.u32(0x200010) == 0x12345678


# Other modes


def test_protected_mode_without_paging() -> None:
    code = bytes.fromhex("a110002000c605200020000766a122002000")
    assert seen(guest.protected(code + HLT)) == [(0x200010, 4, "r", 0), (0x200020, 1, "w", 5), (0x200022, 2, "r", 12)]


def test_real_mode_reads_the_bios_data_area() -> None:
    code = bytes.fromhex("a113048b1e0e04b840008ed8a01700")  # [0x413], [0x40e], and 0040:0017
    found = seen(guest.real(code + HLT), ObservedRange(0x400, 0x100))
    assert found == [(0x413, 2, "r", 0), (0x40E, 2, "r", 3), (0x417, 1, "r", 12)]


def test_the_page_that_holds_code_and_stack() -> None:
    """As with a boot sector: structure, code and stack in one page. Only the structure's bytes are seen."""
    code = bytes.fromhex("e80100f45058a10081fe060281c3")
    # call +1; hlt; push ax; pop ax; mov ax, [0x8100]; inc byte [0x8102]; ret
    machine = guest.real(code)
    machine.cpu.set("rsp", 0x8FF0)
    found = seen(machine, ObservedRange(0x8100, 0x10))
    assert found == [(0x8100, 2, "r", 6), (0x8102, 1, "r", 9), (0x8102, 1, "w", 9)]


def test_code_that_changes_itself_in_a_watched_page() -> None:
    """mov byte [next + 1], 0x55; mov al, 0: the immediate operand is replaced before it runs."""
    code = bytes.fromhex("c6050a80000055eb00b000a210002000")
    machine = guest.protected(code + HLT)
    found = seen(machine, ObservedRange(guest.ORIGIN, 0x100))
    assert found == [(0x800A, 1, "w", 0)]
    assert machine.memory.read(0x200010, 1) == b"\x55"


def test_ring_3_is_seen() -> None:
    """IRETQ to ring 3, which reads watched memory and comes back with an exception."""
    code = bytes.fromhex("6a2b680070000068020000006a33681580000048cf8b0425100020000f0b")
    machine = guest.long_mode(code)
    memory = machine.memory
    memory.put_u64(guest.GDT + 0x28, 0x00CFF2000000FFFF)
    memory.put_u64(guest.GDT + 0x30, 0x00AFFA000000FFFF)
    machine.cpu.set("gdtr.limit", 0x37)
    for table in (guest.TABLES, guest.TABLES + 0x1000):
        memory.put_u64(table, memory.u64(table) | 4)
    for number in range(8):
        at = guest.TABLES + 0x2000 + 8 * number
        memory.put_u64(at, memory.u64(at) | 4)
    memory.put_u64(0x5004, 0x6000)
    machine.engine.processor.load_segment("tr", 0, base=0x5000, limit=0x67, flags=0x8B00)
    guest.handle64(machine, 6, HLT)
    assert seen(machine) == [(0x200010, 4, "r", code.index(bytes.fromhex("8b0425")))]


# Ranges


def test_only_the_watched_bytes_count() -> None:
    code = bytes.fromhex("8b04250c0020008b0425100020008b0425120020008b042514002000488b04250a002000")
    found = seen(guest.long_mode(code + HLT), ObservedRange(0x200010, 4))
    assert [(address, size) for address, size, _, _ in found] == [(0x200010, 4), (0x200012, 4), (0x20000A, 8)]


def test_a_coarse_range_counts_by_granules() -> None:
    code = bytes.fromhex("be00002000b900100000f3ac")  # rep lodsb over the page
    machine = guest.long_mode(code + HLT)
    found = seen(machine, ObservedRange(PAGE_AT, 0x1000, 16))
    assert found == [(PAGE_AT + 16 * number, 1, "r", 10) for number in range(256)]
    assert {one.count for one in machine.engine.observer.accesses()} == {16}


def test_the_finest_granule_counts_where_ranges_overlap() -> None:
    assert disjoint(
        [ObservedRange(0, 0x1000, 16), ObservedRange(0x100, 0x10), ObservedRange(0x200, 0x10), ObservedRange(0x208, 0x10)]
    ) == [
        ObservedRange(0, 0x100, 16),
        ObservedRange(0x100, 0x10),
        ObservedRange(0x110, 0xF0, 16),
        ObservedRange(0x200, 0x18),
        ObservedRange(0x218, 0xDE8, 16),
    ]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(ObservedRange, st.integers(0, 300), st.integers(1, 200), st.sampled_from([1, 16, 4096])),
        min_size=0,
        max_size=8,
    )
)
def test_disjoint_ranges_cover_the_same_bytes_once(ranges: list[ObservedRange]) -> None:
    found = disjoint(ranges)
    assert all(one.end <= two.start for one, two in itertools.pairwise(found))
    for byte in range(512):
        there = [one.granule for one in ranges if one.start <= byte < one.end]
        covering = [one.granule for one in found if one.start <= byte < one.end]
        assert covering == ([min(there)] if there else [])


@pytest.mark.parametrize(("start", "size", "granule"), [(0, 0, 1), (-1, 1, 1), (0, 1, 0), (0, 1, 3), (0, -5, 1)])
def test_ranges_that_make_no_sense(start: int, size: int, granule: int) -> None:
    with pytest.raises(MachineError, match="nothing to watch"):
        ObservedRange(start, size, granule)


def test_memory_that_is_not_there() -> None:
    machine = guest.long_mode(HLT)
    with pytest.raises(MachineError, match="no memory to watch at 0x1000fff"):
        machine.engine.observer.watch(ObservedRange(guest.RAM, 0x1000))
    assert machine.engine.observer.watched == ()
    assert machine.engine.observer.accesses() == []


def test_too_many_ranges() -> None:
    machine = guest.long_mode(HLT)
    many = [ObservedRange(16 * number, 8) for number in range(access_observer.RANGE_LIMIT + 1)]
    with pytest.raises(MachineError, match="4097 ranges"):
        machine.engine.observer.watch(*many)


# While it runs


TEN_READS = bytes.fromhex("8b042510002000eb00") * 10


def test_watching_begins_and_ends_at_a_stop() -> None:
    """Two of ten blocks, each with one read, are watched: from the fourth to before the sixth."""
    machine = guest.long_mode(TEN_READS + HLT)
    observer, target = machine.engine.observer, ObservedRange(0x200010, 4)
    machine.watches.add(guest.ORIGIN + 3 * 9, lambda: observer.watch(target))
    machine.watches.add(guest.ORIGIN + 5 * 9, lambda: observer.unwatch(target))
    machine.run(max_insns=1000)
    assert [one.code - guest.ORIGIN for one in observer.accesses()] == [27, 36]
    assert observer.watched == ()


def test_ending_one_of_two() -> None:
    machine = guest.long_mode(TEN_READS + bytes.fromhex("8b042514002000") + HLT)
    observer = machine.engine.observer
    one, two = ObservedRange(0x200010, 4), ObservedRange(0x200014, 4)
    observer.watch(one, two)
    machine.watches.add(guest.ORIGIN + 9, lambda: observer.unwatch(one))
    machine.run(max_insns=1000)
    assert [access.address for access in observer.accesses()] == [0x200010, 0x200014]
    assert observer.watched == (two,)


def test_unwatch_without_arguments_ends_all() -> None:
    machine = guest.long_mode(TEN_READS + HLT)
    machine.engine.observer.watch(ObservedRange(0x200010, 4), ObservedRange(0x400000, 0x10000))
    machine.engine.observer.unwatch()
    machine.run(max_insns=1000)
    assert machine.engine.observer.accesses() == []


# Bounds


def test_a_guest_with_more_places_than_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_observer, "ROW_LIMIT", 128)
    code = bytes.fromhex("be00002000b900100000f3ac")
    machine = guest.long_mode(code + HLT)
    assert len(seen(machine)) == 128
    assert machine.engine.observer.dropped == 0x1000 - 128


def test_another_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_observer, "FILL_OFFSET", softtlb.FILL_OFFSET + 8 * 5)
    machine = guest.long_mode(HLT)
    with pytest.raises(MachineError, match="this build of Unicorn"):
        machine.engine.observer.watch(ObservedRange(PAGE_AT, 16))
    assert machine.run(max_insns=10).reason == "halted"


def test_a_table_that_is_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = guest.long_mode(bytes.fromhex("8b042510002000") + HLT)
    machine.engine.observer.watch(ObservedRange(PAGE_AT, 16))
    variables = machine.engine.observer._variables
    assert variables is not None
    variables.fast -= 16  # the table of another privilege level, where nothing is
    machine.run(max_insns=10)
    with pytest.raises(MachineError, match="table of translations"):
        machine.engine.observer.accesses()


# Nothing changes

Result = tuple[int, int, bytes, list[int], set[tuple[int, int, int]]]


def outcome(build: Callable[[], Machine], *ranges: ObservedRange) -> Result:
    machine = build()
    if ranges:
        machine.engine.observer.watch(*ranges)
    machine.run(max_insns=10_000)
    registers = [machine.cpu.get(name) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rip", "eflags")]
    return machine.insns, machine.clock.now, machine.memory.read(0, 0x400000), registers, set(machine.engine.native.blocks())


FLAGS_ACROSS_ACCESSES = bytes.fromhex(
    "b900040000"  # mov ecx, 1024
    "31db"  # xor ebx, ebx
    # again:
    "81042510002000 efbeadde"  # add dword [0x200010], 0xdeadbeef
    "131c2510002000"  # adc ebx, [0x200010]: the carry of the line before
    "0fb0 0c2514002000"  # cmpxchg [0x200014], cl
    "0f94042518002000"  # setz [0x200018]
    "9c 5a"  # pushfq; pop rdx
    "01d3"  # add ebx, edx
    "ffc9"
    "75d7".replace(" ", "")
)


def test_flags_and_counts_are_the_same() -> None:
    def build() -> Machine:
        return guest.long_mode(FLAGS_ACROSS_ACCESSES + HLT)

    plain = outcome(build)
    assert plain[0] > 8000, "the loop ran"
    assert outcome(build, ObservedRange(PAGE_AT, 0x1000), ObservedRange(guest.STACK - 0x100, 0x100)) == plain
    assert outcome(build, ObservedRange(0, guest.RAM, 4096)) == plain


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_programs_that_make_no_sense_run_the_same(seed: int) -> None:
    """With all of memory watched."""

    def build() -> Machine:
        return hostile(seed)

    assert outcome(build, ObservedRange(0, guest.RAM, 4096)) == outcome(build)
