"""Variables that the kernel fills from its boot_params while it starts, whichever way it was entered: what a branch tests in
them was told.

`setup_arch()` and its like copy fields, whole structures and what they compute from them to variables of their own, and hand
pointers to these on. That code runs on both sides, so it makes nothing differ by itself; it is followed forwards, along code
that ran, through registers and not through the stack.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from efishim.compare.branches import PASSED
from efishim.compare.evidence import Block
from efishim.compare.roots import Ran
from efishim.image.kernel_code import Instruction, KernelCode
from efishim.lab.observe.code_parts import KERNEL
from efishim.wire.bootparams import BootParams

BEHIND = 64
"""Bytes that are looked at behind the first one of a function's last block."""
LONGEST_FUNCTION = 1 << 16
FOLLOWED = 4096
"""Most functions whose code is followed."""
SCANNED = 64 << 20
"""Most bytes of code that are searched for a mention or a call; a word that may be relative costs as much as so many bytes."""
RELATIVE = 16
STEPS = 1 << 18
"""Most instructions that are followed."""
DEPTH = 6
"""Calls that a pointer is followed through."""
WRITTEN_BY_CALLS = frozenset({"rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"})
DIRECT = re.compile(rb"[\xe8\xe9](?=(.{4}))", re.DOTALL)
"""CALL and JMP with a displacement, and much else."""
CALL_SIZE = 5
COUNT, FROM, TO = "rcx", "rsi", "rdi"
"""Registers of MOVS (Intel SDM volume 2)."""


@dataclass(frozen=True, slots=True)
class Copied:
    """`size` bytes of memory that hold, or were computed from, the bytes of boot_params in [start, end)."""

    address: int
    size: int
    start: int
    end: int
    function: str
    """Where it is done."""


@dataclass
class _Registers:
    """What straight code knows: constants, and which bytes of boot_params values come from."""

    constants: dict[str, int] = field(default_factory=dict)
    origins: dict[str, frozenset[tuple[int, int]]] = field(default_factory=dict)

    def copy(self) -> _Registers:
        return _Registers(dict(self.constants), dict(self.origins))

    def forget(self, names: frozenset[str]) -> None:
        for name in names:
            self.constants.pop(name, None)
            self.origins.pop(name, None)

    def origin(self, names: frozenset[str]) -> frozenset[tuple[int, int]]:
        return frozenset().union(*(self.origins.get(name, frozenset()) for name in names))


class Derived:
    """Of one run of one kernel."""

    def __init__(self, code: KernelCode, run: Ran) -> None:
        self._code, self._run = code, run
        self._copied: dict[Copied, None] = {}
        self._pointers: dict[tuple[int, int, int], None] = {}
        """(cell, size, the address that it is given)."""
        self._given: dict[int, dict[int, set[str]]] = {}
        """Of functions that get a pointer to a variable that was filled: to which, and from whom."""
        self._followed: set[tuple[int, str, int]] = set()
        self._filled: set[int] = set()
        """Starts of the variables that were filled."""
        self._bytes_left, self._steps_left, self._depth = SCANNED, STEPS, 0
        self._low, self._high = code.address("_sinittext") or 0, code.address("_einittext") or 0

    def of(self, address: int, size: int) -> Iterator[Copied]:
        """What a variable has from boot_params, or the structure that it points to."""
        everything = self._everything
        yield from (one for one in everything if one.address < address + size and address < one.address + one.size)
        for cell, width, target in self._pointers:
            if cell < address + size and address < cell + width:
                yield from self._in(target)

    def passed_to(self, function: int) -> Iterator[Copied]:
        """What is in the variables that a function gets pointers to. Of one that others call as well, nothing is known."""
        known = self._given.get(function, {}) if self._everything else {}
        if known and self._bytes_left >= 0 and self._callers[function] <= set().union(*known.values()):
            for place in sorted(known):
                yield from self._in(place)

    @cached_property
    def _callers(self) -> Mapping[int, set[str]]:
        """Functions of the kernel that ran and have a direct call, or a jump, to one that gets a pointer; by that one."""
        found: dict[int, set[str]] = {function: set() for function in self._given}
        for one in self._run.functions:
            place = self._code.address(one.name) if one.part == KERNEL else None
            if place is None:
                continue
            for match in DIRECT.finditer(self._scanned(place, self._length(one.name))):
                at = place + match.start()
                target = at + CALL_SIZE + int.from_bytes(match[1], "little", signed=True) & self._code.mask
                if target in found and self._object(at) == place:
                    found[target].add(one.name)
        return found

    def _in(self, place: int) -> Iterator[Copied]:
        """What is in the same variable."""
        yield from (one for one in self._everything if self._object(one.address) == self._object(place))

    def _object(self, address: int) -> int:
        """The start of the variable that an address is in."""
        name = self._code.name(address)
        return address if name is None else address - name[1]

    @cached_property
    def _everything(self) -> Mapping[Copied, None]:
        start = self._code.boot_params
        if start is not None:
            self._learn([(start, BootParams.SIZE)])
            ends = {self._object(one.address): one.address + one.size for one in self._copied}
            if ends:
                self._learn([(place, max(end - place, 1)) for place, end in sorted(ends.items())])
        return self._copied

    def _scanned(self, place: int, size: int, cost: int = 1) -> bytes:
        """Code to be searched; none when too much was. A record may name any functions, as long as it likes."""
        self._bytes_left -= size * cost
        return self._code.read(place, size) if self._bytes_left >= 0 else b""

    def _learn(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Follow the functions that ran and mention one of these (start, size): in the kernel's initialisation in any way, in
        other code, which is a lot, as a constant.
        """
        words = [(start & (1 << 32) - 1).to_bytes(4, "little") for start, _ in ranges]
        found = 0
        for one in self._run.functions:
            place = self._code.address(one.name) if one.part == KERNEL else None
            if place is None or found >= FOLLOWED:
                continue
            size = self._length(one.name)
            if self._low <= place < self._high:
                mentions = self._mentions(place, size, ranges)
            else:
                code = self._scanned(place, size)
                mentions = any(word in code for word in words)
            if mentions:
                found += 1
                self._follow(one.name, place, {})

    def _blocks(self, name: str) -> list[tuple[int, Block]]:
        """Offsets of the blocks that ran, in ascending order, with the blocks."""
        number = self._run.places.get((KERNEL, name))
        texts = [] if number is None else self._run.offsets(number)
        try:
            return sorted((int(text, 16), (number or 0, place)) for place, text in enumerate(texts))
        except ValueError:  # anybody may have written the record
            return []

    def _length(self, name: str) -> int:
        return min(max((offset for offset, _ in self._blocks(name)), default=0), LONGEST_FUNCTION) + BEHIND

    def _mentions(self, place: int, size: int, ranges: Sequence[tuple[int, int]]) -> bool:
        """Is there a word in the code that could be an address in one of these, counted from its own end or from 0?"""
        code, mask = self._scanned(place, size, RELATIVE), self._code.mask
        low, high = min(start for start, _ in ranges), max(start + length for start, length in ranges)
        for shift in range(4):
            for index, (word,) in enumerate(struct.iter_unpack("<i", code[shift : shift + (len(code) - shift) // 4 * 4])):
                at = place + shift + 4 * index + 4
                # An immediate of one to four bytes may stand behind the displacement.
                if not (low <= (word & mask) < high or low - 4 <= (at + word & mask) < high):
                    continue
                values = [base + word & mask for base in (0, at, at + 1, at + 2, at + 4)]
                if any(0 <= value - start < length for start, length in ranges for value in values):
                    return True
        return False

    def _follow(self, name: str, place: int, given: Mapping[str, int]) -> None:
        """Every block of a function that ran, `given` being constants in the registers of its arguments. A block begins with
        what the one knew that led to it, or that called what came before it.
        """
        blocks = self._blocks(name)
        offsets = {block: offset for offset, block in blocks}
        begins = frozenset(offsets.values())
        known: dict[int, _Registers] = {}
        for offset, block in blocks:
            lead = self._run.lead(block)
            before = offset if isinstance(lead, str) else offsets.get(lead, offset)
            registers = (known.get(-offset) or known.get(before) or _Registers(dict(given))).copy()
            for one in self._code.block(place + offset):
                self._steps_left -= 1
                if self._steps_left < 0:
                    return
                self._step(name, one, registers)
                if one.kind == "call":
                    known[place - one.end] = registers
                if one.end - place in begins and not one.kind:
                    known.setdefault(-(one.end - place), registers.copy())
            known[offset] = registers

    def _step(self, name: str, one: Instruction, registers: _Registers) -> None:
        if one.kind == "call":
            self._call(name, one, registers)
            registers.forget(WRITTEN_BY_CALLS)
            return
        if self._moves(name, one, registers):
            return
        for place in one.memory:
            if place.written and place.address is not None:
                for low, high in registers.origin(one.reads):
                    self._fill(Copied(place.address, place.size, low, high, name))
                for reg in sorted(one.reads & registers.constants.keys()):
                    self._pointers[place.address, place.size, registers.constants[reg]] = None
        origin = registers.origin(one.reads) | frozenset(self._read(one))
        constant = one.constant
        if constant is None and not one.memory and len(one.reads - {"flags"}) == 1 and one.is_move:
            constant = registers.constants.get(next(iter(one.reads - {"flags"})))
        registers.forget(one.writes)
        for reg in one.writes - {"flags"}:
            if constant is not None:
                registers.constants[reg] = constant
            if origin:
                registers.origins[reg] = origin

    def _read(self, one: Instruction) -> Iterator[tuple[int, int]]:
        """The bytes of boot_params that an instruction reads."""
        start = self._code.boot_params
        for place in one.memory:
            if place.read and place.address is not None and start is not None and 0 <= place.address - start < BootParams.SIZE:
                yield place.address - start, place.address - start + place.size

    def _moves(self, name: str, one: Instruction, registers: _Registers) -> bool:
        """MOVS, alone or repeated."""
        read = [place for place in one.memory if place.read and place.registers == {FROM}]
        written = [place for place in one.memory if place.written and place.registers == {TO}]
        if not (read and written and {FROM, TO} <= one.writes):
            return False
        source, target = registers.constants.get(FROM), registers.constants.get(TO)
        count = registers.constants.get(COUNT, 0) if COUNT in one.writes else 1
        size, start = read[0].size * count, self._code.boot_params
        registers.forget(one.writes)
        if source is None or target is None or start is None or not 0 < size <= BootParams.SIZE:
            return True
        if 0 <= source - start < BootParams.SIZE:
            self._fill(Copied(target, size, source - start, source - start + size, name))
        registers.constants |= {FROM: source + size, TO: target + size}
        return True

    def _fill(self, one: Copied) -> None:
        self._copied[one] = None
        self._filled.add(self._object(one.address))

    def _call(self, caller: str, one: Instruction, registers: _Registers) -> None:
        """Follows a pointer to what was copied into the function that is called, once."""
        name = None if one.target is None else self._code.name(one.target)
        if name is None or name[1] or one.target is None or self._depth == DEPTH:
            return
        for reg in PASSED[self._code.wide]:
            value = registers.constants.get(reg)
            if value is None or self._object(value) not in self._filled:
                continue
            self._given.setdefault(one.target, {}).setdefault(value, set()).add(caller)
            if (one.target, reg, value) in self._followed:
                continue
            self._followed.add((one.target, reg, value))
            self._depth += 1
            self._follow(name[0], one.target, {reg: value})
            self._depth -= 1


@lru_cache(maxsize=2)
def derived_of(code: KernelCode, run: Ran) -> Derived:
    """The same for one run, which is often compared with several."""
    return Derived(code, run)
