"""Checks entries against their specifications, with one checker per entry, before the first instruction of the image.

The checkers look at what is there and at nothing that made it: the processor, guest memory, and where the image lies.
Those here are for efishim's own entries; an entry of a plugin brings its checker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from efishim.image.loading import Piece
from efishim.lab.abi import efi, efi_handover, efi_ia32, image, interface, linux16, linux32, linux64, multiboot, multiboot2, pvh
from efishim.lab.record import ProcessorState
from efishim.machine.memory import PhysicalMemory
from efishim.plugin_guard import PluginError
from efishim.provider import EntryKind, Findings, Loaded, Moment, Requirement, Violation


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


def checkers(kinds: Iterable[EntryKind]) -> Mapping[str, Checker]:
    """The checkers of efishim's own entries and of those that plugins bring. Raises PluginError."""
    return {**CHECKERS, **{kind.name: _theirs(kind) for kind in kinds}}


def _theirs(kind: EntryKind) -> Checker:
    """The checker of a plugin's entry: its own rules, and those of the entry that it follows."""
    follows, own = kind.follows, tuple(kind.requirements)
    strange = next((rule.id for rule in own if not rule.id.startswith(f"{kind.name}/")), None)
    if strange is not None:
        raise PluginError(f"the entry {kind.name} has an ABI rule {strange!r}, and its rules begin with {kind.name}/")
    if not follows:
        return Checker((image.INTACT, *own), kind.check)
    if follows not in CHECKERS:
        raise PluginError(f"the entry {kind.name} follows {follows!r}, and efishim has no ABI rules for that")
    base, left_out = CHECKERS[follows], frozenset(kind.leaves_out)
    unknown = left_out - {rule.id for rule in base.requirements}
    if unknown:
        raise PluginError(f"the entry {kind.name} leaves out {', '.join(sorted(unknown))}, and {follows} has no such rule")

    def check(moment: Moment, findings: Findings) -> None:
        kind.check(moment, findings)
        theirs = Findings()
        base.check(moment, theirs)
        findings.add(one for one in theirs.violations if one.rule not in left_out)

    return Checker((*own, *(rule for rule in base.requirements if rule.id not in left_out)), check)


def all_rules(known: Mapping[str, Checker] = CHECKERS) -> dict[str, tuple[Requirement, tuple[str, ...]]]:
    """Every rule by its id, with the entries that it is checked at, in the order of the checkers; last the rules of the
    plugin interface, which efishim.testing checks and no entry.
    """
    found: dict[str, tuple[Requirement, tuple[str, ...]]] = {}
    for entry, checker in known.items():
        for one in dict.fromkeys(checker.requirements):
            found[one.id] = one, (*found.get(one.id, (one, ()))[1], entry)
    return found | {one.id: (one, ()) for one in interface.REQUIREMENTS}


def check_entry(
    entry_name: str,
    cpu_state: ProcessorState,
    memory: PhysicalMemory,
    loaded: Loaded,
    *,
    floating: Mapping[str, int] | None = None,
    pieces: tuple[Piece, ...] = (),
    known: Mapping[str, Checker] = CHECKERS,
) -> tuple[Violation, ...]:
    """What is wrong at an entry, in the order of the checks; empty when nothing is, or when no checker knows the entry.

    `loaded` is where the image lies: `base` of its protected-mode code for Linux's own entries. `floating` has the
    registers `fcw` and `mxcsr`, which only UEFI speaks about, `pieces` what was loaded; without them neither is checked.
    `known` are the checkers by entry: `checkers(registry.entries.values())` has those of plugins, too.
    Never raises for what the guest's memory holds.
    """
    checker = known.get(entry_name)
    if checker is None:
        return ()
    findings = Findings()
    moment = Moment(cpu_state, memory, loaded, floating or {}, pieces)
    # First what was done to the image, which makes the rest hard to tell.
    image.check(moment, findings)
    checker.check(moment, findings)
    return tuple(findings.violations)


__all__ = ["CHECKERS", "EFI_IA32", "Checker", "Requirement", "Violation", "all_rules", "check_entry", "checkers"]
