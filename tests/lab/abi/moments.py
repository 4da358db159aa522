"""Moments of entry to check: as QEMU showed them on real loaders (dumps/*.toml), and as the specifications describe them.

A dump has the processor, hidden parts of the segment registers included, and the structure's fields. What it has not is put
into memory so that it holds: the descriptors that the segment registers were loaded from, an identity map, strings, an RSDP,
and UEFI's tables.
"""

from __future__ import annotations

import re
import struct
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from efishim.lab.abi import Violation, check_entry
from efishim.lab.record import DescriptorTable, GdtEntry, Hex, InterruptTable, PageTable, ProcessorState, Segment
from efishim.lab.record.values import Part
from efishim.lab.snapshot.processor import descriptor_of
from efishim.machine.memory import PhysicalMemory
from efishim.provider import Loaded
from efishim.provider.checking import Moment
from efishim.wire import uefi
from efishim.wire.bootparams import BootParams
from efishim.wire.guids import EFI_ACPI_20_TABLE_GUID, guid_bytes
from efishim.wire.layout import Layout
from tests import views

FOLDER = Path(__file__).with_name("dumps")
DUMPS = sorted(path.stem for path in FOLDER.glob("*.toml"))
MEMORY = 512 << 20
"""As the machine of the dumps had."""
CR3_OF_TESTS = 0x1FD0_0000
RSDP = 0xE_0000

ATTRIBUTES = 0xF0_FF00
SYSTEM = {1: "tss16-available", 2: "ldt", 3: "tss16-busy", 9: "tss-available", 11: "tss-busy"}
"""SDM volume 3, table 3-2."""


@dataclass(frozen=True)
class Dump:
    """One file of the folder."""

    name: str
    entry: str
    origin: str
    violations: dict[str, str]
    """What real firmware does against the specification: rule, and why it is so."""
    text: dict[str, Any]

    @classmethod
    def read(cls, name: str) -> Dump:
        """A dump by the name of its file."""
        text = tomllib.loads((FOLDER / f"{name}.toml").read_text())
        return cls(name, text["entry"], text["origin"], text["violations"], text)


def segment(selector: int, base: int, limit: int, flags: int, *, real: bool = False) -> Segment:
    """A segment register with the hidden part that QEMU prints."""
    if real:
        kind = "real"
    elif not flags & 1 << 12:
        kind = SYSTEM[flags >> 8 & 15]
    elif flags & 1 << 11:
        kind = "code64" if flags & 1 << 21 else "code32" if flags & 1 << 22 else "code16"
    else:
        kind = "data" if flags & 1 << 9 else "data-readonly"
    attributes, dpl = Hex(flags & ATTRIBUTES), Hex(flags >> 13 & 3)
    return Segment(Hex(selector), Hex(base), Hex(limit), attributes, kind, dpl, bool(flags & 1 << 15), hidden=True)


def processor(text: str) -> tuple[ProcessorState, dict[str, int]]:
    """QEMU's `info registers` as a state, and the floating-point control words."""
    values = {name.lower(): int(value, 16) for name, value in re.findall(r"\b(E?[A-Z][A-Z0-9]*|R\d+) *=([0-9a-f]+)\b", text)}
    wide = "rip" in values
    general = {
        ("r" + name[-2:] if not name[1].isdigit() else name): values[name if wide else "e" + name[-2:]]
        for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip")
    }
    general |= {f"r{n}": values.get(f"r{n}", 0) for n in range(8, 16)}
    general["eflags"] = values["rfl" if wide else "efl"]
    control = {name: values[name] for name in ("cr0", "cr2", "cr3", "cr4", "efer")} | {"cr8": 0}
    real = not control["cr0"] & 1
    shown = re.findall(r"^([CDSEFG]S|LDT|TR) *=([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", text, re.MULTILINE)
    segments = {}
    for name, *numbers in shown:
        parts = [int(number, 16) for number in numbers]
        segments[name.lower().replace("ldt", "ldtr")] = segment(*parts, real=real and name.endswith("S"))
    cs = segments["cs"]
    if real:
        mode = "real16"
    elif control["efer"] & 1 << 10:
        mode = {"code64": "long64"}.get(cs.kind, "long32")
    else:
        mode = "protected32" if cs.attributes & 1 << 22 else "protected16"
    tables = {
        name: [int(number, 16) for number in numbers]
        for name, *numbers in re.findall(r"^([GI]DT)= +([0-9a-f]+) ([0-9a-f]+)", text, re.MULTILINE)
    }
    entries = {} if real else {one.selector >> 3: descriptor(one) for name, one in segments.items() if name.endswith("s")}
    gdt, idt = ([Hex(number) for number in tables[name]] for name in ("GDT", "IDT"))
    rows = tuple(GdtEntry(Hex(i), descriptor_of(v)) for i, v in sorted(entries.items()))
    state = ProcessorState(
        mode,
        views.registers(**general),
        views.control(**control),
        views.segments(**segments),
        DescriptorTable(gdt[0], gdt[1], rows),
        InterruptTable(idt[0], idt[1]),
        PageTable(Hex(0), Hex(4 if mode == "long64" else 0)),
    )
    return state, {"fcw": values["fcw"], "mxcsr": values["mxcsr"]}


def descriptor(one: Segment) -> int:
    """Eight bytes that load such a hidden part."""
    limit = one.limit >> 12 if one.attributes & 1 << 23 else one.limit
    low = limit & 0xFFFF | (one.base & 0xFFFF) << 16
    return (one.attributes | limit & 0xF0000 | one.base >> 16 & 0xFF | one.base & 0xFF000000) << 32 | low


def fill(layout: Layout, values: Mapping[str, int]) -> None:
    """Set fields by their full names (`hdr.cmd_line_ptr`)."""
    for name, value in values.items():
        *path, field = name.split(".")
        part: Any = layout
        for step in path:
            part = getattr(part, step)
        setattr(part, field, value)


def identity_map(memory: PhysicalMemory, size: int = 4 << 30) -> int:
    """2 MiB pages over [0, size); gives what CR3 wants."""
    root, pointers = CR3_OF_TESTS, CR3_OF_TESTS + 0x1000
    memory.put_u64(root, pointers | 3)
    for number in range(-(-size >> 30)):
        memory.put_u64(pointers + 8 * number, (pointers + 0x1000 * (number + 1)) | 3)
    for number in range(size >> 21):
        memory.put_u64(pointers + 0x1000 + 8 * number, number << 21 | 0x83)
    return root


def rsdp(memory: PhysicalMemory, address: int) -> None:
    """An RSDP of ACPI 2.0 (ACPI 6.5, section 5.2.5.3)."""
    data = bytearray(struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, b"TESTER", 2, 0, 36, 0x1000, 0))
    data[8] = -sum(data[:20]) & 0xFF
    data[32] = -sum(data) & 0xFF
    memory.write(address, data)


def system_table(memory: PhysicalMemory, address: int, width: int = 8) -> None:
    """A system table with both tables of services and one configuration table."""

    def table(at: int, layout: type[uefi.TableHeader], signature: int, **fields: int) -> None:
        one = layout(Signature=signature, Revision=uefi.REVISION_2_10, HeaderSize=layout.sizeof(width))
        for name, value in fields.items():
            setattr(one, name, value)
        one.CRC32 = zlib.crc32(one.build(width))
        memory.write(at, one.build(width))

    boot, runtime, configuration = address + 0x1000, address + 0x2000, address + 0x3000
    table(boot, uefi.BootServicesTable, uefi.BOOT_SERVICES_SIGNATURE)
    table(runtime, uefi.RuntimeServicesTable, uefi.RUNTIME_SERVICES_SIGNATURE)
    row = uefi.ConfigurationTable(VendorGuid=guid_bytes(EFI_ACPI_20_TABLE_GUID), VendorTable=RSDP)
    memory.write(configuration, row.build(width))
    pointers = {"BootServices": boot, "RuntimeServices": runtime, "ConfigurationTable": configuration}
    table(address, uefi.SystemTable, uefi.SYSTEM_TABLE_SIGNATURE, NumberOfTableEntries=1, **pointers)


def moment(dump: Dump) -> Moment:
    """A dump with everything around it."""
    text = dump.text
    cpu, floating = processor(text["cpu"])
    memory = PhysicalMemory()
    memory.add(0, MEMORY)
    rsdp(memory, RSDP)
    fields: dict[str, int] = text.get("boot_params", {})
    size = text.get("size") or fields["hdr.init_size"]
    entry = cpu.registers.rip
    if cpu.mode == "long64":
        cpu = _cpu(cpu, control=msgspec.structs.replace(cpu.control, cr3=Hex(identity_map(memory))))
    if fields:
        _boot_params(memory, text, fields, text.get("setup", cpu.registers.rsi))
    if "start_info" in text:
        _start_info(memory, text["start_info"])
    if dump.entry == "efi":
        system_table(memory, cpu.registers.rdx)
        memory.put_u64(cpu.registers.rsp, 0x1FEA_95F7)  # as at the top of the stack in the dump
    return Moment(cpu, memory, Loaded(text["base"], size, entry, text.get("setup")), floating)


def _boot_params(memory: PhysicalMemory, text: dict[str, Any], fields: dict[str, int], address: int) -> None:
    params = BootParams.parse(memory.read(address, BootParams.SIZE))
    params.set_e820([(first, last + 1 - first, kind) for first, last, kind in text.get("e820", [])])
    fill(params, fields)
    memory.write(address, params.build())
    memory.write(fields["hdr.cmd_line_ptr"], b"console=ttyS0 earlyprintk=serial,ttyS0 nokaslr panic=-1\0")
    if "acpi_rsdp_addr" in fields:
        rsdp(memory, fields["acpi_rsdp_addr"])
    if "setup_data" in text:
        node = text["setup_data"]
        body = bytes.fromhex(node["body"])
        memory.write(node["address"], struct.pack("<QII", 0, node["type"], len(body)) + body)


def _start_info(memory: PhysicalMemory, info: dict[str, Any]) -> None:
    raw = bytes.fromhex(info["raw"])
    modules, line, root, table = struct.unpack_from("<QQQQ", raw, 16)
    memory.write(info["address"], raw)
    memory.write(modules, b"".join(struct.pack("<4Q", *row) for row in info["modules"]))
    memory.write(line, info["command_line"].encode() + b"\0")
    memory.write(table, b"".join(struct.pack("<QQQ", *row) for row in info["memory_map"]))
    rsdp(memory, root)


def check(entry: str, one: Moment) -> tuple[Violation, ...]:
    """What the checker of an entry says about a moment."""
    return check_entry(entry, one.cpu, one.memory, one.loaded, floating=one.floating, pieces=one.pieces)


def with_registers(one: Moment, **registers: int) -> Moment:
    """The same moment with other general registers."""
    return replace(one, cpu=_cpu(one.cpu, registers=_changed(one.cpu.registers, registers)))


def with_control(one: Moment, **control: int) -> Moment:
    """The same moment with other control registers."""
    return replace(one, cpu=_cpu(one.cpu, control=_changed(one.cpu.control, control)))


def with_mode(one: Moment, mode: str) -> Moment:
    """The same moment in another mode."""
    return replace(one, cpu=_cpu(one.cpu, mode=mode))


def with_segment(one: Moment, name: str, **parts: Any) -> Moment:
    """The same moment with another segment register."""
    changed = _changed(one.cpu.segments.named(name), parts)
    return replace(one, cpu=_cpu(one.cpu, segments=msgspec.structs.replace(one.cpu.segments, **{name: changed})))


def _changed(old: Part, values: Mapping[str, Any]) -> Any:
    """The same part with other values, numbers as a record has them."""
    numbers = {name: Hex(value) if type(value) is int else value for name, value in values.items()}
    return msgspec.structs.replace(old, **numbers)


def without_gdt_entry(one: Moment, index: int) -> Moment:
    """The same moment with a hole in the descriptor table."""
    entries = tuple(entry for entry in one.cpu.gdt.entries if entry.index != index)
    return replace(one, cpu=_cpu(one.cpu, gdt=DescriptorTable(one.cpu.gdt.base, one.cpu.gdt.limit, entries)))


def _cpu(old: ProcessorState, **parts: Any) -> ProcessorState:
    return ProcessorState(**{field: parts.get(field, getattr(old, field)) for field in old.__struct_fields__})
