"""The processor state at one moment, decoded as Intel SDM volume 3 and AMD APM volume 2 define it.

What cannot be read is said in a `problem` and never raised: at an entry, the guest's tables are whatever was left there.
"""

from __future__ import annotations

from efishim.lab.record import (
    ControlRegisters,
    Descriptor,
    DescriptorTable,
    GdtEntry,
    Hex,
    InterruptTable,
    PageTable,
    PageTableEntry,
    ProcessorState,
    Registers,
    Segment,
    Segments,
)
from efishim.lab.record.processor import MAX_GDT_ENTRIES, VECTORS
from efishim.machine.cpu import Cpu, GuestFault
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.x86 import (
    CR0_PE,
    CR0_PG,
    CR4_LA57,
    CR4_PAE,
    DESCRIPTOR_ATTRIBUTES,
    DESCRIPTOR_B,
    DESCRIPTOR_L,
    EFER_LMA,
    EFLAGS_VM,
    PTE_ADDRESS,
    segment_descriptor,
)

_SYSTEM_TYPES = {
    # SDM volume 3, table 3-2
    1: "tss16-available",
    2: "ldt",
    3: "tss16-busy",
    4: "call-gate16",
    5: "task-gate",
    6: "interrupt-gate16",
    7: "trap-gate16",
    9: "tss-available",
    11: "tss-busy",
    12: "call-gate",
    14: "interrupt-gate",
    15: "trap-gate",
}

_PTE_FLAGS = ((0, "present"), (1, "writable"), (2, "user"), (3, "write-through"), (4, "uncached"), (5, "accessed"))


def descriptor_of(value: int) -> Descriptor:
    """What the eight bytes of an entry of a descriptor table say."""
    found = segment_descriptor(value)
    return Descriptor(
        value=Hex(value),
        base=Hex(found.base),
        limit=Hex(found.limit),
        attributes=Hex(found.flags & DESCRIPTOR_ATTRIBUTES),
        kind=_kind(found.flags),
        dpl=Hex(found.dpl),
        present=found.present,
    )


def _kind(high: int) -> str:
    if not high & 1 << 12:
        return _SYSTEM_TYPES.get(high >> 8 & 0xF, "reserved")
    if not high & 1 << 11:
        return "data" if high & 1 << 9 else "data-readonly"
    if high & DESCRIPTOR_L:
        return "code64"
    return "code32" if high & DESCRIPTOR_B else "code16"


def capture_cpu(cpu: Cpu, memory: PhysicalMemory) -> ProcessorState:
    """Take the state of a stopped processor. Never raises for what the guest left in its registers."""
    control = ControlRegisters(*(Hex(cpu.get(name)) for name in ControlRegisters.__struct_fields__))
    registers = Registers(*(Hex(cpu.get(name)) for name in Registers.__struct_fields__))
    gdt_base, gdt_limit = cpu.get("gdtr.base"), cpu.get("gdtr.limit")
    protected = bool(control.cr0 & CR0_PE) and not registers.eflags & EFLAGS_VM
    long_mode = bool(control.efer & EFER_LMA)
    segments = Segments(
        *(
            _hidden(cpu, name) or _segment(cpu, name, gdt_base, gdt_limit, real=not protected, wide=long_mode)
            for name in Segments.__struct_fields__
        )
    )
    return ProcessorState(
        mode=_mode(control, registers.eflags, segments.cs),
        registers=registers,
        control=control,
        segments=segments,
        gdt=_gdt(cpu, gdt_base, gdt_limit),
        idt=_idt(cpu, wide=long_mode, real=not control.cr0 & CR0_PE),
        page_table=_page_table(control, memory),
    )


def _mode(control: ControlRegisters, eflags: int, cs: Segment) -> str:
    if not control.cr0 & CR0_PE:
        return "real16"
    if control.efer & EFER_LMA:
        return {"code64": "long64", "code32": "long32", "code16": "long16"}.get(cs.kind, "long")
    if eflags & EFLAGS_VM:
        return "virtual8086"
    # The L bit means nothing outside long mode: D alone decides (SDM volume 3, section 3.4.5).
    return "protected32" if cs.attributes & DESCRIPTOR_B else "protected16"


def _hidden(cpu: Cpu, name: str) -> Segment | None:
    """The hidden part of a segment register, from a processor that shows it."""
    try:
        base, limit, flags = (cpu.get(f"{name}.{part}") for part in ("base", "limit", "flags"))
    except KeyError:
        return None
    attributes = flags & DESCRIPTOR_ATTRIBUTES
    kind = _kind(attributes) if attributes & 0xFF00 else "null"
    return Segment(
        Hex(cpu.get(name)),
        Hex(base),
        Hex(limit),
        Hex(attributes),
        kind,
        Hex(attributes >> 13 & 3),
        present=bool(attributes & 1 << 15),
        hidden=True,
    )


def _segment(cpu: Cpu, name: str, gdt_base: int, gdt_limit: int, *, real: bool, wide: bool) -> Segment:
    """A segment register as its selector and the table in memory tell."""
    selector = Hex(cpu.get(name) & 0xFFFF)
    system = name in {"tr", "ldtr"}
    if real and not system:
        return Segment(selector, Hex(selector << 4), Hex(0xFFFF), Hex(0x9300), "real", present=True)
    base = Hex(cpu.get(f"{name}_base") if wide and name in {"fs", "gs"} else 0)
    if selector & ~3 == 0:
        return Segment(selector, base, kind="null")
    if selector & 4:
        return Segment(selector, base, problem="the selector names the local descriptor table, which is not decoded")
    offset, size = selector & ~7, 16 if wide and system else 8
    if offset + size - 1 > gdt_limit:
        return Segment(selector, base, problem=f"the selector lies behind the limit {gdt_limit:#x} of the GDT")
    try:
        raw = _linear(cpu, gdt_base + offset, size)
    except (GuestFault, BusError) as fault:
        return Segment(selector, base, problem=str(fault))
    found = descriptor_of(int.from_bytes(raw[:8], "little"))
    if system:
        base = Hex(found.base | int.from_bytes(raw[8:12], "little") << 32)
    elif not wide:
        base = found.base
    return Segment(selector, base, found.limit, found.attributes, found.kind, found.dpl, found.present)


def _linear(cpu: Cpu, address: int, size: int) -> bytes:
    """Bytes of a descriptor table; a base near the top wraps as the processor's adder does."""
    return cpu.read(address & 0xFFFF_FFFF_FFFF_FFFF, size)


def _gdt(cpu: Cpu, base: int, limit: int) -> DescriptorTable:
    count = (limit + 1) // 8
    entries: list[GdtEntry] = []
    problem = f"only the first {MAX_GDT_ENTRIES} of {count} entries are shown" if count > MAX_GDT_ENTRIES else ""
    for index in range(1, min(count, MAX_GDT_ENTRIES)):
        try:
            value = int.from_bytes(_linear(cpu, base + index * 8, 8), "little")
        except (GuestFault, BusError) as fault:
            problem = str(fault)
            break
        if value:
            entries.append(GdtEntry(Hex(index), descriptor_of(value)))
    return DescriptorTable(Hex(base), Hex(limit), tuple(entries), problem)


def _idt(cpu: Cpu, *, wide: bool, real: bool) -> InterruptTable:
    base, limit = Hex(cpu.get("idtr.base")), Hex(cpu.get("idtr.limit"))
    if real:
        return InterruptTable(base, limit, problem="real mode: a table of far pointers, which has no present bits")
    step = 16 if wide else 8
    present: list[Hex] = []
    for vector in range(min((limit + 1) // step, VECTORS)):
        try:
            gate = _linear(cpu, base + vector * step, 8)
        except (GuestFault, BusError) as fault:
            return InterruptTable(base, limit, tuple(present), str(fault))
        if gate[5] & 0x80:
            present.append(Hex(vector))
    return InterruptTable(base, limit, tuple(present))


def _page_table(control: ControlRegisters, memory: PhysicalMemory) -> PageTable:
    cr3, cr4 = control.cr3, control.cr4
    long_mode = bool(control.efer & EFER_LMA)
    if not control.cr0 & CR0_PG:
        return PageTable(cr3, Hex(0))
    if long_mode:
        levels, size, count, address = 5 if cr4 & CR4_LA57 else 4, 8, 512, cr3 & PTE_ADDRESS
    elif cr4 & CR4_PAE:
        levels, size, count, address = 3, 8, 4, cr3 & 0xFFFF_FFE0
    else:
        levels, size, count, address = 2, 4, 1024, cr3 & 0xFFFF_F000
    try:
        raw = memory.read(address, size * count)
    except BusError as error:
        return PageTable(Hex(address), Hex(levels), problem=str(error))
    values = ((i, int.from_bytes(raw[i * size : (i + 1) * size], "little")) for i in range(count))
    return PageTable(Hex(address), Hex(levels), tuple(_entry(index, value, size) for index, value in values if value & 1))


def _entry(index: int, value: int, size: int) -> PageTableEntry:
    flags = tuple(name for bit, name in _PTE_FLAGS if value >> bit & 1)
    if size == 8 and value >> 63:
        flags += ("no-execute",)
    return PageTableEntry(Hex(index), Hex(value & (0x000F_FFFF_FFFF_F000 if size == 8 else 0xFFFF_F000)), flags)
