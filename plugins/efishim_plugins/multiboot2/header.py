"""The requests in a kernel's Multiboot2 header, except for the load address (section 3.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from efishim.errors import RouteError
from efishim.image.multiboot import Multiboot2Header, Multiboot2Tag, read_tag
from efishim.wire.multiboot import MULTIBOOT2_HEADER_TAGS, MULTIBOOT2_TAGS, Multiboot2HeaderConsole

CONSOLE_REQUIRED = 1
"""Bit 0 of the console flags: some console that the kernel supports must be there (section 3.1.8)."""
ELF_SECTIONS = next(number for number, name in MULTIBOOT2_TAGS.items() if name == "ELF_SECTIONS")


@dataclass(frozen=True, slots=True)
class Asked:
    """What follows for the information."""

    relocatable: bool = False
    elf_sections: bool = False
    notes: tuple[str, ...] = ()


def wants_boot_services(found: Multiboot2Header | None) -> bool:
    """Does the kernel end EFI's boot services itself? The EFI amd64 entry counts with the EFI_BS tag only (section 3.1.8);
    that tag alone says what the kernel can bear, not where to enter it in 64-bit mode.
    """
    return found is not None and None not in (found.tag("EFI_BS"), found.tag("ENTRY_ADDRESS_EFI64"))


def read(found: Multiboot2Header | None, *, screen: bool) -> Asked:
    """Judge every tag of a header; without one nothing is asked. Raises RouteError for what must be there and is not."""
    if found is None:
        return Asked()
    if reason := refusal(found, screen=screen):
        raise RouteError(reason)
    problems = [_problem(tag, screen=screen) for tag in found.tags]
    notes = tuple(f"an optional tag of the Multiboot2 header is passed over: {reason}" for reason in problems if reason)
    sections = any(ELF_SECTIONS in _requested(tag) for tag in found.tags)
    return Asked(found.tag("RELOCATABLE") is not None, sections, notes)


def refusal(found: Multiboot2Header | None, *, screen: bool) -> str:
    """The header's unmet requirement, in a sentence; empty if all are met."""
    for tag in found.tags if found is not None else ():
        if not tag.optional and (reason := _problem(tag, screen=screen)):
            return f"the Multiboot2 header requires what this loader does not provide: {reason}"
    return ""


def _problem(tag: Multiboot2Tag, *, screen: bool) -> str:
    """Why a tag cannot be honoured, empty when it can."""
    if tag.type not in MULTIBOOT2_HEADER_TAGS:
        return f"header tag {tag.type}, which version 2.0 of the specification does not define"
    if tag.name == "INFORMATION_REQUEST":
        return _request_problem(tag)
    if tag.name == "CONSOLE_FLAGS" and len(tag.data) >= Multiboot2HeaderConsole.SIZE:
        flags = read_tag(tag, Multiboot2HeaderConsole).console_flags
        return "a console, and this machine has no display" if flags & CONSOLE_REQUIRED and not screen else ""
    return ""


def _requested(tag: Multiboot2Tag) -> tuple[int, ...]:
    """The types of the information tags that an INFORMATION_REQUEST names (section 3.1.4)."""
    if tag.name != "INFORMATION_REQUEST":
        return ()
    return struct.unpack(f"<{len(tag.data) // 4}I", tag.data[: len(tag.data) & ~3])


def _request_problem(tag: Multiboot2Tag) -> str:
    """Only what this boot loader does not know is a problem; what the machine does not have is just not told (3.1.4)."""
    unknown = [f"tag {word}" for word in _requested(tag) if word not in MULTIBOOT2_TAGS]
    return f"information about {', '.join(unknown)}" if unknown else ""
