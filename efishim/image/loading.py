"""Load addresses and first instruction of images that no firmware loads.

A plan says which bytes of the file belong at which physical address. It looks at the image and at what memory is free,
and at nothing that the image will be told. Addresses are physical, sizes in bytes. Sources: Documentation/arch/x86/boot.rst;
xen/include/public/elfnote.h (PHYS32_ENTRY, PHYS32_RELOC); Multiboot 0.6.96 section 3.1.3; Multiboot2 2.0 section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from efishim.errors import ImageError
from efishim.image.elf import Elf, PvhRelocation, Segment, load_range
from efishim.image.entries import Entry
from efishim.image.multiboot import Multiboot2Tag, read_tag
from efishim.wire import linux_header
from efishim.wire.multiboot import Multiboot2HeaderAddress, Multiboot2HeaderEntry, Multiboot2HeaderRelocatable

if TYPE_CHECKING:
    from efishim.image.opened import Image

REAL_MODE_BASE = 0x9_0000
"""Where boot sector and setup code go; old kernels take no other place (boot.rst, "Memory layout")."""
REAL_MODE_SIZE = 0xA000
"""Setup code, its heap and stack, and the command line behind them: up to 0x9a000."""
LOW_KERNEL, HIGH_KERNEL = 0x1_0000, 0x10_0000
"""Where zImage and bzImage kernels are linked to."""
FOUR_GIB = 1 << 32
LARGEST = 2 << 30
"""Most memory that an image may ask for; more is an error in the image and not a kernel."""
RELOCATABLE_FROM, INIT_SIZE_FROM = 0x205, 0x20A
LOW_MEMORY, LOW_RAM_TOP = 0x10_0000, 0xC000_0000
"""More memory is never below the first and seldom above the second, where a PC has its devices."""
KLUDGE_FROM_HEADER = 0xFFFF_FFFF
"""load_addr of a Multiboot header: "load the file from its beginning"."""
MB2_ADDRESS, MB2_ENTRY, MB2_RELOCATABLE = "ADDRESS", "ENTRY_ADDRESS", "RELOCATABLE"
MB2_BOOT_SERVICES, MB2_EFI64 = "EFI_BS", "ENTRY_ADDRESS_EFI64"
PREFER_HIGHEST = 2


class Room(Protocol):
    """Free guest memory."""

    def fits(self, start: int, size: int) -> bool:
        """Is all of [start, start+size) free RAM?"""

    def place(
        self, size: int, *, align: int = 16, above: int = 0, below: int = FOUR_GIB, high: bool = False, what: str = ""
    ) -> int:
        """Take free RAM, the lowest or with `high` the highest that fits. Raises ProviderError when there is none."""

    def take(self, start: int, size: int) -> None:
        """Mark a range as used."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes for an address; what `size` has more than the data is zero."""

    address: int
    data: bytes | memoryview
    size: int


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Where everything goes. `size` counts from `base` and covers what the image needs before it can look at a memory map."""

    pieces: tuple[Piece, ...]
    base: int
    size: int
    entry_point: int
    setup: int | None = None
    """Address of the real-mode part, for entries that need it."""
    kernel_slide: int | None = None
    """For an ELF file: the offset from the physical addresses it is linked to."""
    efi_entry: int | None = None
    """Where a Multiboot2 kernel wants to be entered while EFI boot services are alive (3.1.8)."""


def plan_load(image: Image, entry: Entry, room: Room, *, high: bool = False) -> LoadPlan:
    """The plan for a native entry; what it uses is taken from `room`. `high` puts relocatable kernels as high as possible.

    Raises ImageError for an image that cannot be loaded this way, ProviderError when memory lacks. The entry has to be
    there (`Image.require`).
    """
    return _PLANS[entry](image, room, high)


def _linux(image: Image, room: Room, high: bool) -> LoadPlan:
    linux = image.parts.bzimage
    if linux is None:
        raise ImageError("the image has no Linux setup header")
    code = memoryview(image.data)[linux.setup_size :]
    size = max(len(code), linux.value("init_size") if linux.protocol >= INIT_SIZE_FROM else 0)
    _bounded(size)
    base = linux.value("pref_address") if linux.protocol >= INIT_SIZE_FROM else HIGH_KERNEL
    movable = linux.protocol >= RELOCATABLE_FROM and bool(linux.value("relocatable_kernel"))
    alignment = linux.value("kernel_alignment")
    if movable and (alignment <= 0 or alignment & (alignment - 1)):
        raise ImageError(f"the kernel asks for an alignment of {alignment:#x}, which is no power of two")
    if not movable:
        base = linux.value("code32_start") or HIGH_KERNEL
        _fixed(room, base, size)
    elif high or not room.fits(base, size):
        base = room.place(size, align=alignment, above=HIGH_KERNEL, high=high, what="the kernel")
    else:
        room.take(base, size)
    return LoadPlan((Piece(base, code, len(code)),), base, size, base)


def _linux64(image: Image, room: Room, high: bool) -> LoadPlan:
    plan = _linux(image, room, high)
    return LoadPlan(plan.pieces, plan.base, plan.size, plan.base + linux_header.ENTRY64_OFFSET)


def _handover(image: Image, room: Room, high: bool) -> LoadPlan:
    plan = _linux(image, room, high)
    linux = image.parts.bzimage
    entry = linux.handover_entry if linux is not None else None
    if entry is None:
        raise ImageError("the image has no 64-bit EFI handover entry")
    return LoadPlan(plan.pieces, plan.base, plan.size, plan.base + entry)


def _linux16(image: Image, room: Room, high: bool) -> LoadPlan:
    """Setup code at its traditional place, the rest where its header says it is linked; neither can move here."""
    del high
    linux = image.parts.bzimage
    if linux is None:
        raise ImageError("the image has no Linux setup header")
    setup = memoryview(image.data)[: linux.setup_size]
    code = memoryview(image.data)[linux.setup_size :]
    if len(setup) > REAL_MODE_SIZE - 0x2000:
        raise ImageError(f"{len(setup):#x} bytes of setup code leave no room for its heap and the command line")
    loaded_high = bool(linux.value("loadflags") & linux_header.LOADED_HIGH)
    base = HIGH_KERNEL if loaded_high else LOW_KERNEL
    if not loaded_high and len(code) > REAL_MODE_BASE - LOW_KERNEL:
        raise ImageError(f"a zImage may have {REAL_MODE_BASE - LOW_KERNEL:#x} bytes, this one has {len(code):#x}")
    _fixed(room, REAL_MODE_BASE, REAL_MODE_SIZE)
    _fixed(room, base, len(code))
    # The setup code hands over at `base`; the decompressor then moves itself to pref_address, which must be free too.
    wanted = linux.value("init_size") if linux.protocol >= INIT_SIZE_FROM else 0
    if wanted:
        room.take(max(linux.value("pref_address"), base), _bounded(wanted))
    pieces = (Piece(REAL_MODE_BASE, setup, len(setup)), Piece(base, code, len(code)))
    return LoadPlan(pieces, base, max(len(code), wanted), REAL_MODE_BASE + 0x200, setup=REAL_MODE_BASE)


def _pvh(image: Image, room: Room, high: bool) -> LoadPlan:
    del high
    facts = image.kernel
    if facts.pvh_entry is None:
        raise ImageError("the kernel has no XEN_ELFNOTE_PHYS32_ENTRY note")
    return plan_kernel(image, room, facts.pvh_entry, facts.pvh_relocation)


def plan_kernel(image: Image, room: Room, entry: int, relocation: PvhRelocation | None = None) -> LoadPlan:
    """The kernel proper, unpacked where it was compressed, at the physical addresses that it is linked to, or where
    `relocation` allows. `entry` is its first instruction, as linked. Raises ImageError, ProviderError.
    """
    facts, data = image.kernel, image.source.unpack()
    start = facts.load_start
    base, size = _kernel_place(image, room, relocation)
    pieces = _segments(data, facts.segments, base - start)
    return LoadPlan(pieces, base, size, entry + base - start, kernel_slide=base - start)


def check_kernel(image: Image, room: Room) -> None:
    """Is there a place for the kernel proper where its notes allow one? Raises ImageError, ProviderError."""
    _kernel_place(image, room, image.kernel.pvh_relocation)


def _kernel_place(image: Image, room: Room, relocation: PvhRelocation | None) -> tuple[int, int]:
    """Base and size of the kernel proper."""
    facts = image.kernel
    start, end = facts.load_start, facts.load_end
    base, size = start, _bounded(end - start)
    if room.fits(start, size):
        room.take(start, size)
    elif relocation is not None:
        below = relocation.maximum + 1
        base = room.place(size, align=relocation.alignment, above=relocation.minimum, below=below, what="the kernel")
    else:
        _fixed(room, start, size)
    return base, size


def _multiboot(image: Image, room: Room, high: bool) -> LoadPlan:
    del high
    header = image.parts.multiboot
    if header is None:
        raise ImageError("there is no Multiboot header")
    if header.address is None:
        return _elf(image, room)
    header_addr, load_addr, load_end, bss_end, entry = header.address
    return _kludge(image, room, header.offset, (header_addr, load_addr, load_end, bss_end), entry)


def _multiboot2(image: Image, room: Room, high: bool) -> LoadPlan:
    plan = _multiboot2_at_32(image, room, high)
    header = image.parts.multiboot2
    tag = header.tag(MB2_EFI64) if header is not None and header.tag(MB2_BOOT_SERVICES) is not None else None
    if tag is None:
        return plan
    # Both entries are linked, and move, together.
    linked = read_tag(tag, Multiboot2HeaderEntry).entry_addr + plan.entry_point - _linked_entry(image)
    return replace(plan, efi_entry=_moved(linked, 0))


def _linked_entry(image: Image) -> int:
    """The 32-bit entry point before the image is moved."""
    header = image.parts.multiboot2
    tag = header.tag(MB2_ENTRY) if header is not None else None
    return read_tag(tag, Multiboot2HeaderEntry).entry_addr if tag is not None else _elf_of(image).physical_entry


def _multiboot2_at_32(image: Image, room: Room, high: bool) -> LoadPlan:
    del high
    header = image.parts.multiboot2
    if header is None:
        raise ImageError("there is no Multiboot2 header")
    address, entry_tag, movable = header.tag(MB2_ADDRESS), header.tag(MB2_ENTRY), header.tag(MB2_RELOCATABLE)
    entry = read_tag(entry_tag, Multiboot2HeaderEntry).entry_addr if entry_tag is not None else None
    if address is not None:
        told = read_tag(address, Multiboot2HeaderAddress)
        if entry is None:
            raise ImageError("the Multiboot2 header has an address tag without an entry address tag")
        where = (told.header_addr, told.load_addr, told.load_end_addr, told.bss_end_addr)
        return _kludge(image, room, header.offset, where, entry, _relocation(movable))
    return _elf(image, room, entry=entry, relocation=_relocation(movable))


@dataclass(frozen=True, slots=True)
class _Relocation:
    """The RELOCATABLE header tag (Multiboot2 3.1.12): no byte of the image below `low` or above `top`."""

    low: int
    top: int
    alignment: int
    preference: int

    def place(self, room: Room, size: int) -> int:
        """Where the image goes. Raises ImageError when it cannot fit between the two addresses, ProviderError."""
        if self.low + size > self.top + 1:
            raise ImageError(
                f"the Multiboot2 header wants {size:#x} bytes to lie between {self.low:#x} and {self.top:#x},"
                " which is too little"
            )
        below, high = min(self.top + 1, FOUR_GIB), self.preference == PREFER_HIGHEST
        return room.place(size, align=self.alignment, above=self.low, below=below, high=high, what="the kernel")


def _relocation(tag: Multiboot2Tag | None) -> _Relocation | None:
    if tag is None:
        return None
    told = read_tag(tag, Multiboot2HeaderRelocatable)
    if told.align & (told.align - 1):
        raise ImageError(f"the Multiboot2 header asks for an alignment of {told.align:#x}, which is no power of two")
    return _Relocation(told.min_addr, told.max_addr, max(told.align, 1), told.preference)


def _kludge(
    image: Image,
    room: Room,
    at: int,
    where: tuple[int, int, int, int],
    entry: int,
    relocation: _Relocation | None = None,
) -> LoadPlan:
    """A file that says itself where it goes: the "a.out kludge" of Multiboot 3.1.3."""
    header_addr, load_addr, load_end, bss_end = where
    if load_addr == KLUDGE_FROM_HEADER:
        load_addr = header_addr - at
    offset = at - (header_addr - load_addr)
    if offset < 0 or load_addr < 0 or header_addr < load_addr:
        raise ImageError("the Multiboot header's addresses lead to before the beginning of the file")
    length = (load_end - load_addr) if load_end else len(image.data) - offset
    if length < 0 or offset + length > len(image.data):
        raise ImageError("the Multiboot header announces more bytes than the file has")
    size = _bounded(max(length, bss_end - load_addr if bss_end else 0))
    base = _place(room, load_addr, size, relocation)
    piece = Piece(base, memoryview(image.data)[offset : offset + length], size)
    return LoadPlan((piece,), base, size, _moved(entry, base - load_addr))


def _elf_of(image: Image) -> Elf:
    elf = image.parts.elf
    if elf is None:
        raise ImageError("the Multiboot header gives no addresses and the image is not an ELF file")
    return elf


def _elf_range(elf: Elf) -> tuple[int, int]:
    start, end = load_range(elf.segments)
    if not end:
        raise ImageError("the ELF file has nothing to load")
    return start, _bounded(end - start)


def _elf(image: Image, room: Room, *, entry: int | None = None, relocation: _Relocation | None = None) -> LoadPlan:
    elf = _elf_of(image)
    start, size = _elf_range(elf)
    if relocation is None and not room.fits(start, size):
        # A gap between segments may be a hole in memory: GRUB's image for coreboot lies on both sides of the one below 1 MiB.
        _scattered(room, elf.segments)
        base = start
    else:
        base = _place(room, start, size, relocation)
    entry = elf.physical_entry if entry is None else entry
    slide = base - start
    return LoadPlan(_segments(image.data, elf.segments, slide), base, size, _moved(entry, slide), kernel_slide=slide)


def _scattered(room: Room, segments: tuple[Segment, ...]) -> None:
    pieces = [(one.physical, one.memory_size) for one in segments if one.memory_size]
    for start, size in pieces:
        _free(room, start, size)
    for start, size in pieces:
        room.take(start, size)


def _place(room: Room, start: int, size: int, relocation: _Relocation | None) -> int:
    if relocation is not None:
        return relocation.place(room, size)
    _fixed(room, start, size)
    return start


def _moved(entry: int, slide: int) -> int:
    """An entry address that moves with the image. Raises ImageError for one that 32-bit code cannot reach."""
    if not 0 <= entry + slide < FOUR_GIB:
        raise ImageError(f"the entry point {entry + slide:#x} does not lie below 4 GiB")
    return entry + slide


def _segments(data: bytes, segments: tuple[Segment, ...], slide: int) -> tuple[Piece, ...]:
    view = memoryview(data)
    return tuple(
        Piece(s.physical + slide, view[s.offset : s.offset + s.file_size], s.memory_size) for s in segments if s.memory_size
    )


def _bounded(size: int) -> int:
    if not 0 < size <= LARGEST:
        raise ImageError(f"the image asks for {size:#x} bytes of memory")
    return size


def _fixed(room: Room, start: int, size: int) -> None:
    _free(room, start, size)
    room.take(start, size)


def _free(room: Room, start: int, size: int) -> None:
    if not room.fits(start, size):
        raise ImageError(
            f"the image must lie at {start:#x} to {start + size:#x}, and not all of that is free memory",
            hint="give the guest more memory with -m" if start >= LOW_MEMORY and start + size <= LOW_RAM_TOP else "",
        )


_PLANS: Mapping[Entry, Callable[[Image, Room, bool], LoadPlan]] = {
    Entry.EFI_HANDOVER: _handover,
    Entry.PVH: _pvh,
    Entry.LINUX64: _linux64,
    Entry.LINUX32: _linux,
    Entry.LINUX16: _linux16,
    Entry.MULTIBOOT: _multiboot,
    Entry.MULTIBOOT2: _multiboot2,
}

__all__ = ["LoadPlan", "Piece", "Room", "plan_kernel", "plan_load"]
