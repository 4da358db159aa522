"""Processor state: descriptors against what QEMU printed at real entries, tables against the manuals' drawings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efishim.lab.record import ProcessorState
from efishim.lab.snapshot.processor import capture_cpu, descriptor_of
from efishim.machine.cpu import GuestFault
from efishim.machine.memory import BusError, PhysicalMemory

ORACLE = Path(__file__).parents[3].parent / "shared" / "oracle"
ENTRIES = sorted(ORACLE.glob("*/*/entry.json"))
NO_ORACLE = "the dumps of real firmware (shared/oracle) do not lie beside this tree"

NAMES = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr")
GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip", "eflags")
TABLES = ("gdtr.base", "gdtr.limit", "idtr.base", "idtr.limit")
ZERO = dict.fromkeys((*GENERAL, *NAMES, *TABLES, "cr0", "cr2", "cr3", "cr4", "cr8", "efer", "fs_base", "gs_base"), 0)
LONG = {"cr0": 0x80010033, "cr3": 0x1000, "cr4": 0x668, "efer": 0xD00}
PROTECTED = {"cr0": 0x11}


class FakeCpu:
    """Registers in a dict, memory that is identity-mapped."""

    def __init__(self, memory: PhysicalMemory, registers: dict[str, int]) -> None:
        self.memory = memory
        self.registers = ZERO | registers

    def get(self, register: str) -> int:
        return self.registers[register]

    def set(self, register: str, value: int) -> None:
        self.registers[register] = value

    def read(self, address: int, size: int) -> bytes:
        try:
            return self.memory.read(address, size)
        except BusError as error:
            raise GuestFault(address, write=False) from error

    def write(self, address: int, data: bytes) -> None:
        self.memory.write(address, data)

    def translate(self, address: int, *, write: bool = False) -> int:
        return address


@pytest.fixture
def memory() -> PhysicalMemory:
    """512 MiB, as the machine of the dumps had."""
    ram = PhysicalMemory()
    ram.add(0, 512 << 20)
    return ram


def capture(memory: PhysicalMemory, **registers: int) -> ProcessorState:
    return capture_cpu(FakeCpu(memory, {name.replace("__", "."): value for name, value in registers.items()}), memory)


def put_gdt(memory: PhysicalMemory, base: int, *values: int) -> dict[str, int]:
    memory.write(base, b"".join(value.to_bytes(8, "little") for value in values))
    return {"gdtr__base": base, "gdtr__limit": len(values) * 8 - 1}


@pytest.mark.parametrize(
    ("value", "base", "limit", "kind", "dpl"),
    [
        # The descriptors that boot.rst asks for at the 32-bit and 64-bit entries, and GRUB's and Linux's others.
        (0x00CF9A000000FFFF, 0, 0xFFFFFFFF, "code32", 0),
        (0x00AF9A000000FFFF, 0, 0xFFFFFFFF, "code64", 0),
        (0x00CF92000000FFFF, 0, 0xFFFFFFFF, "data", 0),
        (0x00CFF3000000FFFF, 0, 0xFFFFFFFF, "data", 3),
        (0x00009A090000FFFF, 0x90000, 0xFFFF, "code16", 0),
        (0x0080890000000000, 0, 0xFFF, "tss-available", 0),
        (0x12008B3456780067, 0x12345678, 0x67, "tss-busy", 0),
        (0x0000820000000000, 0, 0, "ldt", 0),
    ],
)
def test_descriptors(value: int, base: int, limit: int, kind: str, dpl: int) -> None:
    found = descriptor_of(value)
    assert (found.base, found.limit, found.kind, found.dpl, found.present) == (base, limit, kind, dpl, True)


def entries() -> list[Any]:
    cases = []
    for path in ENTRIES:
        for name, entry in json.loads(path.read_text()).items():
            if isinstance(entry, dict) and "cs" in entry.get("regs", {}):
                cases.append(pytest.param(entry["regs"], id="/".join((*path.parts[-3:-1], name))))
    return cases or [pytest.param(None, marks=pytest.mark.skip(reason=NO_ORACLE))]


@pytest.mark.parametrize("regs", entries())
def test_a_descriptor_made_of_what_qemu_printed_decodes_to_it(regs: dict[str, Any]) -> None:
    for name in ("cs", "ds", "ss"):
        base, limit, flags = (int(regs[name][part], 16) for part in ("base", "limit", "flags"))
        if not flags & 0x8000:
            continue
        scaled = limit >> 12 if flags & 1 << 23 else limit
        low = scaled & 0xFFFF | (base & 0xFFFF) << 16
        high = flags | scaled & 0xF0000 | base >> 16 & 0xFF | base & 0xFF000000
        found = descriptor_of(high << 32 | low)
        # In real mode QEMU prints limits that no granularity bit made.
        assert (found.base, found.limit & 0xFFFF, found.attributes) == (base, limit & 0xFFFF, flags & 0xF0FF00)


@pytest.mark.skipif(not ENTRIES, reason=NO_ORACLE)
@pytest.mark.parametrize("kernel", ["6.1-cloud", "6.12-cloud"])
def test_the_segments_of_ovmf_follow_from_its_gdt(memory: PhysicalMemory, kernel: str) -> None:
    folder = ORACLE / kernel / "ovmf-kernel"
    regs = json.loads((folder / "entry.json").read_text())["efi_pe_entry"]["regs"]
    gdt = json.loads((folder / "conv.json").read_text())["gdt"]
    assert (regs["gdt"]["base"], regs["gdt"]["limit"]) == (gdt["base"], gdt["limit"])
    table = put_gdt(memory, int(gdt["base"], 16), *(int(value, 16) for value in gdt["entries"]))
    selectors = {name: int(regs[name]["sel"], 16) for name in ("cs", "ds", "es", "fs", "gs", "ss")}
    control = {name: int(regs[name], 16) for name in ("cr0", "cr3", "cr4", "efer")}
    state = capture(memory, **table, **selectors, **control)
    assert state.mode == "long64"
    for name in selectors:
        theirs = regs[name]
        mine = state.segments.named(name)
        # The processor sets the accessed bit when it loads; the table may have been written again since.
        accessed = 0x100
        assert (mine.base, mine.limit) == (int(theirs["base"], 16), int(theirs["limit"], 16))
        assert mine.attributes | accessed == int(theirs["flags"], 16) & 0xF0FF00 | accessed
    assert [entry.index for entry in state.gdt.entries] == [
        index for index, value in enumerate(gdt["entries"]) if int(value, 16)
    ]


@pytest.mark.parametrize(
    ("registers", "descriptor", "mode"),
    [
        ({}, 0, "real16"),
        (PROTECTED, 0x00009A000000FFFF, "protected16"),
        (PROTECTED, 0x00CF9A000000FFFF, "protected32"),
        # Outside long mode the L bit has no meaning.
        (PROTECTED, 0x00AF9A000000FFFF, "protected16"),
        (PROTECTED | {"eflags": 0x20002}, 0x00CF9A000000FFFF, "virtual8086"),
        (LONG, 0x00AF9A000000FFFF, "long64"),
        (LONG, 0x00CF9A000000FFFF, "long32"),
        (LONG, 0x00009A000000FFFF, "long16"),
    ],
)
def test_modes(memory: PhysicalMemory, registers: dict[str, int], descriptor: int, mode: str) -> None:
    assert capture(memory, cs=8, **put_gdt(memory, 0x5000, 0, descriptor), **registers).mode == mode


def test_the_hidden_part_counts_where_the_processor_shows_it(memory: PhysicalMemory) -> None:
    hidden = {f"{name}__{part}": 0 for name in NAMES for part in ("base", "limit", "flags")}
    hidden |= {"cs__limit": 0xFFFFFFFF, "cs__flags": 0x00CF9A00, "ds__base": 0x40, "ds__flags": 0x00CF9300}
    # As at a PVH entry: the table behind GDTR need not hold what was loaded.
    state = capture(memory, cs=8, ds=16, **hidden, **PROTECTED)
    assert (state.segments.cs.kind, state.segments.cs.limit, state.segments.cs.hidden) == (
        "code32",
        0xFFFFFFFF,
        True,
    )
    assert (state.mode, state.segments.ds.base, state.segments.es.kind) == ("protected32", 0x40, "null")


def test_system_segments_have_64_bit_bases_in_long_mode(memory: PhysicalMemory) -> None:
    table = put_gdt(memory, 0x5000, 0, 0x00AF9A000000FFFF, 0xFE008B0030000067, 0xFFFFFFFF)
    state = capture(memory, cs=8, tr=16, fs=8, fs_base=0xFFFF888000000000, **table, **LONG)
    assert state.segments.tr.base == 0xFFFFFFFFFE003000
    assert state.segments.tr.kind == "tss-busy"
    assert state.segments.fs.base == 0xFFFF888000000000


def test_selectors_that_lead_nowhere_say_so(memory: PhysicalMemory) -> None:
    state = capture(memory, cs=8, ds=0x14, es=0x40, ss=3, **put_gdt(memory, 0x5000, 0, 0x00AF9A000000FFFF), **LONG)
    assert "local descriptor table" in state.segments.ds.problem
    assert "behind the limit 0xf" in state.segments.es.problem
    assert (state.segments.ss.kind, state.segments.ss.problem) == ("null", "")
    wild = capture(memory, cs=8, gdtr__base=1 << 40, gdtr__limit=0xFFFF, **LONG)
    assert "not mapped" in wild.segments.cs.problem
    assert "not mapped" in wild.gdt.problem


def test_the_interrupt_table_lists_present_gates(memory: PhysicalMemory) -> None:
    gate = 0x00008E00_00080000.to_bytes(8, "little") + bytes(8)
    memory.write(0x6000 + 14 * 16, gate)
    memory.write(0x6000 + 255 * 16, gate)
    assert capture(memory, idtr__base=0x6000, idtr__limit=0xFFF, **LONG).idt.present == (14, 255)
    assert capture(memory, idtr__base=0x6000, idtr__limit=15 * 16 - 1, **LONG).idt.present == (14,)
    # Read as 8-byte gates, the same bytes are vectors 28 and 510.
    assert capture(memory, idtr__base=0x6000, idtr__limit=0xFFFF, **PROTECTED).idt.present == (28,)
    assert "real mode" in capture(memory, idtr__limit=0x3FF).idt.problem
    assert "not mapped" in capture(memory, idtr__base=1 << 40, idtr__limit=0xFFF, **LONG).idt.problem


def test_page_tables_of_every_depth(memory: PhysicalMemory) -> None:
    memory.write(0x1000, (0x1F802023).to_bytes(8, "little"))
    memory.write(0x1000 + 511 * 8, (0x8000000002A12063).to_bytes(8, "little"))
    four = capture(memory, **LONG).page_table
    assert (four.levels, [(e.index, e.address) for e in four.entries]) == (4, [(0, 0x1F802000), (511, 0x2A12000)])
    assert four.entries[0].flags == ("present", "writable", "accessed")
    assert four.entries[1].flags[-1] == "no-execute"
    assert capture(memory, **(LONG | {"cr4": 0x1668})).page_table.levels == 5
    pae = capture(memory, cr0=0x80000011, cr3=0x1000, cr4=0x20).page_table
    assert (pae.levels, len(pae.entries)) == (3, 1)
    plain = capture(memory, cr0=0x80000011, cr3=0x1000).page_table
    assert (plain.levels, [e.index for e in plain.entries]) == (2, [0, 1022])
    assert capture(memory, cr0=0x11, cr3=0x1000).page_table.levels == 0
    assert "no memory" in capture(memory, **(LONG | {"cr3": 0xFFFFF00000000})).page_table.problem
