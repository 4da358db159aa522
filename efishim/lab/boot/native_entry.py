"""Native entries: loads an image without firmware and sets the processor state that the specification requires."""

from __future__ import annotations

import struct

from efishim.errors import MachineError, ProviderError
from efishim.image.loading import LoadPlan
from efishim.machine.machine import Machine
from efishim.machine.memory import BusError
from efishim.provider import PAGE, Arena, CpuMode, CpuState, Module
from efishim.wire.x86 import (
    CR0_ET,
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    DESCRIPTOR_ATTRIBUTES,
    EFER_LMA,
    EFER_LME,
    PTE_P,
    PTE_PS,
    PTE_W,
)

LARGE_PAGE = 2 << 20
CR0 = {CpuMode.REAL: CR0_ET, CpuMode.PROTECTED: CR0_ET | CR0_PE, CpuMode.LONG: CR0_ET | CR0_PE | CR0_PG}
CONTROL = ("cr0", "cr3", "cr4", "efer")
TABLES = ("gdtr.base", "gdtr.limit", "idtr.base", "idtr.limit")
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")
UNUSED = {"tr": 0x8B00, "ldt": 0x8200}
"""Hidden parts of the system segments after reset (SDM volume 3, table 9-1)."""
LARGEST_MAP = 512 << 30
REAL_MODE_VECTORS = 0x3FF
TOP_OF_MODULES = 0x7FFF_F000
"""Below what every Linux since 2.6.24 takes (`initrd_addr_max`)."""

Contents = tuple[tuple[bytes, bytes], ...]
"""Modules: each one's bytes and its command line."""


def put_image(machine: Machine, plan: LoadPlan) -> None:
    """Copy an image to where its plan says. Raises MachineError when it says a place without memory."""
    try:
        for piece in plan.pieces:
            machine.memory.write(piece.address, piece.data)
            rest = piece.size - len(piece.data)
            if rest > 0:
                machine.memory.fill(piece.address + len(piece.data), rest)
    except BusError as error:
        raise MachineError(f"the image cannot be put into memory: {error}") from error


def put_modules(machine: Machine, arena: Arena, contents: Contents, alignment: int, below: int) -> tuple[Module, ...]:
    """Put modules into guest memory, one behind the other from a page boundary on, as high as they may be.

    Raises ProviderError when there is no room.
    """
    offsets, end = [], 0
    for content, _ in contents:
        end = -(-end // alignment) * alignment
        offsets.append(end)
        end += len(content)
    if not contents:
        return ()
    base = arena.place(max(end, 1), align=PAGE, below=below, high=True, what="the initial ramdisks")
    placed = tuple(zip(offsets, contents, strict=True))
    for offset, (content, _) in placed:
        machine.memory.write(base + offset, content)
    return tuple(Module(base + offset, len(content), words) for offset, (content, words) in placed)


def enter(machine: Machine, state: CpuState, arena: Arena) -> None:
    """Give the processor the state of an entry; tables that it needs go to free memory. Raises ProviderError."""
    processor = machine.engine.processor
    registers = dict(state.registers)
    unknown = set(state.segments) - set(SEGMENTS)
    if unknown:
        raise ProviderError(f"there is no segment register {', '.join(sorted(unknown))}")
    control = {"cr0": CR0[state.mode], "cr3": 0, "cr4": 0, "efer": 0}
    if state.mode is CpuMode.LONG:
        control |= {"cr4": CR4_PAE, "efer": EFER_LME | EFER_LMA}
        if "cr3" not in registers:
            control["cr3"] = _identity_map(machine, arena, state.identity_map)
    control |= {name: registers.pop(name) for name in CONTROL if name in registers}
    tables = {"gdtr.base": 0, "gdtr.limit": 0, "idtr.base": 0, "idtr.limit": 0}
    if state.mode is CpuMode.REAL:
        tables["idtr.limit"] = REAL_MODE_VECTORS
    if state.descriptors:
        raw = struct.pack(f"<{len(state.descriptors)}Q", *state.descriptors)
        tables["gdtr.base"] = arena.place(len(raw), align=16, what="a descriptor table")
        tables["gdtr.limit"] = len(raw) - 1
        machine.memory.write(tables["gdtr.base"], raw)
    tables |= {name: registers.pop(name) for name in TABLES if name in registers}
    # Paging last, since what comes before it decides what it means.
    for name in ("cr4", "cr3", "efer", "cr0"):
        processor.set(name, control[name])
    for name, value in tables.items():
        processor.set(name, value)
    for name in SEGMENTS:
        segment = state.segments.get(name)
        if segment is None:
            processor.load_segment(name, 0, base=0, limit=0xFFFF if name in UNUSED else 0, flags=UNUSED.get(name, 0))
            continue
        flags = segment.attributes << 8 & DESCRIPTOR_ATTRIBUTES
        processor.load_segment(name, segment.selector, base=segment.base, limit=segment.limit, flags=flags)
    processor.sync(0)
    processor.set("rip", state.rip)
    processor.set("eflags", registers.pop("eflags", 2))
    for name, value in registers.items():
        try:
            processor.set(name, value)
        except KeyError as error:
            raise ProviderError(f"there is no register {name!r}") from error


def _identity_map(machine: Machine, arena: Arena, size: int) -> int:
    """Page tables that map [0, size) one to one with large pages; gives what CR3 wants."""
    if not 0 < size <= LARGEST_MAP:
        raise ProviderError(f"an identity map of {size:#x} bytes cannot be made; up to {LARGEST_MAP:#x} can")
    large = -(-size // LARGE_PAGE)
    directories = -(-large // 512)
    root = arena.place((2 + directories) * PAGE, align=PAGE, what="page tables")
    pointers = root + PAGE
    machine.memory.write(root, struct.pack("<Q", pointers | PTE_P | PTE_W).ljust(PAGE, b"\0"))
    entries = [(pointers + (1 + n) * PAGE) | PTE_P | PTE_W for n in range(directories)]
    machine.memory.write(pointers, struct.pack(f"<{directories}Q", *entries).ljust(PAGE, b"\0"))
    pages = [n * LARGE_PAGE | PTE_P | PTE_W | PTE_PS for n in range(large)]
    machine.memory.write(pointers + PAGE, struct.pack(f"<{large}Q", *pages).ljust(directories * PAGE, b"\0"))
    return root
