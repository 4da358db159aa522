"""Dumps of efishim's own machine as it stands at an entry: as an ELF core like QEMU's, and as a TOML file with ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import efishim_firmware_stubs

from efishim.dump.cpu import CONTROL, GENERAL, SEGMENTS
from efishim.image.opened import open_image
from efishim.lab.boot.prepare import prepare
from efishim.lab.plan.plan import Blob, Plan
from efishim.machine.machine import Machine
from efishim.plugins import load_plugins
from efishim.wire import dump as wire
from efishim.wire import elf

MIB = 1 << 20
PIECE = 64 << 10


@dataclass(frozen=True)
class Stopped:
    """Registers, and all memory that is not zero by address, of a machine at an entry."""

    registers: Mapping[str, int]
    memory: Mapping[int, bytes]
    ranges: tuple[tuple[int, int], ...]

    def with_registers(self, **values: int) -> Stopped:
        """The same with other values; `cs.base` is written cs_base."""
        return Stopped(
            {**self.registers, **{name.replace("_", "."): value for name, value in values.items()}}, self.memory, self.ranges
        )


@cache
def stopped(provider: str, entry: str, *, platform: str = "pc-qemu", memory: int = 64 * MIB) -> Stopped:
    """The probe kernel, about to run its first instruction."""
    kernel = efishim_firmware_stubs.probe_kernel()
    plan = Plan(
        Blob.embedded("embedded:probe", kernel), provider, entry, platform, memory=memory, cmdline=b"console=ttyS0 told"
    )
    machine = Machine(seed=0)
    prepare(plan, open_image(kernel, path="probe"), machine, load_plugins(), lambda _: None)
    names = [*GENERAL, "rip", "eflags", *CONTROL, *SEGMENTS, "gdtr.base", "gdtr.limit", "idtr.base", "idtr.limit"]
    names += [f"{one}.{part}" for one in SEGMENTS for part in ("base", "limit", "flags")]
    registers = {name: machine.cpu.get(name) for name in names}
    content = {}
    for region in machine.memory:
        for at in range(region.start, region.end, PIECE):
            data = machine.memory.read(at, min(PIECE, region.end - at))
            if any(data):
                content[at] = data
    ranges = tuple((region.start, region.size) for region in machine.memory)
    machine.memory.discard()
    return Stopped(registers, content, ranges)


@dataclass(frozen=True)
class Core:
    """An ELF core as QEMU's dump-guest-memory writes it (dump/dump.c), which tests may change before they write it."""

    stopped: Stopped
    machine: int = elf.MACHINE_386
    wide: bool = True
    owner: str = wire.QEMU_OWNER
    processors: int = 1
    type: int = wire.ET_CORE
    pointer: int | None = None
    """RIP in NT_PRSTATUS, where it is another one."""

    @cached_property
    def notes(self) -> bytes:
        """NT_PRSTATUS and QEMU's note of each processor."""
        registers = self.stopped.registers
        state = wire.QemuCpuState(version=1, size=440, rflags=registers["eflags"])
        for name in (*GENERAL, "rip"):
            setattr(state, name, registers[name])
        for name in SEGMENTS:
            parts = {part: registers[f"{name}.{part}"] for part in ("base", "limit", "flags")}
            segment = wire.QemuCpuSegment(selector=registers[name], **parts)
            setattr(state, "ldt" if name == "ldtr" else name, segment)
        state.gdt = wire.QemuCpuSegment(base=registers["gdtr.base"], limit=registers["gdtr.limit"])
        state.idt = wire.QemuCpuSegment(base=registers["idtr.base"], limit=registers["idtr.limit"])
        state.cr = [registers.get(f"cr{number}", 0) for number in range(5)]
        at = registers["rip"] if self.pointer is None else self.pointer
        status = (wire.Prstatus64(rip=at) if self.machine == elf.MACHINE_X86_64 else wire.Prstatus32(eip=at)).build()
        both = note(wire.CORE_OWNER, wire.NT_PRSTATUS, status) + note(self.owner, 0, state.build() + bytes(8))
        return both * self.processors

    def write(self, path: Path) -> Path:
        """A sparse file."""
        head_of, row_of = (elf.ElfHeader64, elf.ProgramHeader64) if self.wide else (elf.ElfHeader32, elf.ProgramHeader32)
        ranges = self.stopped.ranges
        notes_at = head_of.SIZE + (1 + len(ranges)) * row_of.SIZE
        at = notes_at + len(self.notes)
        kind = elf.CLASS64 if self.wide else elf.CLASS32
        identity = elf.ElfIdent(magic=elf.ELF_MAGIC, ei_class=kind, ei_data=elf.DATA_LITTLE, ei_version=1).build()
        header = head_of(
            e_type=self.type,
            e_machine=self.machine,
            e_version=1,
            e_phoff=head_of.SIZE,
            e_phentsize=row_of.SIZE,
            e_phnum=1 + len(ranges),
        ).build()
        head = identity + header[16:]
        head += row_of(p_type=elf.PT_NOTE, p_offset=notes_at, p_filesz=len(self.notes), p_memsz=len(self.notes)).build()
        places = {}
        for start, size in ranges:
            head += row_of(p_type=elf.PT_LOAD, p_offset=at, p_vaddr=start, p_paddr=start, p_filesz=size, p_memsz=size).build()
            places[start], at = (at, size), at + size
        with path.open("wb") as stream:
            stream.write(head + self.notes)
            stream.truncate(at)
            for address, data in self.stopped.memory.items():
                start = max(one for one in places if one <= address)
                stream.seek(places[start][0] + address - start)
                stream.write(data)
        return path


def note(owner: str, kind: int, description: bytes) -> bytes:
    """An ELF note."""
    name = owner.encode() + b"\0"
    head = elf.NoteHeader(n_namesz=len(name), n_descsz=len(description), n_type=kind).build()
    return head + name.ljust(-(-len(name) // 4) * 4, b"\0") + description.ljust(-(-len(description) // 4) * 4, b"\0")


def described(one: Stopped, folder: Path, *, name: str = "dump.toml", leave_out: tuple[str, ...] = ()) -> Path:
    """The same as a TOML file, and one file for each range of memory beside it."""
    registers = one.registers
    lines = ['format = "efishim-dump"', "version = 1", "", "[registers]"]
    lines += [f'{key} = "{registers[key]:#x}"' for key in (*GENERAL, "rip", "eflags", *CONTROL) if key not in leave_out]
    for key in SEGMENTS:
        if key not in leave_out:
            selector, base, limit = registers[key], registers[f"{key}.base"], registers[f"{key}.limit"]
            attributes = registers[f"{key}.flags"] >> 8
            lines += ["", f"[segments.{key}]", f"selector = {selector:#x}", f'base = "{base:#x}"', f"limit = {limit:#x}"]
            lines += [f"attributes = {attributes:#x}"]
    for key in ("gdt", "idt"):
        lines += ["", f"[tables.{key}]", f"base = {registers[f'{key}r.base']:#x}", f"limit = {registers[f'{key}r.limit']:#x}"]
    for start, size in one.ranges:
        file = folder / f"memory-{start:x}"
        with file.open("wb") as stream:
            stream.truncate(size)
            for address, data in one.memory.items():
                if start <= address < start + size:
                    stream.seek(address - start)
                    stream.write(data)
        lines += ["", "[[memory]]", f"start = {start:#x}", f"size = {size:#x}", f'file = "{file.name}"']
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path
