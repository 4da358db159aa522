"""Where in a dump an entry is: which entry it was taken at, its native structure, and where the image lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from efishim.dump.model import Dump
from efishim.dump.source import DumpError
from efishim.errors import ImageError
from efishim.image.entries import Entry
from efishim.image.loading import MB2_RELOCATABLE, LoadPlan, Piece, Room, plan_load
from efishim.image.opened import Image
from efishim.machine.memory import BusError
from efishim.provider import Loaded
from efishim.wire.bootparams import HDRS_MAGIC, BootParams, SetupHeader
from efishim.wire.linux_header import ENTRY64_OFFSET, HEADER_START
from efishim.wire.multiboot import MULTIBOOT2_BOOTLOADER_MAGIC, MULTIBOOT_BOOTLOADER_MAGIC
from efishim.wire.start_info import XEN_HVM_START_MAGIC_VALUE, HvmStartInfoV0
from efishim.wire.x86 import CR0_PE, CR0_PG, DESCRIPTOR_L, EFER_LMA

POINTERS = {
    Entry.PVH: "rbx",
    Entry.LINUX64: "rsi",
    Entry.LINUX32: "rsi",
    Entry.LINUX16: "ds.base",
    Entry.MULTIBOOT: "rbx",
    Entry.MULTIBOOT2: "rbx",
}
"""The register that leads to the native structure at an entry; in real mode a segment, with the boot sector at its start."""
ENTRIES = tuple(entry.value for entry in POINTERS)
LOW = 0xFFFF_FFFF


@dataclass(frozen=True)
class Place:
    """Where the image of a dump lies."""

    loaded: Loaded
    pieces: tuple[Piece, ...] = ()
    """What should be in memory of it; none without an image."""
    kernel_slide: int | None = None
    """How far a kernel that was loaded itself lies from where it is linked."""


def pointer(dump: Dump, entry: Entry) -> int:
    """Physical address of the native structure. Raises DumpError for an entry without one in a register."""
    name = POINTERS.get(entry)
    if name is None:
        raise DumpError(
            f"dumps are not looked at as of the entry {entry}", hint=f"the entries of dumps are: {', '.join(ENTRIES)}"
        )
    value = dump.registers[name]
    return value if dump.registers["efer"] & EFER_LMA else value & LOW


def entry_of(dump: Dump) -> Entry:
    """The entry that registers and memory look like, or that the dump says it was taken at. Raises DumpError when neither
    tells.
    """
    if dump.entry:
        if dump.entry not in ENTRIES:
            raise DumpError(
                f"{dump.path} says that it is of an entry {dump.entry!r:.40}", hint=f"there are: {', '.join(ENTRIES)}"
            )
        return Entry(dump.entry)
    registers = dump.registers
    if not registers["cr0"] & CR0_PE:
        return Entry.LINUX16
    if registers["cr0"] & CR0_PG and registers["cs.flags"] & DESCRIPTOR_L:
        return Entry.LINUX64
    magic = registers["rax"] & LOW
    if magic == MULTIBOOT_BOOTLOADER_MAGIC:
        return Entry.MULTIBOOT
    if magic == MULTIBOOT2_BOOTLOADER_MAGIC:
        return Entry.MULTIBOOT2
    if (_at(dump, registers["rbx"] & LOW, HvmStartInfoV0.SIZE) or b"")[:4] == XEN_HVM_START_MAGIC_VALUE.to_bytes(4, "little"):
        return Entry.PVH
    if has_header(dump, registers["rsi"] & LOW):
        return Entry.LINUX32
    raise DumpError(
        f"{dump.path} does not tell which entry it was taken at", hint=f"say it with --entry, one of: {', '.join(ENTRIES)}"
    )


def has_header(dump: Dump, address: int) -> bool:
    """Is there a boot_params with the setup header of an image?"""
    raw = _at(dump, address, BootParams.SIZE)
    return raw is not None and SetupHeader.parse(raw[HEADER_START:]).header == HDRS_MAGIC


def _at(dump: Dump, address: int, size: int) -> bytes | None:
    try:
        return dump.memory.read(address, size)
    except BusError:
        return None


class _Placed:
    """Room for an image that is in memory already, at one address."""

    def __init__(self, start: int | None) -> None:
        self._start = start

    def fits(self, start: int, size: int) -> bool:
        """Only its address; an image at an unknown address is taken to be where it is linked."""
        del size
        return self._start is None or start == self._start

    def place(
        self, size: int, *, align: int = 16, above: int = 0, below: int = 1 << 32, high: bool = False, what: str = ""
    ) -> int:
        """Where it lies, or the lowest place that it may have. Raises ImageError when it may not lie there."""
        del size, high
        start = -(-above // align) * align if self._start is None else self._start
        if start % align or not above <= start < below:
            raise ImageError(f"{what or 'the image'} may not be loaded at {start:#x}")
        return start

    def take(self, start: int, size: int) -> None:
        """It is taken."""


def place_of(dump: Dump, entry: Entry, image: Image | None) -> Place:
    """Where the image lies, from the entry on. With an image, what should be there too. Raises DumpError, ImageError."""
    registers = dump.registers
    at = registers["cs.base"] + registers["rip"] if entry is Entry.LINUX16 else registers["rip"]
    if entry is Entry.LINUX16:
        setup = pointer(dump, entry)
        raw = _at(dump, setup, BootParams.SIZE)
        code = SetupHeader.parse(raw[HEADER_START:]).code32_start if raw is not None else 0
        return Place(Loaded(code, 0, at, setup))
    base = at - ENTRY64_OFFSET if entry is Entry.LINUX64 else at
    if image is None:
        size = 0
        if entry in (Entry.LINUX64, Entry.LINUX32):
            raw = _at(dump, pointer(dump, entry), BootParams.SIZE)
            size = SetupHeader.parse(raw[HEADER_START:]).init_size if raw is not None else 0
        return Place(Loaded(base, size, at))
    image.require(entry)
    start = base
    if entry is Entry.PVH:
        facts = image.kernel
        # One that cannot be moved is where it is linked, whatever the entry is.
        moved = at - (facts.pvh_entry or 0) if facts.pvh_relocation is not None else 0
        start = facts.load_start + moved
    elif entry in (Entry.MULTIBOOT, Entry.MULTIBOOT2):
        linked = plan_load(image, entry, _Placed(None))
        start = linked.base + (at - linked.entry_point if _movable(image, entry) else 0)
    plan = plan_load(image, entry, _Placed(start))
    loaded = Loaded(plan.base, plan.size, plan.entry_point, plan.setup, plan.efi_entry)
    return Place(loaded, plan.pieces, plan.kernel_slide)


def placed(image: Image, entry: Entry, base: int) -> Place:
    """Where an image lies that a loader has put at `base` for an entry of Linux. Raises ImageError if it may not lie there."""
    plan = plan_load(image, entry, _Placed(base))
    return Place(Loaded(plan.base, plan.size, plan.entry_point, plan.setup, plan.efi_entry), plan.pieces, plan.kernel_slide)


def linked_place(load: Callable[[Room], LoadPlan]) -> Place:
    """Where an image lies that is loaded to where it is linked: what `load` plans when all memory is free."""
    plan = load(_Placed(None))
    return Place(Loaded(plan.base, plan.size, plan.entry_point, plan.setup, plan.efi_entry), plan.pieces, plan.kernel_slide)


def _movable(image: Image, entry: Entry) -> bool:
    header = image.parts.multiboot2
    return entry is Entry.MULTIBOOT2 and header is not None and header.tag(MB2_RELOCATABLE) is not None


def require_same(dump: Dump, place: Place, image: Image) -> None:
    """Raises ImageError when the image is not what lies in the dump: its code at the entry is another one."""
    at = place.loaded.entry_point
    for piece in place.pieces:
        if piece.address <= at < piece.address + len(piece.data):
            size = min(64, piece.address + len(piece.data) - at)
            wanted = bytes(memoryview(piece.data)[at - piece.address : at - piece.address + size])
            there = _at(dump, at, size)
            if there != wanted:
                found = "no memory" if there is None else there[:8].hex(" ")
                raise ImageError(
                    f"{image.path} is not the kernel of {dump.path}: at {at:#x} it has {wanted[:8].hex(' ')}, the dump {found}",
                    hint="leave it out, or give the very file that the machine was started with",
                )
