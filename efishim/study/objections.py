"""What was said against either entry, with the statement that answers it or the reason for which nothing here does."""

from __future__ import annotations

from efishim.study import sources
from efishim.study.model import Objection, Source


def _answered(source: Source, statement: str, answer: str) -> Objection:
    return Objection(source=source, statement=statement, answer=answer)


def _open(source: Source, statement: str, answer: str) -> Objection:
    return Objection(source=source, statement=statement, answer=f"not answerable here: {answer}")


OBJECTIONS = (
    _answered(sources.EMULATE, "emulate-in-hypervisor", "it is done as guest code, and counted"),
    _answered(sources.INSIDE_XEN, "emulate-in-hypervisor", "for a guest none is needed inside Xen; a dom0 was not run"),
    _answered(
        sources.UNIKERNEL_STYLE,
        "megabyte-and-second",
        "said of OVMF, which was not run; the firmware in the guest is measured against both numbers",
    ),
    _answered(sources.OPEN_QUESTION, "megabyte-and-second", "measured for the firmware in the guest"),
    _answered(sources.EXTRA_WORK, "extra-work", "its parts are counted; how much is too much is no number"),
    _open(sources.ANOTHER_BOOTLOADER, "another-bootloader", "maintenance has no number"),
    _open(sources.MORE_COMPLICATED, "more-complicated", "the kernels are unmodified"),
    _open(sources.OTHER_DOM0S, "other-dom0s", "no NetBSD or FreeBSD is booted, and no dom0"),
    _answered(sources.NATIVE_MODE, "native-mode", "measured with the 32-bit EFI entry"),
    _open(sources.NO_ELF_NOTES, "elf-notes", "the file formats were not compared"),
    _answered(sources.ALREADY_DOES, "share-paths", "field by field"),
    _answered(sources.ALL_SAFE, "dead-code", "what is touched is listed, by every way in"),
    _answered(sources.FADT_NO_VGA, "acpi-fadt-no-vga", "flag set and clear, by every way in"),
    _answered(sources.NOT_FOR_HYPERVISORS, "hypervisor-type", "what the field changes today"),
    _answered(sources.SUBARCH, "custom-data-pointer", "who reads the two fields"),
    _answered(sources.ZERO_PAGE_STUB, "same-code", "where the ways meet"),
    _open(
        sources.paraphrase("What of code like KASAN, which needs its setup before other code runs?"),
        "kasan",
        "no kernel with KASAN is built",
    ),
)
