"""Accesses Unicorn's CPUX86State in place.

Unicorn's register interface cannot load a segment in protected mode, change the privilege level or clear the exception
that it believes is still in flight (`old_exception`, Unicorn issue 1883). The state itself can: this module lays a
structure over it. The layout is that of Unicorn 2.1.x (QEMU 5.0.1, target/i386/cpu.h, x86-64 host); `verify` compares it with
what the register interface says before anything relies on it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from efishim.errors import MachineError
from efishim.wire.x86 import CR0_PE, CR4_OSFXSR, CR4_SMAP, DESCRIPTOR_B, DESCRIPTOR_L, EFER_LMA, EFLAGS_VM


class Segment(ctypes.Structure):
    """A segment register with its hidden part. `flags` is the descriptor's second word (access byte at bits 8 to 15)."""

    _fields_ = (
        ("selector", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )
    selector: int
    base: int
    limit: int
    flags: int

    def load(self, selector: int, base: int, limit: int, flags: int) -> None:
        """Set everything at once, as loading a descriptor would."""
        self.selector, self.base, self.limit, self.flags = selector, base, limit, flags


class Env(ctypes.Structure):
    """The part of CPUX86State up to EFER. Register order is the encoding's: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8..r15."""

    _fields_ = (
        ("regs", ctypes.c_uint64 * 16),
        ("eip", ctypes.c_uint64),
        ("eflags", ctypes.c_uint64),
        ("cc_dst", ctypes.c_uint64),
        ("cc_src", ctypes.c_uint64),
        ("cc_src2", ctypes.c_uint64),
        ("cc_op", ctypes.c_uint32),
        ("df", ctypes.c_int32),
        ("hflags", ctypes.c_uint32),
        ("hflags2", ctypes.c_uint32),
        ("es", Segment),
        ("cs", Segment),
        ("ss", Segment),
        ("ds", Segment),
        ("fs", Segment),
        ("gs", Segment),
        ("ldt", Segment),
        ("tr", Segment),
        ("gdt", Segment),
        ("idt", Segment),
        ("cr", ctypes.c_uint64 * 9),
        ("a20_mask", ctypes.c_int32),
        ("bnd_regs", ctypes.c_uint64 * 8),
        ("bndcs_regs", ctypes.c_uint64 * 2),
        ("msr_bndcfgs", ctypes.c_uint64),
        ("efer", ctypes.c_uint64),
    )
    regs: ctypes.Array[ctypes.c_uint64]
    cr: ctypes.Array[ctypes.c_uint64]
    eip: int
    eflags: int
    hflags: int
    hflags2: int
    efer: int
    es: Segment
    cs: Segment
    ss: Segment
    ds: Segment
    fs: Segment
    gs: Segment
    ldt: Segment
    tr: Segment
    gdt: Segment
    idt: Segment

    @property
    def linear(self) -> int:
        """Linear address of the next instruction: the code segment's base and the instruction pointer."""
        return self.linear_of(self.pc)

    def linear_of(self, pc: int) -> int:
        """The linear address that a `pc` of Unicorn's stands for in the present mode."""
        return pc if self.hflags & HF_CS64 else pc & 0xFFFF_FFFF

    @property
    def pc(self) -> int:
        """The same as Unicorn knows it, which names blocks and hooks by it. Outside of 64-bit mode linear addresses are taken
        modulo 2^32 (SDM volume 3, 3.3), where Unicorn lets the sum of base and pointer have its 33rd bit.
        """
        return (self.cs.base + self.eip) & 0xFFFF_FFFF_FFFF_FFFF

    @pc.setter
    def pc(self, linear: int) -> None:
        self.eip = (linear - self.cs.base) & (0xFFFF_FFFF_FFFF_FFFF if self.hflags & HF_CS64 else 0xFFFF_FFFF)


class Pending(ctypes.Structure):
    """The exception fields of CPUX86State, further down."""

    _fields_ = (
        ("error_code", ctypes.c_int32),
        ("exception_is_int", ctypes.c_int32),
        ("exception_next_eip", ctypes.c_uint64),
        ("dr", ctypes.c_uint64 * 8),
        ("watchpoints", ctypes.c_uint64 * 4),
        ("old_exception", ctypes.c_int32),
    )
    error_code: int
    exception_is_int: int
    exception_next_eip: int
    old_exception: int


PENDING_OFFSET = 5384
NO_EXCEPTION = -1

# Bits of hflags that follow from architectural state (QEMU target/i386/cpu.h, HF_*_SHIFT).
HF_CPL = 0x3
HF_INHIBIT_IRQ = 1 << 3
HF_CS32 = 1 << 4
HF_SS32 = 1 << 5
HF_ADDSEG = 1 << 6
HF_PE = 1 << 7
HF_MP_EM_TS = 0x7 << 9
HF_MP_SHIFT = 9
HF_LMA = 1 << 14
HF_CS64 = 1 << 15
HF_OSFXSR = 1 << 22
HF_SMAP = 1 << 23
HF2_NMI_MASK = 1 << 2
"""Of hflags2: an NMI is being handled, and IRET, which clears it, lets the next one in (SDM volume 3, 6.7.1)."""
HF_SEGMENTS = HF_CS32 | HF_SS32 | HF_ADDSEG | HF_CS64


def derive_hflags(env: Env, cpl: int) -> None:
    """Recompute the cached translation flags from segments, CR0, CR4 and EFER after they were written directly."""
    keep = env.hflags & ~(HF_CPL | HF_SEGMENTS | HF_PE | HF_MP_EM_TS | HF_LMA | HF_OSFXSR | HF_SMAP)
    cr0, cr4 = env.cr[0], env.cr[4]
    flags = cpl | (HF_PE if cr0 & CR0_PE else 0) | ((cr0 << (HF_MP_SHIFT - 1)) & HF_MP_EM_TS)
    flags |= HF_OSFXSR if cr4 & CR4_OSFXSR else 0
    flags |= HF_SMAP if cr4 & CR4_SMAP else 0
    if env.efer & EFER_LMA:
        flags |= HF_LMA
    if env.efer & EFER_LMA and env.cs.flags & DESCRIPTOR_L:
        flags |= HF_CS32 | HF_SS32 | HF_CS64
    else:
        code32 = bool(env.cs.flags & DESCRIPTOR_B)
        flags |= HF_CS32 if code32 else 0
        flags |= HF_SS32 if env.ss.flags & DESCRIPTOR_B else 0
        if not cr0 & CR0_PE or env.eflags & EFLAGS_VM or not code32 or env.ds.base | env.es.base | env.ss.base:
            flags |= HF_ADDSEG
    env.hflags = keep | flags


def verify(address: int, write: Callable[[str, int], None]) -> tuple[Env, Pending]:
    """Lay the structures over the state at `address`, after proving with sentinel values that they fit.

    `write(register, value)` uses Unicorn's own interface. Raises MachineError when this build's layout is another.
    """
    env = Env.from_address(address)
    checks: list[tuple[str, int, Callable[[], int]]] = [
        ("rax", 0x1122334455667788, lambda: env.regs[0]),
        ("rsp", 0x2233445566778899, lambda: env.regs[4]),
        ("r15", 0x33445566778899AA, lambda: env.regs[15]),
        ("cr2", 0x445566778899AABB, lambda: env.cr[2]),
        ("fs_base", 0x5566778899AA, lambda: env.fs.base),
        ("gs_base", 0x66778899AABB, lambda: env.gs.base),
    ]
    for register, value, field in checks:
        write(register, value)
        if field() != value:
            raise MachineError(
                f"this build of Unicorn keeps {register} elsewhere than expected",
                hint="install the unicorn release that efishim's packaging asks for",
            )
        write(register, 0)
    return env, Pending.from_address(address + PENDING_OFFSET)
