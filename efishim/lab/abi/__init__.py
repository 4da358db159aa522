"""Checks entries against their specifications, with one checker per entry, before the first instruction of the image.

The checkers look at what is there and at nothing that made it: the processor, guest memory, and where the image lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from efishim.image.loading import Piece
from efishim.lab.abi import efi, efi_handover, efi_ia32, image, linux16, linux32, linux64, multiboot, multiboot2, pvh
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
        "efi-handover": Checker((image.INTACT, *efi_handover.REQUIREMENTS), efi_handover.check),
        EFI_IA32: Checker(efi_ia32.REQUIREMENTS, efi_ia32.check),
        "efi-mixed": Checker(efi_ia32.MIXED_RULES, efi_ia32.check_mixed),
        "pvh": Checker((image.INTACT, *pvh.REQUIREMENTS), pvh.check),
        "linux64": Checker((image.INTACT, *linux64.REQUIREMENTS), linux64.check),
        "linux32": Checker((image.INTACT, *linux32.REQUIREMENTS), linux32.check),
        "linux16": Checker((image.INTACT, *linux16.REQUIREMENTS), linux16.check),
        "multiboot": Checker((image.INTACT, *multiboot.REQUIREMENTS), multiboot.check),
        "multiboot2": Checker((image.INTACT, *multiboot2.REQUIREMENTS), multiboot2.check),
    }
)
"""By the name of the entry."""


def all_rules() -> dict[str, tuple[Requirement, tuple[str, ...]]]:
    """Every rule by its id, with the entries that it is checked at, in the order of the checkers."""
    found: dict[str, tuple[Requirement, tuple[str, ...]]] = {}
    for entry, checker in CHECKERS.items():
        for one in dict.fromkeys(checker.requirements):
            found[one.id] = one, (*found.get(one.id, (one, ()))[1], entry)
    return found


def check_entry(
    entry_name: str,
    cpu_state: ProcessorState,
    memory: PhysicalMemory,
    loaded: Loaded,
    *,
    floating: Mapping[str, int] | None = None,
    pieces: tuple[Piece, ...] = (),
) -> tuple[Violation, ...]:
    """What is wrong at an entry, in the order of the checks; empty when nothing is, or when no checker knows the entry.

    `loaded` is where the image lies: `base` of its protected-mode code for Linux's own entries. `floating` has the
    registers `fcw` and `mxcsr`, which only UEFI speaks about, `pieces` what was loaded; without them neither is checked.
    Never raises for what the guest's memory holds.
    """
    checker = CHECKERS.get(entry_name)
    if checker is None:
        return ()
    findings = Findings()
    moment = Moment(cpu_state, memory, loaded, floating or {}, pieces)
    # First what was done to the image, which makes the rest hard to tell.
    image.check(moment, findings)
    checker.check(moment, findings)
    return tuple(findings.violations)


__all__ = ["CHECKERS", "EFI_IA32", "Checker", "Requirement", "Violation", "all_rules", "check_entry"]
