"""The kernel proper as code: its instructions, its data and its symbols, by the addresses that it is linked to.

Nothing runs here. What is patched while a kernel boots (alternatives, static keys, calls for tracing) is seen as it was linked.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from efishim.image.facts import KernelFacts
from efishim.image.opened import Image
from efishim.image.pointer_words import PointerWords
from efishim.image.symbols import Symbols

LONGEST = 15
"""Bytes of an instruction (Intel SDM volume 2, section 2.3.11)."""
BLOCK = 512
"""No block of straight code that is looked at is longer, bytes."""
REFERRERS = 32
"""Most pointers to one thing that are looked for."""
TRACING = frozenset({"__fentry__", "mcount"})
"""Calls that the kernel takes out of itself before anything else (kernel/trace/ftrace.c, ftrace_init())."""
COPIES_BOOT_PARAMS = re.compile(rb"\xbf(.{4})\xb9\x00\x04\x00\x00\xfc\xf3\xa5", re.DOTALL)
"""mov edi, ADDRESS; mov ecx, PARAM_SIZE / 4; cld; rep movsd (arch/x86/kernel/head_32.S, startup_32)."""
JUMP_ENTRY = struct.Struct("<iii"), struct.Struct("<iiq")
"""Of 32 and of 64 bits: struct jump_entry: code, target and key, each counted from where it stands
(include/linux/jump_label.h, HAVE_ARCH_JUMP_LABEL_RELATIVE)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A place in memory that an instruction refers to. `address` is None where a register is a part of it."""

    address: int | None
    size: int
    registers: frozenset[str]
    read: bool
    written: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, as far as the flow of data through it goes. Registers have their 64-bit names; `flags` is one."""

    address: int
    size: int
    kind: str
    """`jcc`, `jmp`, `call`, `ret`, or nothing."""
    target: int | None
    """Where a direct jump or call goes."""
    reads: frozenset[str]
    writes: frozenset[str]
    memory: tuple[Memory, ...]
    addresses: tuple[int, ...]
    """Of things in the kernel that are constants in it."""
    constant: int | None = None
    """What it loads a register with, of MOV with a constant and of LEA."""
    is_move: bool = False
    """Is it MOV, or one that extends?"""

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.address + self.size


class KernelCode:
    """The code and data of one kernel."""

    def __init__(self, elf: bytes, facts: KernelFacts, symbols: Symbols) -> None:
        self._elf = elf
        self._segments = [one for one in facts.segments if one.file_size]
        self.symbols = symbols
        self.wide = facts.wide
        self.mask, self._word = ((1 << 64) - 1, 8) if facts.wide else ((1 << 32) - 1, 4)
        self._blocks: dict[int, tuple[Instruction, ...]] = {}
        self._references: dict[int, tuple[tuple[int, int, bool], ...]] = {}
        self._pointers: dict[int, tuple[int, ...]] = {}
        self._registers: dict[int, str] = {}

    @classmethod
    def of(cls, image: Image) -> KernelCode | None:
        """The code of an image's kernel; None when it is no Linux with symbols. Raises ImageError."""
        facts, symbols = image.kernel, image.symbols
        if symbols is None or not facts.linux:
            return None
        return cls(image.source.unpack(), facts, symbols)

    def address(self, function: str, offset: int = 0) -> int | None:
        """Where it is; None when several are called so, or none."""
        place = self.symbols.only_address_of(function)
        return None if place is None else place + offset

    @cached_property
    def boot_params(self) -> int | None:
        """Where the kernel keeps its copy of boot_params; where data has no symbols, the first code of 32 bits says."""
        known = self.address("boot_params")
        start = self.address("startup_32")
        if known is not None or start is None or self.wide:
            return known
        found = COPIES_BOOT_PARAMS.search(self.read(start, BLOCK))
        if found is None:
            return None
        physical = int.from_bytes(found[1], "little")
        near = min(self._segments, key=lambda one: abs(physical - one.physical))
        return physical - near.physical + near.virtual

    def name(self, address: int) -> tuple[str, int] | None:
        """(symbol, offset)."""
        return self.symbols.name_at(address)

    def read(self, address: int, size: int) -> bytes:
        """What the file has there: less, where it ends, and nothing of what is zero at start."""
        for one in self._segments:
            at = address - one.virtual
            if 0 <= at < one.file_size:
                return self._elf[one.offset + at : one.offset + min(at + size, one.file_size)]
        return b""

    def pointers_to(self, address: int) -> tuple[int, ...]:
        """Where data has this address, as a pointer of its own."""
        if address not in self._pointers:
            self._pointers[address] = tuple(self._find(address))
        return self._pointers[address]

    def _find(self, address: int) -> Iterator[int]:
        left = REFERRERS
        for one, words in zip(self._segments, self._words, strict=True):
            for at in words.find(address):
                if not left:
                    return
                left -= 1
                yield one.virtual + at

    @cached_property
    def _words(self) -> list[PointerWords]:
        """Of each segment."""
        table = self.symbols.table
        return [
            PointerWords(self._elf[one.offset : one.offset + one.file_size], self._word, table.start, table.end)
            for one in self._segments
        ]

    def block(self, address: int) -> tuple[Instruction, ...]:
        """The instructions from there to the first that may go elsewhere."""
        if address not in self._blocks:
            self._blocks[address] = tuple(self._decode(address))
        return self._blocks[address]

    def refers_to(self, address: int) -> tuple[tuple[int, int, bool], ...]:
        """(address, size, written) of what a block writes, and of what it has the address of."""
        if address not in self._references:
            found = []
            for one in self.block(address):
                found += [(at.address, at.size, True) for at in one.memory if at.address is not None and at.written]
                found += [(constant, 1, False) for constant in one.addresses]
            self._references[address] = tuple(found)
        return self._references[address]

    def goes_to(self, address: int) -> tuple[int, ...]:
        """Where a block jumps to or what it calls, if that is told by the instruction."""
        last = self.block(address)[-1:]
        return tuple(one.target for one in last if one.kind in ("call", "jmp") and one.target is not None)

    def _decode(self, address: int) -> Iterator[Instruction]:
        code = self.read(address, BLOCK)
        for one in self._engine.disasm(code, address):
            found = self._instruction(one)
            if found.kind == "call" and found.target is not None and self._traces(found.target):
                continue
            yield found
            if found.kind:
                return

    def _traces(self, target: int) -> bool:
        name = self.name(target)
        return name is not None and name[0] in TRACING

    @cached_property
    def _engine(self) -> Any:
        import capstone  # noqa: PLC0415 - only those who ask what a branch tests need it

        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64 if self.wide else capstone.CS_MODE_32)  # type: ignore[no-untyped-call]
        engine.detail = True
        return engine

    def _instruction(self, one: Any) -> Instruction:
        """Capstone's in our form."""
        mask, table, name = self.mask, self.symbols.table, self._register
        import capstone  # noqa: PLC0415 - see above
        from capstone import x86_const as x86  # noqa: PLC0415 - see above

        groups = set(one.groups)
        direct = one.operands[0].imm & mask if one.operands and one.operands[0].type == x86.X86_OP_IMM else None
        kind = ""
        if capstone.CS_GRP_CALL in groups:
            kind = "call"
        elif capstone.CS_GRP_RET in groups or capstone.CS_GRP_IRET in groups:
            kind = "ret"
        elif capstone.CS_GRP_JUMP in groups:
            kind = "jmp" if one.id == x86.X86_INS_JMP else "jcc"
        read, written = (set(map(name, regs)) for regs in one.regs_access())
        memory, addresses = [], []
        constant: int | None = None
        for operand in one.operands:
            if operand.type == x86.X86_OP_MEM:
                registers = {name(reg) for reg in (operand.mem.base, operand.mem.index) if reg}
                place: int | None = operand.mem.disp & mask
                if registers == {"rip"}:
                    place, registers = (one.address + one.size + operand.mem.disp) & mask, set()
                elif registers:
                    place = None
                if operand.mem.segment in (x86.X86_REG_FS, x86.X86_REG_GS):
                    place = None  # a variable of each processor, or the thread's: too much code writes it
                if one.id == x86.X86_INS_LEA:
                    addresses += [] if place is None else [place]
                    constant = place
                else:
                    reads = bool(operand.access & capstone.CS_AC_READ) or not operand.access
                    writes = bool(operand.access & capstone.CS_AC_WRITE)
                    memory.append(Memory(place, operand.size, frozenset(registers), reads, writes))
                if operand.mem.base and registers:
                    addresses.append(operand.mem.disp & mask)
            elif operand.type == x86.X86_OP_IMM and not kind:
                addresses.append(operand.imm & mask)
                if one.id in (x86.X86_INS_MOV, x86.X86_INS_MOVABS):
                    constant = operand.imm & mask
        return Instruction(
            one.address,
            one.size,
            kind,
            direct if kind else None,
            frozenset(read - {"rip"}),
            frozenset(written - {"rip"}),
            tuple(memory),
            tuple(value for value in addresses if table.start <= value < table.end),
            None if memory else constant,
            one.id in (x86.X86_INS_MOV, x86.X86_INS_MOVZX, x86.X86_INS_MOVSX, x86.X86_INS_MOVSXD),
        )

    def _register(self, number: int) -> str:
        """Capstone's, in our form."""
        if number not in self._registers:
            name = str(self._engine.reg_name(number))
            self._registers[number] = _WIDE.get(name, name)
        return self._registers[number]

    @cached_property
    def _keys(self) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
        """Where static keys are looked at, in ascending order; and of each the target and the key."""
        start, stop = self.address("__start___jump_table"), self.address("__stop___jump_table")
        if start is None or stop is None:
            return (), ()
        form = JUMP_ENTRY[self.wide]
        data = self.read(start, stop - start)
        rows = []
        for at, (code, target, key) in enumerate(form.iter_unpack(data[: len(data) // form.size * form.size])):
            place = start + at * form.size
            rows.append((place + code, place + 4 + target, (place + 8 + key) & self.mask & ~3))
        rows.sort()
        return [row[0] for row in rows], [row[1:] for row in rows]

    def key_behind(self, start: int, end: int, target: int) -> int | None:
        """The static key that code in [start, end) looks at to go to `target`, or else straight on."""
        places, rows = self._keys
        for at in range(bisect_left(places, start), bisect_right(places, end)):
            if target == rows[at][0] or places[at] < target <= places[at] + 5:
                return rows[at][1]
        return None


_WIDE = {
    **{f"{letter}{half}": f"r{letter}x" for letter in "abcd" for half in "lh"},
    **{f"{letter}x": f"r{letter}x" for letter in "abcd"},
    **{f"e{letter}x": f"r{letter}x" for letter in "abcd"},
    **{f"{form}{name}{low}": f"r{name}" for name in ("si", "di", "bp", "sp") for form, low in (("", "l"), ("", ""), ("e", ""))},
    **{f"r{number}{form}": f"r{number}" for number in range(8, 16) for form in "bwd"},
    "eflags": "flags",
    "rflags": "flags",
}
