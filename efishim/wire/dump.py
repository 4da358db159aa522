"""The processor's state in the notes of an ELF core that QEMU wrote.

Sources: QEMU's target/i386/arch_dump.c (QEMUCPUState and its segments, the forms of elf_prstatus) and docs of the monitor
command dump-guest-memory; System V ABI, "Object Files", for the notes themselves.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, numbers, part, u16, u32, u64

ET_CORE = 4
CORE_OWNER, NT_PRSTATUS = "CORE", 1
QEMU_OWNER, QEMU_CPU_STATE = "QEMU", 0
QEMU_CPU_STATE_VERSION = 1


class QemuCpuSegment(Layout):
    """QEMUCPUSegment. `flags` is the upper half of the descriptor, `limit` counts bytes."""

    SIZE = 24

    selector: int = u32(0)
    limit: int = u32(4)
    flags: int = u32(8)
    pad: int = u32(12)
    base: int = u64(16)


class QemuCpuState(Layout):
    """QEMUCPUState of version 1, without kernel_gs_base behind it, which came later."""

    SIZE = 432

    version: int = u32(0)
    size: int = u32(4)
    rax: int = u64(8)
    rbx: int = u64(16)
    rcx: int = u64(24)
    rdx: int = u64(32)
    rsi: int = u64(40)
    rdi: int = u64(48)
    rsp: int = u64(56)
    rbp: int = u64(64)
    r8: int = u64(72)
    r9: int = u64(80)
    r10: int = u64(88)
    r11: int = u64(96)
    r12: int = u64(104)
    r13: int = u64(112)
    r14: int = u64(120)
    r15: int = u64(128)
    rip: int = u64(136)
    rflags: int = u64(144)
    cs: QemuCpuSegment = part(152, QemuCpuSegment)
    ds: QemuCpuSegment = part(176, QemuCpuSegment)
    es: QemuCpuSegment = part(200, QemuCpuSegment)
    fs: QemuCpuSegment = part(224, QemuCpuSegment)
    gs: QemuCpuSegment = part(248, QemuCpuSegment)
    ss: QemuCpuSegment = part(272, QemuCpuSegment)
    ldt: QemuCpuSegment = part(296, QemuCpuSegment)
    tr: QemuCpuSegment = part(320, QemuCpuSegment)
    gdt: QemuCpuSegment = part(344, QemuCpuSegment)
    idt: QemuCpuSegment = part(368, QemuCpuSegment)
    cr: list[int] = numbers(392, 8, 5)


class Prstatus64(Layout):
    """x86_64_elf_prstatus: what QEMU fills of it."""

    SIZE = 336

    pid: int = u32(32)
    r15: int = u64(112)
    r14: int = u64(120)
    r13: int = u64(128)
    r12: int = u64(136)
    rbp: int = u64(144)
    rbx: int = u64(152)
    r11: int = u64(160)
    r10: int = u64(168)
    r9: int = u64(176)
    r8: int = u64(184)
    rax: int = u64(192)
    rcx: int = u64(200)
    rdx: int = u64(208)
    rsi: int = u64(216)
    rdi: int = u64(224)
    orig_rax: int = u64(232)
    rip: int = u64(240)
    cs: int = u64(248)
    eflags: int = u64(256)
    rsp: int = u64(264)
    ss: int = u64(272)


class Prstatus32(Layout):
    """x86_elf_prstatus."""

    SIZE = 144

    pid: int = u32(24)
    ebx: int = u32(72)
    ecx: int = u32(76)
    edx: int = u32(80)
    esi: int = u32(84)
    edi: int = u32(88)
    ebp: int = u32(92)
    eax: int = u32(96)
    ds: int = u16(100)
    es: int = u16(104)
    fs: int = u16(108)
    gs: int = u16(112)
    orig_eax: int = u32(116)
    eip: int = u32(120)
    cs: int = u16(124)
    eflags: int = u32(128)
    esp: int = u32(132)
    ss: int = u16(136)
