"""Extracts the facts about a kernel's boot information from a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec

from efishim.compare.facts import (
    BOOT_PARAMS,
    CPU,
    E820,
    EFI,
    SETUP_DATA,
    Area,
    Fact,
    Kind,
    Stage,
    by_path,
    given,
    is_numbered,
    members,
    unnumbered,
)
from efishim.compare.landmarks import Landmarks, landmarks
from efishim.lab.record import (
    BootView,
    EfiMemoryView,
    EfiView,
    EntryView,
    Fields,
    FieldValue,
    MachineView,
    ProcessorState,
    Record,
    Segment,
    SetupDataChain,
    StructureView,
)
from efishim.wire.bootparams import E820_TYPES

MACHINE_MEMORY = given(Stage.MACHINE, "memory", kind=Kind.MAP)
ENTRY_MEMORY = given(Stage.ENTRY, "memory_map", kind=Kind.MAP)
"""The memory map in the native structure."""
NARROW_MODE = "protected32"
"""In which a 32-bit kernel proper begins (arch/x86/kernel/head_32.S); a 64-bit one begins in 64-bit mode."""

PHYSICAL_BASE = given(Stage.KERNEL, "physical_base", kind=Kind.ADDRESS)
VIRTUAL_BASE = given(Stage.KERNEL, "virtual_base", kind=Kind.ADDRESS)

RAM = E820_TYPES[1]
COMMAND_LINE, INITRD = "command_line", "initrd"
SYSTEM_TABLE = (EFI, "system_table")

Pair = tuple[Fact, str]

UNDEFINED_AT_START_KERNEL = frozenset(
    {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16)), "eflags", "cr2"}
)
"""start_kernel() takes no arguments: what earlier functions left in registers tells it nothing (init/main.c)."""

SAME_AS_TABLE = frozenset({"cr3"})
"""Shown as `page_table@`."""


def e820_map(stage: Stage) -> Fact:
    """The memory map of boot_params."""
    return given(stage, E820, kind=Kind.MAP)


def efi_map(stage: Stage) -> Fact:
    """The memory map of EFI."""
    return given(stage, EFI, "memory_map", kind=Kind.MAP)


def inputs(record: Record) -> tuple[dict[Fact, str], dict[Fact, tuple[Area, ...]]]:
    """The facts, and the memory maps as sorted ranges."""
    facts: dict[Fact, str] = {}
    maps: dict[Fact, tuple[Area, ...]] = {}
    if record.machine is not None:
        found, maps[MACHINE_MEMORY] = machine_facts(record.machine)
        facts.update(found)
    if record.entry_view is not None:
        facts.update(_entry(record.entry_view, landmarks(record, None)))
        native = _sorted(area for one in record.entry_view.structures for area in _memory_range(one))
        if native:
            maps[ENTRY_MEMORY] = native
    for stage, view in ((Stage.STARTUP_64, record.boot_view), (Stage.START_KERNEL, record.kernel_view)):
        if view is not None:
            facts.update(_boot_view(stage, view, landmarks(record, view)))
            maps.update(_maps(stage, view, maps.get(MACHINE_MEMORY, ())))
    return {fact: facts[fact] for fact in sorted(facts, key=by_path)}, maps


def _area(start: int, size: int, kind: str) -> Area:
    return Area(int(start), start + size, kind)


def _sorted(areas: Iterator[Area]) -> tuple[Area, ...]:
    return tuple(sorted(areas, key=lambda area: (area.start, area.end, area.label)))


def machine_facts(machine: MachineView) -> tuple[dict[Fact, str], tuple[Area, ...]]:
    """What a machine is, and its memory map."""
    return dict(_machine(machine)), _sorted(_area(one.start, one.size, one.type) for one in machine.memory_map)


def _machine(machine: MachineView) -> Iterator[Pair]:
    for leaf in machine.cpuid:
        yield given(Stage.MACHINE, "cpuid", *members(leaf.name)), f"{leaf.eax} {leaf.ebx} {leaf.ecx} {leaf.edx}"
    yield from ((given(Stage.MACHINE, "msr", str(one.number)), str(one.value)) for one in machine.msrs)
    yield from ((given(Stage.MACHINE, "feature", name), str(value)) for name, value in machine.features.items())
    seen: dict[str, int] = {}
    for table in machine.acpi:
        name = table.signature
        seen[name] = seen.get(name, 0) + 1
        suffix = "" if seen[name] == 1 else f"[{seen[name]}]"
        yield given(Stage.MACHINE, "acpi", name + suffix), f"{table.size} bytes, sha256 {table.sha256[:16]}"


def _entry(view: EntryView, marks: Landmarks) -> Iterator[Pair]:
    yield from _cpu(Stage.ENTRY, view.cpu, marks)
    for structure in view.structures:
        name = structure.name.replace(" ", "_")
        if structure.fields.number("reserved"):
            yield given(Stage.ENTRY, name, "reserved"), str(structure.fields["reserved"])
        if not is_numbered(name):
            yield given(Stage.ENTRY, name, kind=Kind.ADDRESS), str(structure.address)
        if structure.problem:
            yield given(Stage.ENTRY, name, "problem"), structure.problem
        if structure.text and structure.name not in SHOWN_ELSEWHERE:
            yield given(Stage.ENTRY, name), structure.text
        fields = Fields() if _memory_range(structure) else structure.fields
        there = fields.items() if structure.name != BOOT_PARAMS else nonzero(fields)
        yield from _fields(Stage.ENTRY, name, there, marks)
    for index, module in enumerate(view.modules):
        name = INITRD if index == 0 else f"module[{index}]"
        yield given(Stage.ENTRY, name, kind=Kind.ADDRESS), str(module.address)
        yield given(Stage.ENTRY, name, "size"), str(module.size)
        yield given(Stage.ENTRY, name, "sha256"), module.sha256
        if module.command_line:
            yield given(Stage.ENTRY, name, "command_line"), module.command_line


def _fields(stage: Stage, structure: str, fields: Iterable[tuple[str, FieldValue]], marks: Landmarks) -> Iterator[Pair]:
    for name, value in fields:
        way = members(name)
        yield given(stage, structure, *way), marks.pointer(way[-1], value)


_ZERO = re.compile(r"0x0|0*")


def nonzero(fields: Fields) -> Iterator[tuple[str, FieldValue]]:
    """boot_params is cleared before it is filled: a zero tells the kernel nothing (Documentation/arch/x86/boot.rst)."""
    return ((name, value) for name, value in fields.items() if not _ZERO.fullmatch(str(value)))


SHOWN_ELSEWHERE = frozenset({"EFI memory map"})
"""Bytes that the boot view decodes."""

RANGES = frozenset({"e820_table", "hvm_memmap_table_entry", "multiboot_mmap_entry", "multiboot_memory_map"})
"""Structures that are one range of a memory map; they are compared as areas, in whatever order they stand."""

_START, _SIZE = ("addr", "base_addr"), ("size", "len", "length")


def _memory_range(structure: StructureView) -> list[Area]:
    """The range that a structure is, if it is one."""
    fields = structure.fields
    if unnumbered(structure.name) not in RANGES or "type" not in fields:
        return []
    start = next((fields.number(name) for name in _START if name in fields), None)
    size = next((fields.number(name) for name in _SIZE[::-1] if name in fields), None)
    if start is None or size is None:
        return []
    kind = fields.number("type")
    return [Area(int(start), start + size, E820_TYPES.get(kind, f"type {kind:#x}"))]


def _cpu(stage: Stage, cpu: ProcessorState, marks: Landmarks) -> Iterator[Pair]:
    late = stage is Stage.START_KERNEL
    named = marks.in_kernel if late else marks.named

    def fact(name: str, kind: Kind = Kind.VALUE) -> Fact:
        return given(stage, CPU, name, kind=kind)

    yield fact("mode"), cpu.mode
    for register, value in msgspec.structs.asdict(cpu.registers).items():
        if not (late and register in UNDEFINED_AT_START_KERNEL):
            yield fact(register), named(value)
    for register, value in msgspec.structs.asdict(cpu.control).items():
        if register not in SAME_AS_TABLE and not (late and register in UNDEFINED_AT_START_KERNEL):
            yield fact(register), str(value)
    for register, segment in msgspec.structs.asdict(cpu.segments).items():
        yield fact(register), _segment(segment)
        if segment.base:
            yield fact(register, Kind.ADDRESS), named(segment.base)
    gdt, idt, table = cpu.gdt, cpu.idt, cpu.page_table
    rows = ", ".join(f"{one.index}: {one.descriptor.value}" for one in gdt.entries)
    yield fact("gdt"), _joined(f"limit {gdt.limit}", rows, gdt.problem)
    vectors = ranges(int(one) for one in idt.present)
    yield fact("idt"), _joined(f"limit {idt.limit}", f"gates {vectors}" if vectors else "", idt.problem)
    entries = ", ".join(f"{one.index}: {' '.join(one.flags)}" for one in table.entries)
    yield fact("page_table"), _joined(f"{table.levels} levels", entries, table.problem)
    for what, address in (("gdt", gdt.base), ("idt", idt.base), ("page_table", table.address)):
        yield fact(what, Kind.ADDRESS), named(address)


def _segment(segment: Segment) -> str:
    if segment.kind == "null":
        return f"{segment.selector} null"
    known = f"{segment.selector} {segment.kind} limit {segment.limit} attributes {segment.attributes}"
    return _joined(known, "" if segment.present else "not present", segment.problem)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def ranges(numbers: Iterable[int]) -> str:
    """`0-31, 128` of sorted numbers."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def _boot_view(stage: Stage, view: BootView, marks: Landmarks) -> Iterator[Pair]:
    late = stage is Stage.START_KERNEL
    yield given(stage, BOOT_PARAMS, kind=Kind.ADDRESS), marks.in_kernel(view.address) if late else str(view.address)
    if not late and marks.kernel is not None:
        yield PHYSICAL_BASE, f"{marks.kernel:#x}"
    if late and marks.start_kernel is not None:
        yield VIRTUAL_BASE, f"{marks.start_kernel:#x}"
    if view.problem:
        yield given(stage, "problem"), view.problem
    yield from _fields(stage, BOOT_PARAMS, nonzero(view.boot_params), marks)
    yield from _cpu(stage, view.cpu, marks)
    line, initrd, chain, efi = view.command_line, view.initrd, view.setup_data, view.efi
    if line is not None:
        yield given(stage, COMMAND_LINE), line.text or line.problem
        yield given(stage, COMMAND_LINE, kind=Kind.ADDRESS), str(line.address)
    if initrd is not None:
        yield given(stage, INITRD, kind=Kind.ADDRESS), str(initrd.address)
        yield given(stage, INITRD, "size"), str(initrd.size)
        yield given(stage, INITRD, "sha256"), initrd.sha256 or initrd.problem
    if chain is not None:
        yield from _setup_data(stage, chain)
    if efi is not None:
        yield from _efi(stage, efi)


def _setup_data(stage: Stage, chain: SetupDataChain) -> Iterator[Pair]:
    if chain.problem:
        yield given(stage, SETUP_DATA, "problem"), chain.problem
    seen: dict[str, int] = {}
    for node in chain.nodes:
        kind = node.type_name
        seen[kind] = seen.get(kind, 0) + 1
        one = kind if seen[kind] == 1 else f"{kind}[{seen[kind]}]"
        yield given(stage, SETUP_DATA, one, kind=Kind.ADDRESS), str(node.address)
        yield given(stage, SETUP_DATA, one, "len"), str(node.len)
        yield from ((given(stage, SETUP_DATA, one, *members(field)), str(value)) for field, value in node.body.items())
        if not node.body:
            yield given(stage, SETUP_DATA, one, "sha256"), node.sha256
        for index, entry in enumerate(node.e820):
            yield given(stage, SETUP_DATA, one, f"e820[{index}]"), f"{entry.addr} {entry.size} {entry.type_name}"


def _efi(stage: Stage, efi: EfiView) -> Iterator[Pair]:
    table, memory_map = efi.system_table, efi.memory_map
    if memory_map is not None:
        yield given(stage, EFI, "memory_map", kind=Kind.ADDRESS), str(memory_map.address)
        yield given(stage, EFI, "memory_map", "descriptor_size"), str(memory_map.descriptor_size)
        pages: dict[str, int] = {}
        for one in memory_map.descriptors:
            kind = _efi_kind(one)
            pages[kind] = pages.get(kind, 0) + one.number_of_pages
        yield from ((given(stage, EFI, "memory_map", kind), f"{count} pages") for kind, count in pages.items())
    if table is None:
        return
    shown = (("signature", table.signature), ("revision", str(table.revision)), ("vendor", table.vendor))
    yield from ((given(stage, *SYSTEM_TABLE, field), value) for field, value in shown)
    for entry in table.configuration_tables:
        known = entry.name or entry.guid
        yield given(stage, EFI, "configuration_table", known), "there"
        yield given(stage, EFI, "configuration_table", known, kind=Kind.ADDRESS), str(entry.address)


def _maps(stage: Stage, view: BootView, machine: tuple[Area, ...]) -> Iterator[tuple[Fact, tuple[Area, ...]]]:
    efi = view.efi
    told_ranges = _sorted(_area(one.addr, one.size, one.type_name) for one in view.e820)
    kept = _kept_by_efi(efi.memory_map.descriptors) if efi is not None and efi.memory_map is not None else ()
    yield e820_map(stage), _sorted(piece for area in told_ranges for piece in _owners(area, machine, kept))
    if efi is not None and efi.memory_map is not None:
        areas = (
            Area(start, start + (one.number_of_pages << 12), _efi_kind(one))
            for one in efi.memory_map.descriptors
            for start in [int(one.physical_start)]
        )
        yield efi_map(stage), _sorted(areas)


KEPT_BY_EFI = frozenset(
    {"EfiRuntimeServicesCode", "EfiRuntimeServicesData", "EfiReservedMemoryType", "EfiACPIReclaimMemory", "EfiACPIMemoryNVS"}
)
"""What firmware keeps of the machine's RAM after the boot (UEFI 2.10 table 7.6)."""

MAX_PIECES = 1024


def _kept_by_efi(descriptors: Sequence[EfiMemoryView]) -> tuple[Area, ...]:
    return tuple(
        Area(start, start + (one.number_of_pages << 12), one.type_name)
        for one in descriptors
        if one.type_name in KEPT_BY_EFI
        for start in [int(one.physical_start)]
    )


def _owners(area: Area, machine: tuple[Area, ...], kept: tuple[Area, ...]) -> Iterator[Area]:
    """A range of e820, with the name of the EFI memory type where firmware took RAM of the machine."""
    if area.kind == RAM or not kept:
        yield area
        return
    inside = {edge for one in (*machine, *kept) for edge in (one.start, one.end) if area.start < edge < area.end}
    edges = sorted({area.start, area.end, *inside})[:MAX_PIECES]
    for start, end in pairwise(edges):
        was_ram = any(one.kind == RAM and one.start <= start < one.end for one in machine)
        owner = next((one.kind for one in kept if one.start <= start < one.end), "") if was_ram else ""
        yield Area(start, end, area.kind, owner)


def _efi_kind(descriptor: EfiMemoryView) -> str:
    name = descriptor.type_name
    return f"{name} RUNTIME" if "RUNTIME" in descriptor.attribute_names else name
