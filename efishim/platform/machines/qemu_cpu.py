"""The processor of the platform `pc-qemu`: QEMU 7.2's model `qemu64` without KVM.

Source: target/i386/cpu.c of QEMU (builtin_x86_defs, cpu_x86_cpuid, x86_cpu_get_supported_feature_word) and
target/i386/tcg/sysemu/misc_helper.c (helper_rdmsr, helper_wrmsr); a test asks a QEMU for every value here.

One bit is left out: SVM, which the engine does not do; with it goes leaf 0x8000000a. Everything else that this model
promises, the engine executes.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.platform.devices.cpuid import LEAF1_EDX, ZERO, CpuidModel, Regs, bits
from efishim.platform.devices.lapic import LocalApic
from efishim.platform.devices.msr import (
    APIC_BASE,
    BIOS_SIGN_ID,
    MC0_CTL,
    MCG_CAP,
    MCG_STATUS,
    MISC_ENABLE,
    MTRR_DEF_TYPE,
    MTRR_FIX,
    MTRR_PHYSBASE0,
    MTRRCAP,
    PAT,
    PAT_RESET,
    UC,
    VARIABLE_MTRRS,
    WB,
    MsrFile,
)

VENDOR = b"AuthenticAMD"
SIGNATURE = 0x0006_0FB1
"""Family 15, model 107, stepping 1: an Athlon 64 X2."""
BRAND = "QEMU Virtual CPU version 2.5+"
PHYSICAL_BITS, LINEAR_BITS = 40, 48
ACCELERATOR = b"TCGTCGTCGTCG"

LEAF1_ECX = bits(0, 13, 31)
"""SSE3, CMPXCHG16B, and that there is a hypervisor."""
MTRR = 1 << 12
EXT1_ECX = bits(0)
"""LAHF64."""
EXT1_EDX = LEAF1_EDX & ~bits(19, 25, 26) | bits(11, 20, 29)
"""AMD repeats most of leaf 1 here; CLFSH, SSE and SSE2 are not repeated, bit 11 is SYSCALL, 20 is NX, 29 is LM."""

MICROCODE = 0x0100_0065
MCE_BANKS, MCE_CONTROL, MCE_RECOVERY = 10, 1 << 8, 1 << 24
MCG_CTL = 0x17B
PERF_STATUS, PERF_STATUS_VALUE = 0x198, 1000 | 4 << 40
ALL = (1 << 64) - 1
WP = 5


def _words(text: bytes, count: int) -> tuple[int, ...]:
    data = text.ljust(4 * count, b"\0")
    return tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, 4 * count, 4))


def qemu_cpuid(*, rdrand: bool = False, mtrr: bool = True, hypervisor: bool = True) -> CpuidModel:
    """The model. `rdrand` adds what `qemu64` has not."""
    one, two, three = _words(VENDOR, 3)
    first, second, third = _words(ACCELERATOR, 3)
    brand = _words(BRAND.encode("ascii"), 12)
    without = 0 if mtrr else MTRR
    ecx = LEAF1_ECX | (1 << 30 if rdrand else 0)
    leaves: dict[int, Regs] = {
        0x00: (0x0D, one, three, two),
        0x01: (SIGNATURE, 8 << 8, ecx if hypervisor else ecx & ~(1 << 31), LEAF1_EDX & ~without),
        0x05: (0, 0, 3, 0),
        0x8000_0000: (0x8000_000A, one, three, two),
        0x8000_0001: (SIGNATURE, 0, EXT1_ECX, EXT1_EDX & ~without),
        **{0x8000_0002 + n: (brand[4 * n], brand[4 * n + 1], brand[4 * n + 2], brand[4 * n + 3]) for n in range(3)},
        # TLBs of 255 entries and more; 64 KiB of each first cache, two ways, lines of 64 bytes (AMD 25481, E.4.4)
        0x8000_0005: (0x01FF_01FF, 0x01FF_01FF, 64 << 24 | 2 << 16 | 1 << 8 | 64, 64 << 24 | 2 << 16 | 1 << 8 | 64),
        # TLBs of 512 entries, 4 ways; second cache 512 KiB, third 16 MiB, both with 16 ways
        0x8000_0006: (0, 0x4200_4200, 512 << 16 | 8 << 12 | 1 << 8 | 64, 128 << 16 | 8 << 12 | 1 << 8 | 64),
        0x8000_0008: (LINEAR_BITS << 8 | PHYSICAL_BITS, 0, 0, 0),
    }
    if hypervisor:
        leaves |= {0x4000_0000: (0x4000_0001, first, second, third), 0x4000_0001: ZERO}
    subleaves: dict[tuple[int, int], Regs] = {
        (0x0B, 0): (0, 1, 1 << 8, 0),  # one thread in a core
        (0x0B, 1): (0, 1, 2 << 8 | 1, 0),  # one core in the package
        (0x0B, 2): (0, 0, 2, 0),
    }
    return CpuidModel(leaves, subleaves)


@dataclass(frozen=True)
class Hole:
    """The part of the address space below 4 GiB that is no RAM: a power of two, aligned to itself."""

    start: int
    size: int


class QemuMsrs(MsrFile):
    """QEMU raises no #GP: what it does not know reads as zero, and is forgotten when written."""

    def read(self, msr: int) -> int | None:
        """Value."""
        value = super().read(msr)
        return 0 if value is None else value

    def write(self, msr: int, value: int) -> bool:
        """Store what can be stored."""
        super().write(msr, value)
        return True


def qemu_msrs(lapic: LocalApic, *, hole: Hole | None, rom_protected: bool) -> QemuMsrs:
    """The registers, with the memory types as the firmware leaves them: `rom_protected` is SeaBIOS's (src/fw/mtrr.c), without
    it OVMF's (OvmfPkg/PlatformPei/MemDetect.c). None for `hole` leaves MTRRs out.
    """
    msrs = QemuMsrs()
    msrs.handle(APIC_BASE, lambda: lapic.base_msr, lapic.set_base_msr)
    msrs.define(BIOS_SIGN_ID, MICROCODE)
    msrs.define(MISC_ENABLE, 1, writable=ALL)
    msrs.define(PERF_STATUS, PERF_STATUS_VALUE)
    msrs.define(PAT, PAT_RESET, writable=ALL, check=_is_pat)
    msrs.define(MCG_CAP, MCE_RECOVERY | MCE_CONTROL | MCE_BANKS)
    msrs.define(MCG_STATUS, writable=ALL)
    msrs.define(MCG_CTL, ALL, writable=ALL)
    for bank in range(MCE_BANKS):
        msrs.define(MC0_CTL + 4 * bank, ALL, writable=ALL)
        for register in range(1, 4):
            msrs.define(MC0_CTL + 4 * bank + register, writable=ALL)
    if hole is not None:
        _add_mtrrs(msrs, hole, rom_protected=rom_protected)
    return msrs


def _is_pat(value: int) -> bool:
    return all(byte in {0, 1, 4, 5, 6, 7} for byte in value.to_bytes(8, "little"))


def _add_mtrrs(msrs: QemuMsrs, hole: Hole, *, rom_protected: bool) -> None:
    addresses = ((1 << PHYSICAL_BITS) - 1) & ~0xFFF
    msrs.define(MTRRCAP, VARIABLE_MTRRS | 1 << 8 | 1 << 10)
    msrs.define(MTRR_DEF_TYPE, 3 << 10 | WB, writable=ALL)
    for pair in range(VARIABLE_MTRRS):
        base, mask = (hole.start | UC, addresses & ~(hole.size - 1) | 1 << 11) if pair == 0 else (0, 0)
        msrs.define(MTRR_PHYSBASE0 + 2 * pair, base, writable=ALL)
        msrs.define(MTRR_PHYSBASE0 + 2 * pair + 1, mask, writable=ALL)
    for number in MTRR_FIX:
        if number in {0x250, 0x258}:  # 0 to 0x9ffff
            kind = WB
        elif number == 0x259:  # 0xa0000 to 0xbffff
            kind = UC
        else:
            kind = WP if rom_protected else UC
        msrs.define(number, kind * 0x0101_0101_0101_0101, writable=ALL)
