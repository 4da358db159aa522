"""Model-specific registers of the platform's processor, except those that Unicorn implements itself
(EFER, the bases, SYSCALL and SYSENTER, TSC, TSC_ADJUST, TSC_AUX).

Source: Intel SDM volume 4, chapter 2; MTRRs and PAT: volume 3A, "Memory Cache Control". The set is what CPUID promises
and what Linux reads on an Intel family 6 without asking CPUID first; everything else raises #GP, as on hardware.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.platform.devices.cpuid import PHYSICAL_BITS
from efishim.platform.devices.lapic import LocalApic

PLATFORM_ID, APIC_BASE, FEATURE_CONTROL, BIOS_SIGN_ID = 0x17, 0x1B, 0x3A, 0x8B
MTRRCAP, MCG_CAP, MCG_STATUS, MISC_ENABLE, DEBUGCTL = 0xFE, 0x179, 0x17A, 0x1A0, 0x1D9
MTRR_PHYSBASE0, PAT, MTRR_DEF_TYPE, MC0_CTL = 0x200, 0x277, 0x2FF, 0x400
MTRR_FIX = (0x250, 0x258, 0x259, *range(0x268, 0x270))

MICROCODE_REVISION = 1
VARIABLE_MTRRS, MC_BANKS = 8, 2
PAT_RESET = 0x0007_0406_0007_0406
UC, WB = 0, 6
MEMORY_TYPES = frozenset({0, 1, 4, 5, 6})
PAT_TYPES = frozenset({0, 1, 4, 5, 6, 7})

ALL = (1 << 64) - 1
_ADDRESS = ((1 << PHYSICAL_BITS) - 1) & ~0xFFF

Reader = Callable[[], int]
Writer = Callable[[int], bool]


def _types_valid(value: int, allowed: frozenset[int]) -> bool:
    return all(byte in allowed for byte in value.to_bytes(8, "little"))


class MsrFile:
    """Registers by number. A platform starts with `pc_msrs` and adds its own, such as a hypervisor's."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}
        self._masks: dict[int, int] = {}
        self._checks: dict[int, Writer] = {}
        self._handlers: dict[int, tuple[Reader, Writer]] = {}

    def define(self, msr: int, value: int = 0, *, writable: int = 0, check: Writer | None = None) -> None:
        """A register that keeps what is written. Changing a bit outside `writable`, or a value that `check` refuses,
        raises #GP.
        """
        self._values[msr] = value
        self._masks[msr] = writable
        if check is not None:
            self._checks[msr] = check

    def handle(self, msr: int, read: Reader, write: Writer) -> None:
        """A register with behaviour; `write` gives False for #GP."""
        self._handlers[msr] = (read, write)

    def read(self, msr: int) -> int | None:
        """Value, None for #GP."""
        value = self._values.get(msr)
        if value is not None:
            return value
        handler = self._handlers.get(msr)
        return None if handler is None else handler[0]()

    def write(self, msr: int, value: int) -> bool:
        """Store; False for #GP."""
        before = self._values.get(msr)
        if before is None:
            handler = self._handlers.get(msr)
            return handler is not None and handler[1](value)
        if (before ^ value) & ~self._masks[msr]:
            return False
        check = self._checks.get(msr)
        if check is not None and not check(value):
            return False
        self._values[msr] = value
        return True

    @property
    def numbers(self) -> tuple[int, ...]:
        """All registers that exist, ascending."""
        return tuple(sorted({*self._values, *self._handlers}))


def pc_msrs(lapic: LocalApic, *, pci_hole: tuple[int, int] | None) -> MsrFile:
    """The registers of the platform `pc`. `pci_hole` (start, size) is mapped uncached; None leaves MTRRs out."""
    msrs = MsrFile()
    msrs.define(PLATFORM_ID)
    msrs.handle(APIC_BASE, lambda: lapic.base_msr, lapic.set_base_msr)
    msrs.define(FEATURE_CONTROL, 1)  # locked by the firmware, nothing enabled
    # Written as zero before CPUID leaf 1 puts the revision there (SDM volume 3A, "Determining the Signature").
    msrs.handle(BIOS_SIGN_ID, lambda: MICROCODE_REVISION << 32, lambda value: value == 0)
    # Fast strings on; no branch trace store, no precise event sampling.
    msrs.define(MISC_ENABLE, 1 << 0 | 1 << 11 | 1 << 12, writable=1)
    msrs.define(DEBUGCTL)
    msrs.define(PAT, PAT_RESET, writable=ALL, check=lambda value: _types_valid(value, PAT_TYPES))
    _add_machine_check(msrs)
    if pci_hole is not None:
        _add_mtrrs(msrs, *pci_hole)
    return msrs


def _add_machine_check(msrs: MsrFile) -> None:
    msrs.define(MCG_CAP, MC_BANKS)
    msrs.define(MCG_STATUS, writable=7)
    for bank in range(MC_BANKS):
        control = MC0_CTL + 4 * bank
        msrs.define(control, writable=ALL)
        for register in (control + 1, control + 2, control + 3):  # status, address, misc: only zero may be written
            msrs.define(register)


def _add_mtrrs(msrs: MsrFile, hole: int, hole_size: int) -> None:
    """Write-back by default, the PCI hole and the legacy hole uncached. A hole is a power of two, aligned to itself."""
    msrs.define(MTRRCAP, VARIABLE_MTRRS | 1 << 8 | 1 << 10)  # fixed ranges, write combining
    msrs.define(MTRR_DEF_TYPE, 3 << 10 | WB, writable=0xCFF, check=lambda value: value & 0xFF in MEMORY_TYPES)
    for pair in range(VARIABLE_MTRRS):
        base, mask = (hole | UC, _ADDRESS & ~(hole_size - 1) | 1 << 11) if pair == 0 else (0, 0)
        number = MTRR_PHYSBASE0 + 2 * pair
        msrs.define(number, base, writable=_ADDRESS | 0xFF, check=lambda value: value & 0xFF in MEMORY_TYPES)
        msrs.define(number + 1, mask, writable=_ADDRESS | 1 << 11)
    for number in MTRR_FIX:
        conventional = number in {0x250, 0x258}  # 0 to 0x7ffff, 0x80000 to 0x9ffff
        value = WB * 0x0101_0101_0101_0101 if conventional else 0
        msrs.define(number, value, writable=ALL, check=lambda value: _types_valid(value, MEMORY_TYPES))
