"""Checks entries against their specifications, with one checker per entry, before the first instruction of the image.

The checkers look at what is there and at nothing that made it: the processor, guest memory, and where the image lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from efishim.lab.abi import efi, efi_handover, efi_ia32, linux16, linux32, linux64, multiboot, multiboot2, pvh
from efishim.lab.abi.requirements import Findings, Moment, Requirement, Violation
from efishim.lab.record import ProcessorState
from efishim.machine.memory import PhysicalMemory
from efishim.provider import Loaded


@dataclass(frozen=True, slots=True)
class Checker:
    """The requirements of one entry, and what looks at them."""

    requirements: tuple[Requirement, ...]
    check: Callable[[Moment, Findings], None]


EFI_IA32 = "efi-ia32"
"""The entry `efi` of an image for IA-32 firmware."""

CHECKERS: Mapping[str, Checker] = MappingProxyType(
    {
        "efi": Checker(efi.REQUIREMENTS, efi.check),
        "efi-handover": Checker(efi_handover.REQUIREMENTS, efi_handover.check),
        EFI_IA32: Checker(efi_ia32.REQUIREMENTS, efi_ia32.check),
        "efi-mixed": Checker(efi_ia32.MIXED_RULES, efi_ia32.check_mixed),
        "pvh": Checker(pvh.REQUIREMENTS, pvh.check),
        "linux64": Checker(linux64.REQUIREMENTS, linux64.check),
        "linux32": Checker(linux32.REQUIREMENTS, linux32.check),
        "linux16": Checker(linux16.REQUIREMENTS, linux16.check),
        "multiboot": Checker(multiboot.REQUIREMENTS, multiboot.check),
        "multiboot2": Checker(multiboot2.REQUIREMENTS, multiboot2.check),
    }
)
"""By the name of the entry."""


def check_entry(
    entry_name: str,
    cpu_state: ProcessorState,
    memory: PhysicalMemory,
    loaded: Loaded,
    *,
    floating: Mapping[str, int] | None = None,
) -> tuple[Violation, ...]:
    """What is wrong at an entry, in the order of the checks; empty when nothing is, or when no checker knows the entry.

    `loaded` is where the image lies: `base` of its protected-mode code for Linux's own entries. `floating` has the
    registers `fcw` and `mxcsr`, which only UEFI speaks about; without them they are not checked. Never raises for what
    the guest's memory holds.
    """
    checker = CHECKERS.get(entry_name)
    if checker is None:
        return ()
    findings = Findings()
    checker.check(Moment(cpu_state, memory, loaded, floating or {}), findings)
    return tuple(findings.violations)


__all__ = ["CHECKERS", "EFI_IA32", "Checker", "Requirement", "Violation", "check_entry"]
