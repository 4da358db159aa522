"""The doors of an image: which of the known entries it has, where they are, and why it lacks the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from efishim.image.bzimage import BzImage
from efishim.image.elf import Elf
from efishim.image.multiboot import Multiboot2Header, MultibootHeader
from efishim.image.pe import PeImage
from efishim.wire import elf as elf_wire
from efishim.wire import linux_header
from efishim.wire import pe as pe_wire


class Entry(StrEnum):
    """Every entry that efishim knows."""

    EFI = "efi"
    EFI_HANDOVER = "efi-handover"
    EFI_MIXED = "efi-mixed"
    PVH = "pvh"
    LINUX64 = "linux64"
    LINUX32 = "linux32"
    LINUX16 = "linux16"
    MULTIBOOT = "multiboot"
    MULTIBOOT2 = "multiboot2"


@dataclass(frozen=True, slots=True)
class PeFormat:
    """The headers that firmware of one machine type takes: PE32+ (`plus`) or PE32 (UEFI 2.10, 2.1.1)."""

    name: str
    plus: bool


FORMATS: Mapping[int, PeFormat] = MappingProxyType(
    {pe_wire.MACHINE_X64: PeFormat("PE32+", plus=True), pe_wire.MACHINE_I386: PeFormat("PE32", plus=False)}
)
"""By machine type: the firmware that there is."""


@dataclass(frozen=True, slots=True)
class Door:
    """One entry of one image: it is there and `where` says where, or it is not and `reason` says why not."""

    entry: str
    """One of `Entry`, or the name of an entry that a plugin brings."""
    where: str = ""
    reason: str = ""

    @property
    def applies(self) -> bool:
        """The image has this entry."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Parts:
    """What was found in an image file; problems are sentences about formats that are there but not valid."""

    bzimage: BzImage | None = None
    pe: PeImage | None = None
    elf: Elf | None = None
    multiboot: MultibootHeader | None = None
    multiboot2: Multiboot2Header | None = None
    bzimage_problem: str = ""
    pe_problem: str = ""
    elf_problem: str = ""


@dataclass(frozen=True, slots=True)
class PvhNote:
    """The outcome of looking for the PVH note: the physical entry address, or why there is none."""

    address: int | None
    reason: str


def doors(parts: Parts, pvh: PvhNote) -> tuple[Door, ...]:
    """The doors of an image in the order of `Entry`."""
    linux = parts.bzimage
    return (
        _efi(parts),
        _no_linux(Entry.EFI_HANDOVER, parts) if linux is None else _handover(linux),
        _mixed(parts),
        _pvh(pvh),
        _no_linux(Entry.LINUX64, parts) if linux is None else _linux64(linux),
        _no_linux(Entry.LINUX32, parts) if linux is None else _linux32(linux),
        _no_linux(Entry.LINUX16, parts) if linux is None else _linux16(linux),
        _multiboot(parts),
        _multiboot2(parts),
    )


def _no_linux(entry: Entry, parts: Parts) -> Door:
    return Door(entry, reason=parts.bzimage_problem or "the image has no Linux setup header")


def _pvh(pvh: PvhNote) -> Door:
    if pvh.address is None:
        return Door(Entry.PVH, reason=pvh.reason)
    return Door(Entry.PVH, where=f"physical {pvh.address:#x}")


def _efi(parts: Parts) -> Door:
    pe = parts.pe
    if pe is None:
        return Door(Entry.EFI, reason=parts.pe_problem or "the image is not a PE file, so it has no EFI entry")
    if pe.machine not in FORMATS:
        return Door(Entry.EFI, reason=f"the PE image is for {pe.machine_name}, the firmware is X64 or IA32")
    wanted = FORMATS[pe.machine]
    if pe.plus != wanted.plus:
        found = "64-bit" if pe.plus else "32-bit"
        return Door(Entry.EFI, reason=f"the PE image has {found} headers, {pe.machine_name} firmware takes {wanted.name} only")
    if pe.subsystem not in pe_wire.EFI_SUBSYSTEMS:
        name = pe_wire.SUBSYSTEMS.get(pe.subsystem, f"subsystem {pe.subsystem}")
        return Door(Entry.EFI, reason=f"the PE image is a program for {name}, not for EFI")
    if not pe.entry_rva:
        return Door(Entry.EFI, reason="the PE image has no entry point")
    caller = "" if pe.machine == pe_wire.MACHINE_X64 else f", called by {pe.machine_name} firmware"
    return Door(Entry.EFI, where=f"RVA {pe.entry_rva:#x}{caller}")


def _handover(linux: BzImage) -> Door:
    if linux.protocol < linux_header.HANDOVER_FROM:
        return Door(
            Entry.EFI_HANDOVER,
            reason=f"boot protocol {linux.protocol_name} is older than the EFI handover protocol (2.11)",
        )
    entry = linux.handover_entry
    if entry is None:
        old = linux.protocol < linux_header.XLOADFLAGS_FROM
        reason = "handover_offset is 0" if old else "XLF_EFI_HANDOVER_64 is not set in xloadflags"
        return Door(Entry.EFI_HANDOVER, reason=reason)
    return Door(Entry.EFI_HANDOVER, where=f"protected-mode code + {entry:#x}")


def _mixed(parts: Parts) -> Door:
    pe = parts.pe
    if pe is None:
        return Door(Entry.EFI_MIXED, reason=parts.pe_problem or "the image is not a PE file")
    if pe.machine != pe_wire.MACHINE_X64:
        return Door(Entry.EFI_MIXED, reason=f"mixed mode is for X64 images, this one is for {pe.machine_name}")
    entry = pe.compat_entry(pe_wire.MACHINE_I386)
    if entry is None:
        return Door(Entry.EFI_MIXED, reason="the PE image has no .compat record for IA32 firmware")
    return Door(Entry.EFI_MIXED, where=f"RVA {entry:#x}")


def _linux64(linux: BzImage) -> Door:
    if linux.protocol < linux_header.XLOADFLAGS_FROM:
        return Door(
            Entry.LINUX64,
            reason=f"boot protocol {linux.protocol_name} cannot say that there is a 64-bit entry, 2.12 can",
        )
    if not linux.value("xloadflags") & linux_header.XLF_KERNEL_64:
        return Door(Entry.LINUX64, reason="XLF_KERNEL_64 is not set in xloadflags: this kernel is 32-bit only")
    return Door(Entry.LINUX64, where=f"protected-mode code + {linux_header.ENTRY64_OFFSET:#x}")


def _linux32(linux: BzImage) -> Door:
    return Door(Entry.LINUX32, where=f"protected-mode code at {linux.value('code32_start'):#x}")


def _linux16(linux: BzImage) -> Door:
    return Door(Entry.LINUX16, where=f"setup code of {linux.setup_size:#x} bytes, offset 0x200")


def _multiboot(parts: Parts) -> Door:
    header = parts.multiboot
    if header is None:
        return Door(Entry.MULTIBOOT, reason="there is no Multiboot header in the first 8192 bytes")
    if header.unknown_requirements:
        return Door(
            Entry.MULTIBOOT,
            reason=f"the Multiboot header requires flags {header.unknown_requirements:#x}, which are not defined",
        )
    if header.address is not None:
        return Door(Entry.MULTIBOOT, where=f"physical {header.address[4]:#x}, header at byte {header.offset}")
    if parts.elf is None:
        return Door(Entry.MULTIBOOT, reason="the Multiboot header gives no addresses and the image is not an ELF file")
    return Door(Entry.MULTIBOOT, where=f"ELF entry {parts.elf.physical_entry:#x}, header at byte {header.offset}")


def _multiboot2(parts: Parts) -> Door:
    header = parts.multiboot2
    if header is None:
        return Door(Entry.MULTIBOOT2, reason="there is no Multiboot2 header in the first 32768 bytes")
    if parts.elf is None and header.tag("ADDRESS") is None:
        return Door(Entry.MULTIBOOT2, reason="the Multiboot2 header gives no addresses and the image is not an ELF file")
    return Door(Entry.MULTIBOOT2, where=f"header at byte {header.offset} with {len(header.tags)} tags")


def pvh_machine_problem(elf: Elf) -> str:
    """Why an ELF file of this machine has no PVH entry; empty for x86."""
    if elf.machine in {elf_wire.MACHINE_386, elf_wire.MACHINE_X86_64}:
        return ""
    return f"the ELF file is for {elf.machine_name}, not for x86"
