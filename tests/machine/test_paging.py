"""The walker for the host's accesses: the manual's formats by hand, and the engine's own walker as a witness."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.machine.delivery import Exception_
from efishim.machine.machine import Machine
from efishim.machine.memory import PhysicalMemory
from efishim.machine.paging import PageFault, Translation, Walker
from tests.machine.guest import build

PG, WP, PE = 1 << 31, 1 << 16, 1
PSE, PAE, SMEP, SMAP = 1 << 4, 1 << 5, 1 << 20, 1 << 21
PAGE_FAULT, GENERAL_PROTECTION = 14, 13
LMA, LME, NXE = 1 << 10, 1 << 8, 1 << 11
P, W, U, PS, NX = 1, 2, 4, 0x80, 1 << 63


def memory() -> PhysicalMemory:
    ram = PhysicalMemory()
    ram.add(0, 1 << 20)
    return ram


def test_without_paging_linear_is_physical_and_32_bits_wide() -> None:
    walker = Walker(memory())
    assert walker.translate(0x12345678, cr0=PE, cr3=0, cr4=0, efer=0) == 0x12345678
    assert walker.translate(0x1_00000010, cr0=PE, cr3=0, cr4=0, efer=0) == 0x10


def test_four_levels() -> None:
    ram = memory()
    ram.put_u64(0x1000 + 8 * 0x1FF, 0x2000 | P | W | U)
    ram.put_u64(0x2000 + 8 * 0x1FE, 0x3000 | P | W | U)
    ram.put_u64(0x3000 + 8 * 0x001, 0x4000 | P | W | U)
    ram.put_u64(0x4000 + 8 * 0x002, 0x5000 | P | NX)
    linear = 0xFFFF_FF80_0000_0000 + (0x1FE << 30) + (1 << 21) + (2 << 12) + 0x123
    found = Walker(ram).lookup(linear, cr0=PG, cr3=0x1000, cr4=PAE, efer=LMA | NXE)
    assert found == Translation(0x5123, False, False, False, 0x1000)
    found = Walker(ram).lookup(linear, cr0=PG, cr3=0x1018, cr4=PAE, efer=LMA)
    assert found == Translation(0x5123, False, False, True, 0x1000), "CR3's low bits are no address; NX needs NXE"


@pytest.mark.parametrize(("shift", "table"), [(30, 0x2000), (21, 0x3000)])
def test_large_pages(shift: int, table: int) -> None:
    ram = memory()
    ram.put_u64(0x1000, 0x2000 | P | W | U)
    ram.put_u64(0x2000, 0x3000 | P | W | U)
    ram.put_u64(table, 0x40000000 | P | W | PS | 1 << 12)  # bit 12 is the PAT bit
    found = Walker(ram).lookup(0x12345, cr0=PG, cr3=0x1000, cr4=PAE, efer=LMA)
    assert found == Translation(0x40012345, True, False, True, 1 << shift)


def test_pse_with_high_address_bits() -> None:
    ram = memory()
    ram.put_u32(0x1000 + 4 * 3, 0x00C00000 | 0x5 << 13 | P | W | PS)  # bits 13 to 20 are address bits 32 to 39
    found = Walker(ram).lookup(0x00C12345, cr0=PG, cr3=0x1000, cr4=PSE, efer=0)
    assert found == Translation(0x5_00C12345, True, False, True, 1 << 22)
    ram.put_u32(0x1000 + 4 * 3, 0x2000 | P | W | PS)
    ram.put_u32(0x2000 + 4 * 0x12, 0x7000 | P | U)
    found = Walker(ram).lookup(0x00C12345, cr0=PG, cr3=0x1000, cr4=0, efer=0)
    assert found == Translation(0x7345, False, False, True, 0x1000), "without PSE the bit means nothing"


def test_pae() -> None:
    ram = memory()
    ram.put_u64(0x1020 + 8 * 3, 0x2000 | P)
    ram.put_u64(0x2000 + 8 * 0x1FF, 0x8_00200000 | P | W | PS)
    found = Walker(ram).lookup(0xFFFF1234, cr0=PG, cr3=0x1020, cr4=PAE, efer=0)
    assert found == Translation(0x8_00200000 | 0x1F1234, True, False, True, 1 << 21)
    assert Walker(ram).lookup(0x1234, cr0=PG, cr3=0x1020, cr4=PAE, efer=0) is None


def test_what_is_not_canonical_is_not_mapped() -> None:
    ram = memory()
    for slot in range(512):
        ram.put_u64(0x1000 + 8 * slot, 0x1000 | P | W | U)  # a table that leads to itself
    walk = Walker(ram).lookup
    for linear in (0x0000_8000_0000_0000, 0xFFFF_7FFF_FFFF_FFFF, 1 << 63):
        assert walk(linear, cr0=PG, cr3=0x1000, cr4=PAE, efer=LMA) is None
    for linear in (0x0000_7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000):
        assert walk(linear, cr0=PG, cr3=0x1000, cr4=PAE, efer=LMA) is not None


def test_tables_outside_of_memory_map_nothing() -> None:
    ram = memory()
    assert Walker(ram).lookup(0, cr0=PG, cr3=0x8000_0000, cr4=PAE, efer=LMA) is None
    ram.put_u64(0x1000, 0x000F_FFFF_FFFF_F000 | P)
    assert Walker(ram).lookup(0, cr0=PG, cr3=0x1000, cr4=PAE, efer=LMA) is None


# The engine as a witness: the same tables, the same access, by the guest itself


@dataclass(frozen=True)
class Access:
    """One access from ring 0 or 3: read, write or fetch."""

    kind: str
    ring: int


TABLES, TARGET = 0x100000, 0x300000
WINDOWS = {"4-level": 0x80_0060_3000, "pae": 0xC060_3000, "32-bit": 0xC060_3000}
"""Linear address of the page that is accessed; the code lies elsewhere, in tables of its own."""
CODE = {"read": b"\x8b\x03\xf4", "write": b"\x89\x03\xf4", "fetch": b"\xff\xe3"}
entries = st.sampled_from([P | W | U, P | W | U, P | W, P | U, P, W | U, 0])
plain_or_nx = st.sampled_from([0, 0, NX])


def tables(machine: Machine, paging: str, flags: list[int], nx: list[int], large: bool, ring: int) -> int:
    """Fill in tables: the first 4 MiB for the code, WINDOWS as `flags` say, from the top. Returns CR3."""
    put, user = machine.memory, U if ring == 3 else 0
    linear = WINDOWS[paging]
    if paging == "32-bit":
        put.put_u32(TABLES, 0 | P | W | user | PS)
        put.put_u32(TABLES + 4 * (linear >> 22), (TARGET & 0xFFC00000 | PS if large else TABLES + 0x1000) | flags[0])
        put.put_u32(TABLES + 0x1000 + 4 * (linear >> 12 & 0x3FF), TARGET | flags[1])
        return TABLES
    where = TABLES
    if paging == "4-level":
        put.put_u64(TABLES, (TABLES + 0x5000) | P | W | U)
        put.put_u64(TABLES + 0x5000, (TABLES + 0x6000) | P | W | U)
        put.put_u64(TABLES + 8 * (linear >> 39), (TABLES + 0x1000) | flags[0] | nx[0])
        where += 0x1000
        put.put_u64(where + 8 * (linear >> 30 & 0x1FF), (where + 0x1000) | flags[1] | nx[1])
    else:
        put.put_u64(TABLES, (TABLES + 0x6000) | P)
        put.put_u64(TABLES + 8 * (linear >> 30), (where + 0x1000) | (flags[1] & P))
    for half in range(2):
        put.put_u64(TABLES + 0x6000 + 8 * half, half << 21 | P | W | user | PS)
    where += 0x1000
    put.put_u64(where + 8 * (linear >> 21 & 0x1FF), (TARGET & ~0x1FFFFF | PS if large else where + 0x1000) | flags[2] | nx[2])
    put.put_u64(where + 0x1000 + 8 * (linear >> 12 & 0x1FF), TARGET | flags[3] | nx[3])
    return TABLES


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    paging=st.sampled_from(list(WINDOWS)),
    flags=st.lists(entries, min_size=4, max_size=4),
    nx=st.lists(plain_or_nx, min_size=4, max_size=4),
    large=st.booleans(),
    wp=st.booleans(),
    smep=st.booleans(),
    nxe=st.booleans(),
    access=st.builds(Access, st.sampled_from(list(CODE)), st.sampled_from([0, 3])),
)
def test_against_the_engine(
    paging: str, flags: list[int], nx: list[int], large: bool, wp: bool, smep: bool, nxe: bool, access: Access
) -> None:
    if paging == "32-bit" or not nxe:
        nx = [0] * 4  # the bit is reserved then, and the walker does not look at reserved bits
    linear, user = WINDOWS[paging], access.ring == 3
    machine = build(CODE[access.kind])
    processor = machine.engine.processor
    offset = linear & (0x3FFFFF if paging == "32-bit" else 0x1FFFFF) if large else linear & 0xFFF
    target = (TARGET & ~(0x3FFFFF if paging == "32-bit" else 0x1FFFFF) if large else TARGET) + offset
    machine.memory.write(target, b"\xf4\x5a\xa5\xc3")
    control = {
        "cr0": PG | PE | 0x32 | (WP if wp else 0),
        "cr3": tables(machine, paging, flags, nx, large, access.ring),
        "cr4": (PSE if paging == "32-bit" else PAE) | (SMEP if smep else 0),
        "efer": (NXE if nxe else 0) | (LMA | LME if paging == "4-level" else 0),
    }
    level, wide = access.ring << 13, 0x00200000 if paging == "4-level" else 0x00400000
    processor.load_segment("cs", 8 | access.ring, base=0, limit=0xFFFFFFFF, flags=0x00809B00 | wide | level)
    for name in ("ss", "ds", "es"):
        processor.load_segment(name, 16 | access.ring, base=0, limit=0xFFFFFFFF, flags=0x00CF9300 | level)
    for register in ("cr4", "cr3", "efer", "cr0"):
        processor.set(register, control[register])
    processor.set("efer", control["efer"])
    processor.set("rbx", linear)
    processor.set("rax", 0x11111111)
    processor.sync(access.ring)
    events: list[Exception_] = []
    machine.on_exception = lambda event, _pc: events.append(event)
    machine.run(max_insns=10)

    walk = partial(
        Walker(machine.memory).translate,
        linear,
        **control,
        write=access.kind == "write",
        fetch=access.kind == "fetch",
        user=user,
    )
    if events and events[0].vector == PAGE_FAULT:
        with pytest.raises(PageFault) as fault:
            walk()
        assert (events[0].error, events[0].cr2) == (fault.value.error, fault.value.address)
        return
    physical = walk()
    assert physical == target
    assert not events or events[0].vector == GENERAL_PROTECTION, "only the HLT of ring 3 faults"
    if access.kind == "read":
        assert machine.cpu.get("rax") == struct.unpack("<I", b"\xf4\x5a\xa5\xc3")[0]
    elif access.kind == "write":
        assert machine.memory.u32(target) == 0x11111111
    else:
        assert machine.cpu.get("rip") == linear + (0 if user else 1)
