"""Stores are fast until their page holds code, in whatever mapping; the table keeps its size; no build is taken on trust."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import efishim_firmware_stubs as firmware_stubs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.machine import softtlb
from efishim.machine.machine import Machine
from efishim.machine.softtlb import ENTRIES, MMU_MODES, NOTDIRTY, USED, WINDOW, SoftTlb
from tests.machine import guest

SOURCE = (Path(firmware_stubs.__file__).parent / "machine/softtlb_x86_64.asm").read_text()
DEFINES = {
    name: int(value, 0)
    for name, value in re.findall(r"^%define (\w+)\s+(0x[0-9a-fA-F]+|\d+)\s*(?:;.*)?$", SOURCE, re.MULTILINE)
}
HLT = b"\xf4"
NONE = (1 << 64) - 1


def the(machine: Machine) -> SoftTlb:
    found = machine.engine.softtlb
    assert found is not None
    return found


def reasons(machine: Machine) -> list[str]:
    return [one.why_not for one in machine.engine.shortcuts if one.name == "fast stores"]


# The assembly and its Python side


def test_constants_stand_as_the_assembly_has_them() -> None:
    desc: Any = softtlb.Desc
    entry: Any = softtlb.Entry
    assert DEFINES["DESC_SIZE"] == softtlb.DESC_SIZE == ctypes.sizeof(desc)
    assert DEFINES["DESC_WINDOW"] == desc.window_begin.offset
    assert DEFINES["DESC_USED"] == desc.used.offset
    assert DEFINES["DESC_VTABLE"] == desc.victims.offset
    assert DEFINES["FAST_SIZE"] == ctypes.sizeof(softtlb.Fast)
    assert DEFINES["TLB_ENTRY"] == softtlb.ENTRY_SIZE
    assert [DEFINES[f"TLB_{name}"] for name in ("READ", "WRITE", "CODE", "PADDR")] == [
        field.offset for field in (entry.read, entry.write, entry.code, entry.paddr)
    ]
    assert DEFINES["TLB_NOTDIRTY"] == NOTDIRTY
    assert DEFINES["MMU_MODES"] == MMU_MODES
    assert ctypes.sizeof(softtlb.Common) == softtlb.COMMON_SIZE


def test_variables_stand_in_the_order_of_the_assembly() -> None:
    block = SOURCE[SOURCE.index("variables:\n") : SOURCE.index("fill:\n")]
    assert tuple(re.findall(r"^(\w+):\s+dq 0", block, re.MULTILINE)) == softtlb.VARIABLES


# Which entries are made


def entries(machine: Machine, linear: int) -> list[tuple[int, int]]:
    """Flags of stores (all ones: not allowed) and address for fetches of each entry for a page."""
    found = [the(machine)._entry(mode, linear) for mode in range(MMU_MODES)]
    return [(one.write - linear if one.write != NONE else NONE, one.code) for one in found if linear in (one.read, one.code)]


def test_a_page_that_was_stored_to_takes_stores() -> None:
    machine = guest.long_mode(bytes.fromhex("88042500002000") + HLT)  # mov [0x200000], al
    assert machine.run(max_insns=100).reason == "halted"
    assert entries(machine, guest.DATA) == [(0, NONE)]
    assert entries(machine, guest.ORIGIN) == [(NONE, guest.ORIGIN)], "the first store must set Dirty in the guest's table"


def test_a_fetch_ends_that() -> None:
    code = bytes.fromhex("c6042500002000c3b800002000ffd0")  # mov byte [0x200000], ret; mov eax, 0x200000; call rax
    machine = guest.long_mode(code + HLT)
    assert machine.run(max_insns=100).reason == "halted"
    assert entries(machine, guest.DATA) == [(NOTDIRTY, guest.DATA)]


def test_rom_and_devices_stay_what_they_are() -> None:
    def prepare(machine: Machine) -> None:
        machine.memory.add(0x2000000, 0x1000, writable=False)

    code = bytes.fromhex("8a042500000002 8a042500000003".replace(" ", ""))  # mov al, [0x2000000]; mov al, [0x3000000]
    machine = guest.long_mode(code + HLT, prepare=prepare)
    assert machine.run(max_insns=100).reason == "halted"
    (rom,) = entries(machine, 0x2000000)
    assert rom[0] & 0xFFF, "a store must not reach it"
    assert the(machine).variables.mismatch == 0


# Code that changes, in several mappings

CODE, OTHER = 0x400000, 0x600000
"""Physical pages: functions that are changed, and one that nobody changes."""
NX = 1 << 63
EXECUTABLE, DATA_ONLY, FAR_DATA = 0x40000000, 0x40001000, 0x42001000
"""Where `CODE` is mapped besides to itself. FAR_DATA shares its place in the table with DATA_ONLY."""
RIVALS = [0x44000000 + 0x2000000 * number + 0x1000 * (number & 1) for number in range(24)]
"""Pages that drive those out of the table, and then out of the eight victims behind it."""
CALLED = (CODE, EXECUTABLE)
STORED = (CODE, EXECUTABLE, DATA_ONLY, FAR_DATA)
FUNCTIONS = 4

Step = tuple[str, int, int]
step = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(CALLED), st.integers(0, FUNCTIONS - 1)),
    st.tuples(st.just("store"), st.sampled_from(STORED), st.integers(0, FUNCTIONS - 1)),
    st.tuples(st.just("touch"), st.sampled_from(RIVALS), st.just(0)),
    st.tuples(st.just("drive out"), st.just(0), st.just(0)),
)


def map_page(machine: Machine, linear: int, physical: int, flags: int) -> None:
    """In the second GiB, which `guest.long_mode` leaves free."""
    directory, tables = guest.TABLES + 0x4000, guest.TABLES + 0x10000
    machine.memory.put_u64(guest.TABLES + 0x1008, directory | 3)
    number = linear >> 21 & 511
    machine.memory.put_u64(directory + 8 * number, tables + 0x1000 * number | 3)
    machine.memory.put_u64(tables + 0x1000 * number + 8 * (linear >> 12 & 511), physical | 3 | flags)


def of_address(opcode: bytes, address: int, rest: bytes = b"") -> bytes:
    return opcode + address.to_bytes(4, "little") + rest


def changing(steps: list[Step]) -> tuple[Machine, int]:
    """A machine with a program of these steps, and what EBX must be at its end."""
    code, values, digest = b"\x31\xdb", list(range(FUNCTIONS)), 0
    for number, (what, where, which) in enumerate(steps):
        if what == "call":
            code += of_address(b"\xb8", where + 16 * which, b"\xff\xd0\x69\xdb\x1f\x00\x00\x00\x01\xc3")
            digest = (digest * 31 + values[which]) & 0xFFFFFFFF
        elif what == "store":
            code += of_address(b"\xc6\x04\x25", where + 16 * which + 1, bytes((number & 0x7F,)))
            values[which] = number & 0x7F
        else:
            for rival in [where] if what == "touch" else RIVALS:
                code += of_address(b"\x8a\x0c\x25", rival)
    machine = guest.long_mode(code + HLT)
    map_page(machine, EXECUTABLE, CODE, 0)
    map_page(machine, DATA_ONLY, CODE, NX)
    map_page(machine, FAR_DATA, CODE, NX)
    for rival in RIVALS:
        map_page(machine, rival, OTHER, NX)
    for which in range(FUNCTIONS):
        machine.memory.write(CODE + 16 * which, b"\xb8" + which.to_bytes(4, "little") + b"\xc3")  # mov eax, which; ret
    return machine, digest


def result(machine: Machine) -> int:
    assert machine.run(max_insns=100_000).reason == "halted"
    return machine.cpu.get("rbx")


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(step, max_size=60))
def test_what_runs_is_what_was_stored(steps: list[Step]) -> None:
    machine, expected = changing(steps)
    assert result(machine) == expected
    assert the(machine).variables.mismatch == 0


HOLE: list[Step] = [("store", DATA_ONLY, 0), ("call", CODE, 0)] * 4


def test_through_a_mapping_that_does_not_execute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unicorn itself loses the second of such stores."""
    machine, expected = changing(HOLE)
    assert result(machine) == expected
    monkeypatch.setattr(softtlb, "FILL_OFFSET", softtlb.FILL_OFFSET + 8)
    machine, expected = changing(HOLE)
    assert machine.engine.softtlb is None
    assert result(machine) != expected


def test_a_page_whose_code_was_dropped_is_fast_again() -> None:
    machine, _ = changing([("call", CODE, 0), ("store", CODE, 0)])
    result(machine)
    assert entries(machine, CODE)[0][0] == NOTDIRTY
    marked = the(machine).variables.marked
    assert marked >= 2
    machine.flush_code(CODE, 1)
    assert the(machine).variables.marked == 0
    assert entries(machine, CODE) == [], "an entry that allows fetches must not stay"


# The size of the table


def test_the_clock_of_the_host_has_no_part() -> None:
    machine = guest.long_mode(bytes.fromhex("88042500002000") + HLT)
    assert the(machine).entries == [ENTRIES] * MMU_MODES
    machine.run(max_insns=100)
    used = [desc for desc in the(machine)._descs if desc.used]
    assert [(desc.used, desc.window_begin) for desc in used] == [(USED, WINDOW)]
    for _ in range(3):
        machine.engine.flush_soft_tlb()
    assert the(machine).entries == [ENTRIES] * MMU_MODES


def test_otherwise_it_has() -> None:
    """The same, with what Unicorn itself would have written down."""
    machine = guest.long_mode(bytes.fromhex("88042500002000") + HLT)
    the(machine).variables.used, the(machine).variables.window = 2, 1
    machine.run(max_insns=100)
    for desc in the(machine)._descs:
        desc.window_max = 2
    machine.engine.flush_soft_tlb()
    assert ENTRIES not in {
        entries for desc, entries in zip(the(machine)._descs, the(machine).entries, strict=True) if desc.used
    }
    assert min(the(machine).entries) < ENTRIES


# Another build


def no_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        pass

    monkeypatch.setattr(softtlb, "uclib", Library())


def moved(name: str, by: int) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(softtlb, name, getattr(softtlb, name) + by)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (no_symbol, "CPUClass.tlb_fill is elsewhere"),
        (moved("FILL_OFFSET", 16), "CPUClass.tlb_fill is elsewhere"),
        (moved("FILL_OFFSET", 8), "does not do what it must"),
        (moved("FAST_OFFSET", -16), "laid out in another way"),
        (moved("DESC_OFFSET", 8), "laid out in another way"),
        (moved("DESC_OFFSET", -16), "laid out in another way"),
        (moved("ENTRIES", 1), "cannot be resized"),
        (moved("NOTDIRTY", 0x400), "does not do what it must"),
    ],
    ids=[
        "symbol",
        "function",
        "Unicorn's copy of the pointer",
        "tables",
        "descriptors",
        "earlier descriptors",
        "sizes",
        "flag",
    ],
)
def test_a_build_that_differs_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], reason: str
) -> None:
    steps: list[Step] = [("call", CODE, 0), ("store", CODE, 0), ("drive out", 0, 0), ("call", CODE, 0), ("call", EXECUTABLE, 1)]
    usual, expected = changing(steps)
    change(monkeypatch)
    machine, _ = changing(steps)
    (why_not,) = reasons(machine)
    assert reason in why_not
    assert machine.engine.softtlb is None
    assert result(machine) == expected == result(usual)
    assert machine.insns == usual.insns
    assert machine.engine.native.blocks() == usual.engine.native.blocks()


def test_two_machines_have_a_table_each() -> None:
    one, expected = changing(HOLE)
    two = guest.long_mode(HLT)
    assert result(two) == 0
    assert result(one) == expected
    assert the(one).variables.marked > the(two).variables.marked
