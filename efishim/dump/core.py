"""ELF cores as QEMU's monitor command dump-guest-memory writes them.

Source: QEMU's dump/dump.c and target/i386/arch_dump.c. The class of the file says nothing about the processor: QEMU takes
e_machine from the processor's mode, and 64 bits for more than 4 GiB of addresses.
"""

from __future__ import annotations

from efishim.dump.cpu import FLOATING, GENERAL
from efishim.dump.efer import derive_efer
from efishim.dump.memory import DumpMemory, Range, ordered
from efishim.dump.model import Dump
from efishim.dump.source import DumpError, Source
from efishim.errors import ImageError
from efishim.image.elf import Elf, Note, parse_elf, parse_notes
from efishim.wire import dump as wire
from efishim.wire.elf import MACHINE_386, MACHINE_X86_64, TYPES

HEAD = 2 << 20
"""Bytes at the beginning in which headers and notes lie: dump.c writes them before the memory."""
HOW_TO = "take it with QEMU's dump-guest-memory, or describe registers and ranges as docs/check-a-dump.md says"


def read_core(path: str, source: Source) -> Dump:
    """Raises DumpError with one sentence for what is truncated, foreign or malformed."""
    head = source.read(0, HEAD)
    try:
        elf = parse_elf(head, complete=False)
    except ImageError as error:
        raise DumpError(f"{path} cannot be read: {error.sentence}", hint=HOW_TO) from error
    _require_core(path, elf)
    state, derived = _state(path, elf, parse_notes(head, elf) if _at_the_head(path, elf, source) else ())
    ranges = ordered(_ranges(path, elf, source))
    registers = _registers(state)
    registers["efer"], sentence = derive_efer(registers, DumpMemory(ranges), long_mode=elf.machine == MACHINE_X86_64)
    derived += [sentence, "CR8 and the state of the floating-point unit are not in the dump: they are taken as after a reset"]
    packed = f", {source.packed}" if source.packed else ""
    return Dump(path, f"ELF core of QEMU{packed}", registers, ranges, tuple(derived), (path,))


def _require_core(path: str, elf: Elf) -> None:
    if elf.type != wire.ET_CORE:
        kind = TYPES.get(elf.type, f"type {elf.type}")
        raise DumpError(
            f"{path} is an ELF file of type {kind}, not a core", hint="a kernel is given as KERNEL, beside the dump"
        )
    if elf.machine not in {MACHINE_386, MACHINE_X86_64}:
        raise DumpError(f"{path} is the core of a machine of another kind ({elf.machine_name}), not of an x86 one")


def _at_the_head(path: str, elf: Elf, source: Source) -> bool:
    for at, size, _ in elf.note_ranges:
        if at + size > source.size:
            raise DumpError(f"{path} is truncated: its notes end at byte {at + size}, it has {source.size}")
        if at + size > HEAD:
            raise DumpError(f"{path} has its notes at byte {at}; QEMU writes them before the memory", hint=HOW_TO)
    return True


def _ranges(path: str, elf: Elf, source: Source) -> list[Range]:
    total = 0
    for one in elf.segments:
        total += one.file_size
        if one.file_size and one.offset + one.file_size > source.size:
            raise DumpError(
                f"{path} is truncated: the memory at {one.physical:#x} ends at byte {one.offset + one.file_size},"
                f" the file has {source.size}"
            )
    if total > source.size:
        raise DumpError(f"the segments of {path} overlap in the file: they have {total} bytes and the file {source.size}")
    return [Range(one.physical, one.memory_size, source, one.offset, one.file_size) for one in elf.segments]


def _state(path: str, elf: Elf, notes: tuple[Note, ...]) -> tuple[wire.QemuCpuState, list[str]]:
    """The first processor's state, and what is to be said about it."""
    states = [note.description for note in notes if (note.owner, note.type) == (wire.QEMU_OWNER, wire.QEMU_CPU_STATE)]
    plain = [note.description for note in notes if (note.owner, note.type) == (wire.CORE_OWNER, wire.NT_PRSTATUS)]
    if not states:
        what = "NT_PRSTATUS, which has no control registers, and no" if plain else "no"
        raise DumpError(f"{path} has {what} note of QEMU's with the state of the processor", hint=HOW_TO)
    raw = states[0]
    if len(raw) < wire.QemuCpuState.SIZE:
        raise DumpError(f"the note of QEMU's in {path} has {len(raw)} bytes, {wire.QemuCpuState.SIZE} are expected")
    state = wire.QemuCpuState.parse(raw)
    if state.version != wire.QEMU_CPU_STATE_VERSION:
        raise DumpError(f"the note of QEMU's in {path} has version {state.version}, and only 1 is known")
    said = []
    if plain and (other := _pointer(plain[0])) is not None and other != state.rip:
        raise DumpError(f"the notes of {path} contradict each other: RIP is {state.rip:#x} and {other:#x}")
    if len(states) > 1:
        said.append(f"the dump has {len(states)} processors, of which the first is used")
    return state, said


def _pointer(raw: bytes) -> int | None:
    """The instruction pointer of an NT_PRSTATUS, whose two forms differ in size."""
    if len(raw) == wire.Prstatus64.SIZE:
        return wire.Prstatus64.parse(raw).rip
    return wire.Prstatus32.parse(raw).eip if len(raw) == wire.Prstatus32.SIZE else None


def _registers(state: wire.QemuCpuState) -> dict[str, int]:
    values: dict[str, int] = {name: getattr(state, name) for name in (*GENERAL, "rip")}
    values |= {"eflags": state.rflags & 0xFFFF_FFFF, "cr8": 0, **FLOATING}
    values |= {f"cr{number}": state.cr[number] for number in (0, 2, 3, 4)}
    for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"):
        segment: wire.QemuCpuSegment = getattr(state, name)
        known = "ldtr" if name == "ldt" else name
        values[known] = segment.selector & 0xFFFF
        values |= {f"{known}.base": segment.base, f"{known}.limit": segment.limit, f"{known}.flags": segment.flags}
    for name, table in (("gdtr", state.gdt), ("idtr", state.idt)):
        values |= {f"{name}.base": table.base, f"{name}.limit": table.limit & 0xFFFF}
    return values
