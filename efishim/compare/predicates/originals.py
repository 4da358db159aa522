"""What a real boot loader and its imitation agree in where they differ: places, and how the ramdisk is passed."""

from __future__ import annotations

import re

from efishim.compare.areas import spans
from efishim.compare.evidence import Evidence, Seen
from efishim.compare.facts import Area, Kind, Stage, did, given
from efishim.compare.inputs import COMMAND_LINE, INITRD
from efishim.compare.predicates import memory
from efishim.compare.predicates.values import Value, header

_GRUB_KINDS = {
    "EfiRuntimeServicesCode": "type 0x14",
    "EfiRuntimeServicesData": "RESERVED",
    "EfiReservedMemoryType": "RESERVED",
    "EfiACPIReclaimMemory": "ACPI",
    "EfiACPIMemoryNVS": "NVS",
}
"""GRUB, grub-core/mmap/efi/mmap.c, grub_efi_mmap_iterate(): GRUB_MEMORY_CODE is 20, which it writes to e820_table as it is."""

_RAMDISK_WORD = re.compile(r"(?:^| )initrd=\\\S+")
_LOADED_AT = range(1, 0x200)
"""The call in startup_32 is in the first bytes of the kernel (arch/x86/boot/compressed/head_64.S)."""
OFFERED = did(
    Kind.CALL,
    "BootServices.LocateDevicePath",
    "EFI_LOAD_FILE2_PROTOCOL_GUID, VenMedia(LINUX_EFI_INITRD_MEDIA_GUID)",
    "EFI_SUCCESS",
)


def alignment_of_the_place(evidence: Evidence) -> bool:
    """GRUB halves the alignment when it did not get the preferred address: on both sides it is the image's own before that."""
    own = set()
    for text, seen in evidence.told():
        value = Value(evidence.fact, text, seen)
        moved = header(value, "code32_start") != header(value, "pref_address")
        own.add(value.number << moved)
    return evidence.both and len(own) == 1


def scratch_of_the_place(evidence: Evidence) -> bool:
    """What startup_32 finds out about where it runs: on both sides the same distance behind where the kernel was loaded."""
    found = set()
    for text, seen in evidence.told():
        value = Value(evidence.fact, text, seen)
        found.add(value.number - header(value, "code32_start"))
    return evidence.both and len(found) == 1 and found.pop() in _LOADED_AT


def grub_tells_efis_map(evidence: Evidence) -> bool:
    """A piece of the map that GRUB wrote is on each side what EFI's map makes it."""
    piece = memory.piece_of(evidence.fact)
    return piece is not None and all(_as_efi_says(value, seen, piece) for value, seen in evidence.sides())


def _as_efi_says(told: str, seen: Seen, piece: tuple[int, int]) -> bool:
    start, end = piece
    areas = [one for one in seen.facts.maps.get(memory.EFI_MAP, ()) if one.start < end and one.end > start]
    kinds = {kind for low, high, kind, _ in spans(areas, (Area(start, end, ""),)) if low < end and high > start}
    return {_grub_kind(kind) for kind in kinds} == {told}


def _grub_kind(kind: str) -> str:
    name = kind.partition(" ")[0]
    return "RAM" if kind in memory.FREE else _GRUB_KINDS.get(name, "")


def users_words_and_ramdisks(evidence: Evidence) -> bool:
    """The user's command line, with `initrd=` in front of it or behind it on one side, wherever it is told or shown."""
    fact = evidence.fact
    for value, seen in evidence.told():
        line = fact.subject.partition(": ")[2] if fact.kind is Kind.LOG else value
        line = ".".join(fact.field) if fact.kind is Kind.USERSPACE else line
        if _RAMDISK_WORD.sub("", line).strip() != seen.record.options.cmdline.strip():
            return False
    return sorted(bool(_RAMDISK_WORD.search(_command_line(seen))) for _, seen in evidence.sides()) == [False, True]


def _command_line(seen: Seen) -> str:
    return seen.facts.inputs.get(given(Stage.STARTUP_64, COMMAND_LINE), "")


def reads_the_word_initrd(evidence: Evidence) -> bool:
    """Whoever ran this has `initrd=` on its command line, and the other one has not."""
    return all(bool(value) is bool(_RAMDISK_WORD.search(_command_line(seen))) for value, seen in evidence.sides())


def ramdisk_by_load_file2(evidence: Evidence) -> bool:
    """Both stubs found LoadFile2 and got the same ramdisk from it: from the firmware, or from the loader's own code."""
    told = [seen.facts for _, seen in evidence.sides()]
    ramdisks = {tuple(one.inputs.get(given(Stage.STARTUP_64, INITRD, what), "") for what in ("size", "sha256")) for one in told}
    return all(OFFERED in one.behaviour for one in told) and len(ramdisks) == 1 and all(ramdisks.pop())
