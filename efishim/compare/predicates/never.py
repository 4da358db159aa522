"""What no rule explains: complaints of the kernel's, and firmware calls that failed."""

from __future__ import annotations

import re

from efishim.compare.evidence import Evidence
from efishim.compare.facts import Fact, Kind
from efishim.lab.kernel_log import GRAVE, Complaint, classify
from efishim.logged_call import LOOKUPS

SUCCESS = "EFI_SUCCESS"

_NEVER = re.compile(
    r"\bBUG: |[Kk]ernel BUG at|\bWARNING: |\bOops\b|\bCall Trace:|\bKernel panic\b"
    r"|\[Firmware Bug\]|EFI stub: ERROR|\bUnable to\b"
)
_ONLY_BY_ITS_OWN_RULE = GRAVE | {Complaint.EFI, Complaint.STALL}
_WARNINGS = "warnings"
_LEVEL = re.compile(r"<\d> ?")

_OPTIONAL = tuple(
    f"{name}_GUID"
    for name in (
        *("EFI_GRAPHICS_OUTPUT_PROTOCOL", "EFI_UGA_DRAW_PROTOCOL", "EFI_PCI_IO_PROTOCOL"),
        *("APPLE_PROPERTIES_PROTOCOL", "EFI_MEMORY_ATTRIBUTE_PROTOCOL", "EFI_TCG2_PROTOCOL"),
        *("EFI_CC_MEASUREMENT_PROTOCOL", "EFI_RNG_PROTOCOL", "EFI_LOAD_FILE2_PROTOCOL"),
        *("EFI_DEVICE_PATH_FROM_TEXT_PROTOCOL", "EFI_SIMPLE_FILE_SYSTEM_PROTOCOL", "EFI_DT_FIXUP_PROTOCOL"),
        *("EFI_SMBIOS_PROTOCOL", "EFI_EDID_ACTIVE_PROTOCOL", "EFI_EDID_DISCOVERED_PROTOCOL"),
        *("OVMF_SEV_MEMORY_ACCEPTANCE_PROTOCOL", "CONSOLE_OUT_DEVICE", "EFI_CONSOLE_OUT_DEVICE"),
    )
)
"""Protocols without which the stub goes on (drivers/firmware/efi/libstub)."""

_ANSWERS: frozenset[tuple[str, str]] = frozenset(
    {
        ("BootServices.GetMemoryMap", "EFI_BUFFER_TOO_SMALL"),
        ("BootServices.LocateHandle", "EFI_BUFFER_TOO_SMALL"),
        ("LoadFile2.LoadFile", "EFI_BUFFER_TOO_SMALL"),
        ("RuntimeServices.GetVariable", "EFI_BUFFER_TOO_SMALL"),
        ("RuntimeServices.GetVariable", "EFI_NOT_FOUND"),
        ("RuntimeServices.GetNextVariableName", "EFI_BUFFER_TOO_SMALL"),
        ("RuntimeServices.GetNextVariableName", "EFI_NOT_FOUND"),
        # The kernel deletes a variable that is not there to let the firmware tidy up (arch/x86/platform/efi/quirks.c,
        # efi_delete_dummy_variable()).
        ("RuntimeServices.SetVariable('DUMMY'", "EFI_NOT_FOUND"),
        # The address is taken: the stub asks for another (UEFI 2.10 section 7.2, AllocatePages()).
        ("BootServices.AllocatePages(AllocateAddress", "EFI_NOT_FOUND"),
        # The stub frees a null pointer when there was no handle (UEFI 2.10 section 7.2, FreePool()).
        ("BootServices.FreePool", "EFI_INVALID_PARAMETER"),
    }
)
"""Answers other than success that these services give when all is well: a size, the end of a list, something that need not be
there (UEFI 2.10 sections 7.2, 7.3 and 8.2).
"""


def complaint(fact: Fact) -> str:
    """The line of a log or of the report's `[warnings]` that a fact is, without its level; empty for other facts."""
    if fact.kind is Kind.LOG:
        return fact.subject
    if fact.kind is Kind.USERSPACE and fact.subject == _WARNINGS:
        return _LEVEL.sub("", ".".join(fact.field), count=1)
    return ""


def is_grave(fact: Fact) -> bool:
    """A complaint that only a rule about this very line may explain."""
    line = complaint(fact)
    return bool(line) and classify(line) in _ONLY_BY_ITS_OWN_RULE


def failed_call(fact: Fact) -> bool:
    """A firmware call that did not do what was asked, where that is no answer that the service gives when all is well."""
    if fact.kind is not Kind.CALL or len(fact.field) != 2:
        return False
    names, status = fact.field
    if not status.startswith("EFI_") or status == SUCCESS or status.startswith("EFI_WARN_"):
        return False
    if fact.subject in LOOKUPS and status in ("EFI_NOT_FOUND", "EFI_UNSUPPORTED"):
        return not any(protocol in names for protocol in _OPTIONAL)
    first = names.partition(",")[0]
    return not {(fact.subject, status), (f"{fact.subject}({first}", status)} & _ANSWERS


def never_explained(evidence: Evidence) -> bool:
    """Is it something that no rule may explain?"""
    return beyond_rules(evidence.fact)


def beyond_rules(fact: Fact) -> bool:
    """Is it a fact of which no rule may explain a difference?"""
    line = complaint(fact)
    if line and _NEVER.search(line):
        # Calibrations that fail on a busy host say so as well; whether they may is a question of that very line.
        return classify(line) is not Complaint.CLOCK
    return failed_call(fact)
