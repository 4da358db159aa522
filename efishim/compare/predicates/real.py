"""What a real machine may say differently: the same in other words, at another place, or in another number."""

from __future__ import annotations

import re
from collections.abc import Mapping

from efishim.compare.evidence import Evidence, Seen
from efishim.compare.facts import BOOT_PARAMS, EFI, Fact, Kind, given
from efishim.compare.predicates.pointers import number

_ADDRESS = re.compile(r"0x[0-9a-f]{6,16}\b", re.IGNORECASE)
_SAID = re.compile(r"said(?: \d+ times)?: ")


def alike_but_for_addresses(evidence: Evidence) -> bool:
    """Both print it, in words that differ only in addresses."""
    left, right = (_ADDRESS.sub("ADDRESS", value) for value, _ in evidence.sides())
    return evidence.both and left == right


_NUMBER = re.compile(r"\b00:0[0-9a-f]\b")


def alike_but_for_the_number(evidence: Evidence) -> bool:
    """A line about a device that the other run has, too, under another number."""
    if evidence.fact.kind is not Kind.LOG:
        return False
    wanted = _NUMBER.sub("00:0N", evidence.fact.subject)
    return all(_says(wanted, seen) for _, seen in evidence.sides())


def _says(wanted: str, seen: Seen) -> bool:
    return any(fact.kind is Kind.LOG and _NUMBER.sub("00:0N", fact.subject) == wanted for fact in seen.facts.behaviour)


_COUNTS = {"eddbuf": "eddbuf_entries", "edd_mbr_sig_buffer": "edd_mbr_sig_buf_entries"}


def nobody_reads(evidence: Evidence) -> bool:
    """Bytes of boot_params that are padding, or entries of a table whose count is 0 (Documentation/arch/x86/zero-page.rst)."""
    fact = evidence.fact
    if fact.subject != BOOT_PARAMS or not fact.field:
        return False
    name = fact.field[0].partition("[")[0]
    if name.startswith("_pad"):
        return True
    count = _COUNTS.get(name)
    return count is not None and not any(_told(fact, count, seen) for _, seen in evidence.sides())


def _told(fact: Fact, name: str, seen: Seen) -> int:
    return number(seen.facts.inputs.get(given(fact.stage, BOOT_PARAMS, name), "0x0")) or 0


_OF_LOADERS = re.compile(r"(?:auto(?: |$))?(?:BOOT_IMAGE=\S+ ?|\S+\.efi )?(?:initrd=\S+ ?)?")
_UNKNOWN = re.compile(r'Unknown kernel command line parameters "(?P<words>[^"]*)"')


def command_line_of_the_flow(evidence: Evidence) -> bool:
    """The command line that was asked for, behind what LILO, GRUB and QEMU put in front of it; of single words, only those."""
    fact = evidence.fact
    words = _UNKNOWN.match(fact.subject) if fact.kind is Kind.LOG else None
    if words is not None:
        own = _OF_LOADERS.sub("", words["words"], count=1).split()
        return all(set(own) <= set(seen.record.options.cmdline.split()) for _, seen in evidence.told())
    if fact.kind is Kind.USERSPACE and fact.subject == "argv":
        return not _OF_LOADERS.sub("", ".".join(fact.field), count=1)
    for value, seen in evidence.told():
        line = value
        if fact.kind is Kind.LOG:
            line = fact.subject.partition(": ")[2]
        elif fact.kind is Kind.USERSPACE:
            line = ".".join(fact.field)
        if _OF_LOADERS.sub("", line, count=1).strip() != _OF_LOADERS.sub("", seen.record.options.cmdline, count=1).strip():
            return False
    return True


_REVISIONS: Mapping[int, tuple[str, str]] = {
    0x2_0046: ("2.70", "2.7"),
    0x2_0050: ("2.80", "2.8"),
    0x2_005A: ("2.90", "2.9"),
    0x2_0064: ("2.100", "2.10"),
}
"""UEFI 2.10 section 4.3, and how kernels print them (drivers/firmware/efi/efi.c, efi_systab_report_header())."""


def revision_as_told(evidence: Evidence) -> bool:
    """A revision of UEFI since 2.7; the log shows the one in the system table."""
    for value, seen in evidence.told():
        if evidence.fact.subject == EFI:
            if number(value) not in _REVISIONS:
                return False
            continue
        view = seen.record.boot_view
        table = view.efi.system_table if view is not None and view.efi is not None else None
        known = _REVISIONS.get(int(table.revision), ()) if table is not None else ()
        if table is None or evidence.fact.subject not in [f"efi: EFI v{shown} by {table.vendor}" for shown in known]:
            return False
    return True


_LOOPS = re.compile(r"(?P<whole>\d{1,9})\.(?P<part>\d\d) BogoMIPS(?: \(lpj=(?P<loops>\d{1,12})\))?")
_PER_MIPS, _RATES = 500_000, (100, 250, 300, 1000)


def loops_agree(evidence: Evidence) -> bool:
    """BogoMIPS are loops per tick times ticks per second, the same wherever they are shown (init/calibrate.c)."""
    for value, seen in evidence.told():
        line = _SAID.sub("", value, count=1) if value.startswith("said: ") else evidence.fact.subject
        match = _LOOPS.search(line)
        if match is None:
            return False
        mips = int(match["whole"]) * 100 + int(match["part"])
        if match["loops"] is None:
            shown = f"{match['whole']}.{match['part']} BogoMIPS (lpj="
            if not any(fact.kind is Kind.LOG and shown in fact.subject for fact in seen.facts.behaviour):
                return False
        elif not any(abs(int(match["loops"]) * rate * 100 // _PER_MIPS - mips) <= 1 for rate in _RATES):
            return False
    return True
