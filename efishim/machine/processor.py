"""The processor interface for other packages: registers by name, memory by linear address (protocol `Cpu`)."""

from __future__ import annotations

import ctypes
from typing import Any

from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from efishim.errors import MachineError
from efishim.machine import extended
from efishim.machine.cpu import GuestFault
from efishim.machine.env import HF_CPL, HF_CS32, HF_CS64, Env, derive_hflags
from efishim.machine.memory import PAGE, BusError, PhysicalMemory
from efishim.machine.paging import PageFault, Walker

GPRS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
GPR_INDEX = {name: index for index, name in enumerate(GPRS)}
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
HELD = {**{name: name for name in SEGMENTS}, "tr": "tr", "ldtr": "ldt", "gdtr": "gdt", "idtr": "idt"}
"""Where the state keeps what has a base and a limit; `cs.base`, `cs.limit` and `cs.flags` are the hidden parts."""
FLOATING = {"fcw": x86.UC_X86_REG_FPCW, "mxcsr": x86.UC_X86_REG_MXCSR}
CONTROL = {"cr0": x86.UC_X86_REG_CR0, "cr2": x86.UC_X86_REG_CR2, "cr3": x86.UC_X86_REG_CR3, "cr4": x86.UC_X86_REG_CR4}

CONTEXT_HEAD = 64
"""Bytes that a saved context has at most in front of the processor's state (struct uc_context, include/uc_priv.h)."""


class Processor:
    """Registers and linear memory of the stopped guest. `uc` is the Unicorn engine, `env` its state in place."""

    def __init__(self, uc: Any, env: Env, memory: PhysicalMemory) -> None:
        self._uc = uc
        self.env = env
        self._memory = memory
        self.walker = Walker(memory)
        self._reset_floating_point()

    def _reset_floating_point(self) -> None:
        """As after RESET and FNINIT (SDM volume 3, table 10-1); Unicorn starts with zeroes, which is every exception
        unmasked, single precision and a full register stack.
        """
        self.set("fcw", 0x37F)
        self.set("mxcsr", 0x1F80)
        self._uc.reg_write(x86.UC_X86_REG_FPTAG, 0xFFFF)

    def get(self, register: str) -> int:
        """Value of a register; see `machine.cpu.Cpu` for the names. Raises KeyError for an unknown one."""
        env = self.env
        index = GPR_INDEX.get(register)
        if index is not None:
            return env.regs[index]
        if register == "rip":
            return env.eip
        if register == "eflags":
            value: int = self._uc.reg_read(x86.UC_X86_REG_EFLAGS)
            return value
        if register in SEGMENTS:
            selector: int = getattr(env, register).selector
            return selector
        if register in ("cr0", "cr2", "cr3", "cr4"):
            return env.cr[int(register[2])]
        if register == "cr8":
            control: int = self._uc.reg_read(x86.UC_X86_REG_CR8)
            return control
        if register in FLOATING:
            word: int = self._uc.reg_read(FLOATING[register])
            return word
        if register == "efer":
            return env.efer
        if register in ("fs_base", "gs_base"):
            base: int = getattr(env, register[:2]).base
            return base
        table, dot, part = register.partition(".")
        held = HELD.get(table)
        if held is None or part not in ("", "base", "limit", "flags"):
            raise KeyError(register)
        field: int = getattr(getattr(env, held), part if dot else "selector")
        return field

    def set(self, register: str, value: int) -> None:
        """Change a register. Selectors alone are not loadable: use `load_segment`."""
        env = self.env
        index = GPR_INDEX.get(register)
        if index is not None:
            env.regs[index] = value & 0xFFFF_FFFF_FFFF_FFFF
        elif register == "rip":
            env.eip = value & 0xFFFF_FFFF_FFFF_FFFF
        elif register == "eflags":
            self._uc.reg_write(x86.UC_X86_REG_EFLAGS, value)
        elif register in FLOATING:
            self._uc.reg_write(FLOATING[register], value)
        elif register in CONTROL:
            self._uc.reg_write(CONTROL[register], value)
        elif register == "efer":
            # Unicorn's own write keeps LMA, with which its 64-bit mode starts although paging is off.
            self.env.efer = value
            self.sync()
        elif register in ("fs_base", "gs_base"):
            getattr(env, register[:2]).base = value & 0xFFFF_FFFF_FFFF_FFFF
        elif register in ("gdtr.base", "idtr.base", "gdtr.limit", "idtr.limit"):
            table, _, part = register.partition(".")
            setattr(env.gdt if table == "gdtr" else env.idt, part, value)
        else:
            raise KeyError(register)

    def extended(self, register: str) -> int:
        """A floating-point or vector register, see `machine.extended`. Raises KeyError."""
        return extended.get(self._uc, register)

    def set_extended(self, register: str, value: int) -> None:
        """Change a vector register. Raises KeyError."""
        extended.put(self._uc, register, value)

    def model_specific(self, number: int) -> int:
        """An MSR that is the engine's own."""
        value: int = self._uc.msr_read(number)
        return value

    def set_model_specific(self, number: int, value: int) -> None:
        """Change one."""
        self._uc.msr_write(number, value)

    def load_segment(self, register: str, selector: int, *, base: int, limit: int, flags: int) -> None:
        """Load a segment register (or `tr`, `ldt`) with its hidden part, as a descriptor load would.

        `limit` is in bytes (already scaled), `flags` the second descriptor word (access byte at bits 8 to 15, G, D/B, L, AVL
        above). Call `sync` after the last one.
        """
        getattr(self.env, register).load(selector, base, limit, flags)

    def whole(self) -> bytes:
        """Everything that the processor remembers, as Unicorn keeps it; the first part is laid out as `Env`."""
        return ctypes.string_at(ctypes.addressof(self.env), self._size())

    def put_whole(self, offset: int, data: bytes) -> None:
        """Change a part of that. Call `sync` after the last one."""
        if not 0 <= offset <= offset + len(data) <= self._size():
            raise MachineError(f"the processor's state has no {len(data)} bytes at {offset:#x}")
        ctypes.memmove(ctypes.addressof(self.env) + offset, data, len(data))

    def _size(self) -> int:
        return int(uclib.uc_context_size(self._uc._uch)) - CONTEXT_HEAD

    def sync(self, cpl: int | None = None) -> None:
        """Make the engine believe directly written segments and control registers."""
        derive_hflags(self.env, self.cpl if cpl is None else cpl)

    @property
    def cpl(self) -> int:
        """Current privilege level."""
        return self.env.hflags & HF_CPL

    @property
    def mode(self) -> int:
        """Default operand size of the code segment: 16, 32, or 64 for 64-bit mode."""
        flags = self.env.hflags
        return 64 if flags & HF_CS64 else 32 if flags & HF_CS32 else 16

    def may_access_port(self, port: int, size: int) -> bool:
        """IOPL and the TSS's bitmap (SDM volume 1, "I/O Permission Bit Map"); a bitmap that cannot be read denies."""
        env = self.env
        if self.cpl <= (env.eflags >> 12 & 3) or not env.cr[0] & 1:
            return True
        try:
            base = int.from_bytes(self.read(env.tr.base + 0x66, 2), "little")
            if base + port // 8 + 1 > env.tr.limit:
                return False
            bits = int.from_bytes(self.read(env.tr.base + base + port // 8, 2), "little") >> (port & 7)
        except GuestFault:
            return False
        return not bits & ((1 << size) - 1)

    def translate(self, address: int, *, write: bool = False) -> int:
        """Physical address of a linear address for a supervisor access. Raises GuestFault."""
        env = self.env
        try:
            return self.walker.translate(
                address, cr0=env.cr[0], cr3=env.cr[3], cr4=env.cr[4] & ~(1 << 21), efer=env.efer, write=write
            )
        except PageFault as fault:
            raise GuestFault(address, write=write, error=fault.error) from fault

    def _pieces(self, address: int, size: int, write: bool) -> list[tuple[int, int]]:
        pieces = []
        while size > 0:
            step = min(size, PAGE - address % PAGE)
            pieces.append((self.translate(address, write=write), step))
            address, size = address + step, size - step
        return pieces

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a linear address. Raises GuestFault when any of them is not mapped to RAM."""
        try:
            return b"".join(self._memory.read(where, step) for where, step in self._pieces(address, size, False))
        except BusError as error:
            raise GuestFault(address, write=False) from error

    def write(self, address: int, data: bytes) -> None:
        """Store at a linear address; nothing is stored when any byte cannot be. Raises GuestFault."""
        pieces = self._pieces(address, len(data), True)
        for where, step in pieces:
            region = self._memory.find(where, step)
            if region is None or not region.writable:
                raise GuestFault(address, write=True)
        done = 0
        for where, step in pieces:
            self._memory.write(where, data[done : done + step])
            done += step


class NoProcessor:
    """Stands where the processor will be until the machine is on."""

    def get(self, register: str) -> int:
        """Raises MachineError, as everything here."""
        raise MachineError("the machine is not on")

    def set(self, register: str, value: int) -> None:
        """Raises MachineError."""
        raise MachineError("the machine is not on")

    def read(self, address: int, size: int) -> bytes:
        """Raises MachineError."""
        raise MachineError("the machine is not on")

    def write(self, address: int, data: bytes) -> None:
        """Raises MachineError."""
        raise MachineError("the machine is not on")

    def translate(self, address: int, *, write: bool = False) -> int:
        """Raises MachineError."""
        raise MachineError("the machine is not on")

    def load_segment(self, register: str, selector: int, *, base: int, limit: int, flags: int) -> None:
        """Raises MachineError."""
        raise MachineError("the machine is not on")

    def sync(self, cpl: int | None = None) -> None:
        """Raises MachineError."""
        raise MachineError("the machine is not on")

    @property
    def mode(self) -> int:
        """Raises MachineError."""
        raise MachineError("the machine is not on")
