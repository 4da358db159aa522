"""CPUID leaves of the emulated processor, as data.

The model claims what the emulated processor executes correctly and nothing else. That processor is the engine's default
one (QEMU 5.0's TCG): SSE to SSE4.2, AES, PCLMULQDQ, POPCNT, MOVBE, CMPXCHG16B, RDRAND, FSGSBASE, SMEP, NX, RDTSCP. Left
out on purpose:

* AVX and XSAVE, which TCG of that age lacks or does halfway; BMI1 and BMI2, several of whose flags it computes wrongly
  (QEMU 7.2 and 8.0 fixed BLSR, BEXTR, ADCX); SMAP, PCID, INVPCID, which the engine's model refuses.
* ERMS: the engine executes REP MOVSB byte by byte, and a kernel that believes otherwise copies eight times slower.
* The hypervisor bit, on `pc`.

It is a GenuineIntel family 6 model 28 (Bonnell). Kernels trust CPUID leaves 0x15 and 0x16 for the TSC's frequency only
on Intel (arch/x86/kernel/tsc.c, native_calibrate_tsc()), which spares the guest all calibration loops; and Bonnell, an
in-order core, is the 64-bit model of which Linux and Xen know that it does not speculate (cpu_vuln_whitelist in
arch/x86/kernel/cpu/common.c). That is true of this processor as well: no page table isolation, no retpolines, and no
claims about vulnerabilities that an interpreter cannot have. Stepping 15 was never sold, so no microcode or erratum
table matches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Regs = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

VENDOR = b"GenuineIntel"
SIGNATURE = 0x0001_06CF
"""Family 6, model 0x1c, stepping 15."""
BRAND = "efishim emulated processor"
PHYSICAL_BITS, LINEAR_BITS = 40, 48

ZERO: Regs = (0, 0, 0, 0)


def bits(*numbers: int) -> int:
    """A word with these bits set."""
    return sum(1 << number for number in set(numbers))


LEAF1_EDX = bits(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26)
"""FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2."""
LEAF1_ECX = bits(0, 1, 9, 13, 19, 20, 22, 23, 25)
"""SSE3 PCLMULQDQ SSSE3 CMPXCHG16B SSE4.1 SSE4.2 MOVBE POPCNT AES."""
RDRAND, HYPERVISOR = 1 << 30, 1 << 31
LEAF7_EBX = bits(0, 1, 7)
"""FSGSBASE TSC_ADJUST SMEP."""
EXT1_ECX = bits(0, 5)
"""LAHF64 LZCNT."""
EXT1_EDX = bits(11, 20, 27, 29)
"""SYSCALL NX RDTSCP LM."""
ARAT = 1 << 2
INVARIANT_TSC = 1 << 8
MTRR = 1 << 12


@dataclass(frozen=True)
class CpuidModel:
    """Leaves by number; leaves that look at ECX by (number, subleaf) as well. Call it as `Board.cpuid`.

    A leaf above the highest basic or extended one gives the data of the highest basic leaf, as the SDM says for
    Intel processors (volume 2, CPUID, "Input EAX value"); an undefined subleaf gives zeroes.
    """

    leaves: Mapping[int, Regs]
    subleaves: Mapping[tuple[int, int], Regs] = field(default_factory=dict)

    def __call__(self, leaf: int, subleaf: int) -> Regs:
        regs = self.leaves.get(leaf)
        if regs is not None:
            return regs
        regs = self.subleaves.get((leaf, subleaf))
        if regs is not None:
            return regs
        start = leaf & 0xFFFF_0000
        limit = self.leaves.get(start)
        if limit is not None and (leaf <= limit[0] or leaf >> 28 == 4):
            return ZERO  # defined and empty, or in a hypervisor's range behind its last leaf
        return self.leaves.get(self.leaves[0][0], ZERO)


def _name(text: bytes) -> tuple[int, int, int]:
    """Twelve letters of a vendor as EBX, EDX, ECX hold them, given as (EBX, ECX, EDX)."""
    words = [int.from_bytes(text[at : at + 4], "little") for at in (0, 4, 8)]
    return words[0], words[2], words[1]


def _brand(text: str) -> dict[int, Regs]:
    data = text.encode("ascii")[:47].ljust(48, b"\0")
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, 48, 4)]
    return {
        0x8000_0002 + index: (words[4 * index], words[4 * index + 1], words[4 * index + 2], words[4 * index + 3])
        for index in range(3)
    }


def _cache(kind: int, level: int, ways: int, sets: int) -> Regs:
    """Leaf 4: one core, one thread, 64-byte lines, self-initialising."""
    return (kind | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1, 0)


def brand_string(tsc_hz: int) -> str:
    """The name with the frequency, as Intel's processors write it."""
    return f"{BRAND} @ {tsc_hz / 1e9:.2f}GHz"


def pc_cpuid(
    tsc_hz: int, *, tsc_leaf: bool = True, rdrand: bool = True, hypervisor: bool = False, mtrr: bool = True
) -> CpuidModel:
    """The processor of the platform `pc`.

    `tsc_leaf` offers leaves 0x15 and 0x16; without them kernels measure the TSC against the PIT or the PM timer.
    """
    highest = 0x16 if tsc_leaf else 0x0D
    mhz = tsc_hz // 1_000_000
    ecx = LEAF1_ECX | (RDRAND if rdrand else 0) | (HYPERVISOR if hypervisor else 0)
    edx = LEAF1_EDX & ~(0 if mtrr else MTRR)
    leaves: dict[int, Regs] = {
        0x00: (highest, *_name(VENDOR)),
        0x01: (SIGNATURE, 1 << 16 | 8 << 8, ecx, edx),
        0x02: (0x00FF_FF01, 0, 0, 0),  # one call; no descriptors, see leaf 4
        0x05: ZERO,
        0x06: (ARAT, 0, 0, 0),
        0x09: ZERO,
        0x0A: ZERO,
        0x8000_0000: (0x8000_0008, 0, 0, 0),
        0x8000_0001: (0, 0, EXT1_ECX, EXT1_EDX),
        **_brand(brand_string(tsc_hz)),
        0x8000_0005: ZERO,
        0x8000_0006: (0, 0, 512 << 16 | 6 << 12 | 64, 0),  # L2: 512 KiB, 8 ways, 64-byte lines
        0x8000_0007: (0, 0, 0, INVARIANT_TSC),
        0x8000_0008: (LINEAR_BITS << 8 | PHYSICAL_BITS, 0, 0, 0),
    }
    if tsc_leaf:
        # TSC and crystal are the same clock: ratio 1/1, and the APIC timer counts it too (SDM volume 3, 11.5.4).
        leaves[0x15] = (1, 1, tsc_hz, 0)
        leaves[0x16] = (mhz, mhz, 100, 0)
    subleaves: dict[tuple[int, int], Regs] = {
        (0x04, 0): _cache(1, 1, 6, 64),  # L1 data 24 KiB
        (0x04, 1): _cache(2, 1, 8, 64),  # L1 instruction 32 KiB
        (0x04, 2): _cache(3, 2, 8, 1024),  # L2 512 KiB
        (0x07, 0): (0, LEAF7_EBX, 0, 0),
        (0x0B, 0): (0, 1, 1 << 8, 0),  # one thread in a core
        (0x0B, 1): (0, 1, 2 << 8 | 1, 0),  # one core in the package
        (0x0B, 2): (0, 0, 2, 0),
    }
    return CpuidModel(leaves, subleaves)
