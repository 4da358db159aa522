"""Where images go without firmware: every plan, with the addresses worked out from the specifications by hand, and headers that
make no sense.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efishim.errors import EfishimError, ImageError, ProviderError
from efishim.image.entries import Entry
from efishim.image.loading import LoadPlan, plan_load
from efishim.image.opened import Image, open_image
from efishim.provider import Arena, MemoryKind, MemoryRange
from tests.support.images import build_bzimage, build_elf, elf_note

MIB = 1 << 20
RAM = 64 * MIB
CODE = bytes(range(1, 129))


def room(size: int = RAM) -> Arena:
    """A PC: 636 KiB, a hole to 1 MiB, the rest."""
    return Arena(
        (MemoryRange(0, 0x9F000, MemoryKind.RAM), MemoryRange(MIB, size - MIB, MemoryKind.RAM)),
    )


def opened(data: bytes) -> Image:
    return open_image(data, path="test")


def plan(data: bytes, entry: Entry, arena: Arena | None = None, *, high: bool = False) -> LoadPlan:
    return plan_load(opened(data), entry, arena or room(), high=high)


def contents(plan: LoadPlan) -> dict[int, bytes]:
    return {piece.address: bytes(piece.data) for piece in plan.pieces}


# Linux


def linux(**words: object) -> bytes:
    """A kernel that prefers 16 MiB, steps of 2 MiB, and wants 48 MiB (build_bzimage)."""
    return build_bzimage(**words)  # type: ignore[arg-type]


def test_linux_at_its_preferred_address() -> None:
    data = linux()
    arena = room(128 * MIB)
    for entry, offset in ((Entry.LINUX32, 0), (Entry.LINUX64, 0x200), (Entry.EFI_HANDOVER, 0x1000 + 0x200)):
        arena = room(128 * MIB)
        found = plan(data, entry, arena)
        assert (found.base, found.size, found.entry_point) == (0x1000000, 0x3000000, 0x1000000 + offset)
        assert contents(found) == {0x1000000: data[4 * 512 :]}
        assert not arena.fits(0x1000000, 1)
        assert not arena.fits(0x3FFFFFF, 1), "init_size is needed whole"
        assert arena.fits(0x4000000, 1)


def test_linux_elsewhere_when_that_is_taken() -> None:
    arena = room(128 * MIB)
    arena.take(0x1800000, 0x1000)
    found = plan(linux(), Entry.LINUX64, arena)
    # kernel_alignment is 2 MiB, so the first place above 0x1801000
    assert found.base == 0x1A00000
    assert found.entry_point == 0x1A00200


def test_linux_as_high_as_possible() -> None:
    found = plan(linux(), Entry.LINUX64, room(128 * MIB), high=True)
    assert found.base == 128 * MIB - 0x3000000


def test_linux_that_cannot_move() -> None:
    fixed = linux(patches={0x234: b"\0"})
    found = plan(fixed, Entry.LINUX32, room(128 * MIB), high=True)
    assert found.base == found.entry_point == 0x100000
    arena = room(128 * MIB)
    arena.take(0x100000, 1)
    with pytest.raises(ImageError, match="not all of that is free"):
        plan(fixed, Entry.LINUX32, arena)


def test_linux_from_before_relocation() -> None:
    assert plan(linux(protocol=0x204), Entry.LINUX32, room(128 * MIB)).base == 0x100000


@pytest.mark.parametrize("alignment", [0, 3, 0x300000])
def test_linux_with_an_alignment_that_is_none(alignment: int) -> None:
    odd = linux(patches={0x230: struct.pack("<I", alignment)})
    with pytest.raises(ImageError, match="no power of two"):
        plan(odd, Entry.LINUX64, room(128 * MIB), high=True)


@pytest.mark.parametrize("size", [0x8000_0001, 0xFFFF_FFFF])
def test_linux_that_wants_more_than_there_can_be(size: int) -> None:
    with pytest.raises(ImageError, match="bytes of memory"):
        plan(linux(patches={0x260: struct.pack("<I", size)}), Entry.LINUX64)


def test_linux_without_room() -> None:
    with pytest.raises(ProviderError, match="no room for the kernel"):
        plan(linux(), Entry.LINUX64, room(16 * MIB))


def test_real_mode() -> None:
    """boot.rst: setup code at 0x90000, the rest of a bzImage at 1 MiB; the first instruction is at byte 0x200 of the former."""
    data = linux()
    arena = room(128 * MIB)
    found = plan(data, Entry.LINUX16, arena)
    assert (found.setup, found.base, found.entry_point) == (0x90000, 0x100000, 0x90200)
    assert contents(found) == {0x90000: data[: 4 * 512], 0x100000: data[4 * 512 :]}
    assert not arena.fits(0x1000000, 1), "where the decompressor goes stays free of modules"


def test_real_mode_of_a_zimage() -> None:
    small = linux(patches={0x211: b"\0"}, protocol=0x203)
    found = plan(small, Entry.LINUX16)
    assert found.base == 0x10000
    large = linux(payload=bytes(0x80000), patches={0x211: b"\0"}, protocol=0x203)
    with pytest.raises(ImageError, match="a zImage may have 0x80000 bytes"):
        plan(large, Entry.LINUX16)


def test_real_mode_with_too_much_setup_code() -> None:
    with pytest.raises(ImageError, match="no room for its heap"):
        plan(linux(setup_sects=64), Entry.LINUX16)
    assert plan(linux(setup_sects=63), Entry.LINUX16, room(128 * MIB)).setup == 0x90000


# PVH


def pvh(*, entry: int = 0x1000010, reloc: Sequence[int] | None = None) -> bytes:
    notes = elf_note(b"Xen", 18, struct.pack("<I", entry))
    if reloc is not None:
        notes += elf_note(b"Xen", 19, struct.pack(f"<{len(reloc)}I", *reloc))
    return build_elf([(0xFFFFFFFF81000000, 0x1000000, CODE, 0x2000)], entry=0x1000000, notes=notes)


def test_pvh() -> None:
    found = plan(pvh(), Entry.PVH)
    assert (found.base, found.size, found.entry_point) == (0x1000000, 0x2000, 0x1000010)
    assert contents(found) == {0x1000000: CODE}
    assert found.pieces[0].size == 0x2000, "what the file does not have is cleared"


def test_pvh_elsewhere() -> None:
    """elfnote.h: alignment, lowest and highest address, in this order."""
    arena = room()
    arena.take(0x1000000, 0x1000)
    found = plan(pvh(reloc=(0x400000, 0x1000000, 0x3FFFFFF)), Entry.PVH, arena)
    assert (found.base, found.entry_point) == (0x1400000, 0x1400010)
    arena = room()
    arena.take(0x1000000, 0x1000)
    with pytest.raises(ImageError, match="not all of that is free"):
        plan(pvh(), Entry.PVH, arena)
    with pytest.raises(ProviderError, match="no room for the kernel"):
        plan(pvh(reloc=(0x400000, 0x1000000, 0x1000FFF)), Entry.PVH, arena)


# Multiboot 1


def mb1(flags: int, *fields: int, at: int = 0) -> bytes:
    return (
        bytes(at)
        + struct.pack("<3I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)
        + struct.pack(f"<{len(fields)}I", *fields)
    )


KLUDGE = 1 << 16


def test_multiboot_with_addresses() -> None:
    """0.6.96, 3.1.3, with the header at byte 8 of the file: header_addr tells where that is in memory."""
    data = mb1(KLUDGE, 0x200008, 0x200000, 0x200080, 0x201000, 0x200040, at=8) + CODE
    found = plan(data, Entry.MULTIBOOT)
    assert (found.base, found.size, found.entry_point) == (0x200000, 0x1000, 0x200040)
    assert contents(found) == {0x200000: data[:0x80]}


def test_multiboot_that_leaves_out_the_beginning_of_the_file() -> None:
    data = mb1(KLUDGE, 0x200000, 0x200000, 0, 0, 0x200020, at=8) + CODE
    found = plan(data, Entry.MULTIBOOT)
    assert contents(found) == {0x200000: data[8:]}, "load_end_addr 0 is the end of the file"
    assert found.size == len(data) - 8, "bss_end_addr 0 is no bss"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ((0x200000, 0x1FFFF0, 0, 0, 0), "before the beginning"),  # 16 bytes before the header, which is at byte 8
        ((0x200000, 0x200100, 0, 0, 0), "before the beginning"),  # behind the header
        ((0, 0xFFFFFFFE, 0, 0, 0), "before the beginning"),
        ((4, 0xFFFFFFFF, 0, 0, 0), "before the beginning"),
        ((0x200008, 0x200000, 0x1000000, 0, 0), "more bytes than the file has"),
        ((0x200008, 0x200000, 0x1FFFFF, 0, 0), "more bytes than the file has"),
        ((0x200008, 0x200000, 0, 0xFFFFFFFF, 0), "bytes of memory"),
        ((0x200008, 0x200000, 0, 0x7FFFFFFF, 0), "not all of that is free"),
        ((0xA0008, 0xA0000, 0, 0, 0xA0000), "not all of that is free"),
        ((0xFFFFFF08, 0xFFFFFF00, 0, 0, 0xFFFFFF00), "not all of that is free"),
    ],
)
def test_multiboot_addresses_that_lead_nowhere(fields: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint):
        plan(mb1(KLUDGE, *fields, at=8) + CODE, Entry.MULTIBOOT)


def multiboot_elf(header: bytes, *, entry: int = 0x100040, segments: Sequence[tuple[int, int, bytes, int]] = ()) -> bytes:
    body = header.ljust(64, b"\0") + CODE
    return build_elf([(0xC0100000, 0x100000, body, 0x3000), *segments], entry=entry, wide=False, machine=3)


def test_multiboot_elf() -> None:
    found = plan(multiboot_elf(mb1(3)), Entry.MULTIBOOT)
    assert (found.base, found.size, found.entry_point) == (0x100000, 0x3000, 0x100040)


def test_multiboot_elf_with_a_virtual_entry_point() -> None:
    assert plan(multiboot_elf(mb1(3), entry=0xC0100040), Entry.MULTIBOOT).entry_point == 0x100040


@pytest.mark.parametrize("low", [0, 0x10, 0x500, 0x1000, 0x9000, 0x9E000])
def test_multiboot_elf_in_low_memory(low: int) -> None:
    """A boot loader puts segments where the interrupt vectors were as anywhere else; what it places itself, it does not."""
    arena = room()
    found = plan(multiboot_elf(mb1(3), segments=[(low, low, b"low", 0x46)]), Entry.MULTIBOOT, arena)
    assert contents(found)[low] == b"low"
    assert not arena.fits(low, 1)
    assert arena.place(16) >= 0x1000


@pytest.mark.parametrize(
    ("at", "size", "helps"),
    [
        (0x9F000, 0x1000, False),
        (0x9E000, 0x2000, False),
        (0xA0000, 0x1000, False),
        (0xFF000, 0x2000, False),
        (RAM, 0x1000, True),
        (RAM - 0x1000, 0x2000, True),
        (0x7000_0000, 0x1000, True),
    ],
)
def test_more_memory_is_offered_where_it_helps(at: int, size: int, *, helps: bool) -> None:
    with pytest.raises(ImageError, match="not all of that is free memory") as refused:
        plan(multiboot_elf(mb1(3), segments=[(at, at, b"far", size)]), Entry.MULTIBOOT)
    assert bool(refused.value.hint) is helps


@pytest.mark.parametrize(
    ("at", "helps"), [(0x9000_0000, True), (0xBFFF_F000, True), (0xBFFF_F010, False), (0xFEC0_0000, False)]
)
def test_more_memory_is_not_where_devices_are(at: int, *, helps: bool) -> None:
    image = mb1(1 << 16, at, at, at + 0x40, at + 0x1000, at).ljust(64, b"\0")
    with pytest.raises(ImageError, match="not all of that is free memory") as refused:
        plan(image, Entry.MULTIBOOT)
    assert bool(refused.value.hint) is helps


def test_multiboot_elf_on_both_sides_of_the_hole() -> None:
    """GRUB's image for coreboot has a segment at 36 KiB and one at 1 MiB."""
    arena = room()
    found = plan(multiboot_elf(mb1(3), segments=[(0x9000, 0x9000, b"low", 0x1000)]), Entry.MULTIBOOT, arena)
    assert set(contents(found)) == {0x9000, 0x100000}
    assert (found.base, found.size, found.entry_point) == (0x9000, 0x103000 - 0x9000, 0x100040)
    assert not arena.fits(0x9FFF, 1)
    assert not arena.fits(0x102FFF, 1)
    assert arena.fits(0xA000, 0x9F000 - 0xA000)


def test_multiboot_elf_in_the_hole() -> None:
    with pytest.raises(ImageError, match="0xa0000 to 0xa1000"):
        plan(multiboot_elf(mb1(3), segments=[(0xA0000, 0xA0000, b"no", 0x1000)]), Entry.MULTIBOOT)


# Multiboot2


def tag(kind: int, *words: int, optional: bool = False) -> bytes:
    data = struct.pack(f"<HHI{len(words)}I", kind, int(optional), 8 + 4 * len(words), *words)
    return data.ljust(-(-len(data) // 8) * 8, b"\0")


def mb2(*tags: bytes) -> bytes:
    body = b"".join(tags) + tag(0)
    length = 16 + len(body)
    return struct.pack("<4I", 0xE85250D6, 0, length, -(0xE85250D6 + length) & 0xFFFFFFFF) + body


ADDRESS, ENTRY, RELOCATABLE = 2, 3, 10
NONE, LOWEST, HIGHEST = 0, 1, 2


def test_multiboot2_elf() -> None:
    found = plan(multiboot_elf(mb2()), Entry.MULTIBOOT2)
    assert (found.base, found.entry_point) == (0x100000, 0x100040)


def test_multiboot2_entry_address() -> None:
    assert plan(multiboot_elf(mb2(tag(ENTRY, 0x100050))), Entry.MULTIBOOT2).entry_point == 0x100050


def test_multiboot2_entry_with_boot_services() -> None:
    """3.1.8: with the tag EFI_BS; it moves with the image."""
    services, entry = tag(7), tag(9, 0x100060)
    assert plan(multiboot_elf(mb2(services, entry)), Entry.MULTIBOOT2).efi_entry == 0x100060
    moved = plan(multiboot_elf(mb2(services, entry, tag(RELOCATABLE, 0x800000, 0xFFFFFFFF, 1, LOWEST))), Entry.MULTIBOOT2)
    assert (moved.base, moved.efi_entry) == (0x800000, 0x800060)
    flat = mb2(tag(ADDRESS, 0x100000, 0x100000, 0, 0x103000), tag(ENTRY, 0x100040), services, entry) + CODE
    assert plan(flat, Entry.MULTIBOOT2).efi_entry == 0x100060
    for tags in ((), (services,), (entry,)):
        assert plan(multiboot_elf(mb2(*tags)), Entry.MULTIBOOT2).efi_entry is None
    with pytest.raises(ImageError, match="has 0 bytes, 4 are needed"):
        plan(multiboot_elf(mb2(services, tag(9))), Entry.MULTIBOOT2)


def test_multiboot2_with_addresses() -> None:
    data = mb2(tag(ADDRESS, 0x200000, 0x200000, 0, 0x200800), tag(ENTRY, 0x200040)) + CODE
    found = plan(data, Entry.MULTIBOOT2)
    assert (found.base, found.size, found.entry_point) == (0x200000, 0x800, 0x200040)
    assert contents(found) == {0x200000: data}


def test_multiboot2_with_addresses_and_no_entry() -> None:
    with pytest.raises(ImageError, match="without an entry address tag"):
        plan(mb2(tag(ADDRESS, 0x200000, 0x200000, 0, 0)) + CODE, Entry.MULTIBOOT2)


@pytest.mark.parametrize(
    ("words", "base"),
    [
        ((0x200000, 0xFFFFFFFF, 0x1000, LOWEST), 0x200000),
        ((0x200001, 0xFFFFFFFF, 0x200000, LOWEST), 0x400000),
        ((0x200000, 0xFFFFFFFF, 0x200000, HIGHEST), RAM - 0x200000),
        ((0x200000, 0x7FFFFF, 0x1000, HIGHEST), 0x800000 - 0x3000),
        ((0x200000, 0x202FFF, 0, NONE), 0x200000),
    ],
)
def test_multiboot2_relocation(words: tuple[int, ...], base: int) -> None:
    """2.0, 3.1.12; the image has 0x3000 bytes, and the entry point moves with it."""
    found = plan(multiboot_elf(mb2(tag(RELOCATABLE, *words))), Entry.MULTIBOOT2)
    assert (found.base, found.entry_point) == (base, base + 0x40)
    flat = mb2(tag(ADDRESS, 0x100000, 0x100000, 0, 0x103000), tag(ENTRY, 0x100040), tag(RELOCATABLE, *words)) + CODE
    found = plan(flat, Entry.MULTIBOOT2)
    assert (found.base, found.entry_point) == (base, base + 0x40)
    assert contents(found) == {base: flat}


@pytest.mark.parametrize(
    ("tags", "complaint"),
    [
        ((tag(RELOCATABLE, 0x200000, 0x202FFE, 1, NONE),), "which is too little"),
        ((tag(RELOCATABLE, 0xFFFFFFFF, 0, 1, NONE),), "which is too little"),
        ((tag(RELOCATABLE, 0x200000, 0xFFFFFFFF, 3, NONE),), "no power of two"),
        ((tag(RELOCATABLE, 0x200000),), "has 4 bytes, 16 are needed"),
        ((tag(ENTRY),), "has 0 bytes, 4 are needed"),
        ((tag(ADDRESS, 1, 2, 3), tag(ENTRY, 0)), "has 12 bytes, 16 are needed"),
        ((tag(RELOCATABLE, 0x200000, 0xFFFFFFFF, 1, LOWEST), tag(ENTRY, 0xFFFFFFF0)), "does not lie below 4 GiB"),
    ],
)
def test_multiboot2_tags_that_make_no_sense(tags: tuple[bytes, ...], complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint):
        plan(multiboot_elf(mb2(*tags)), Entry.MULTIBOOT2)


def test_multiboot2_without_room() -> None:
    with pytest.raises(ProviderError, match="no room for the kernel"):
        plan(multiboot_elf(mb2(tag(RELOCATABLE, 0x80000000, 0xFFFFFFFF, 1, LOWEST))), Entry.MULTIBOOT2)


# Whatever an image says

NUMBERS = st.integers(0, 0xFFFFFFFF) | st.sampled_from((0, 1, 0xFFF, 0x1000, 0x100000, 0x200000, 0x7FFFFFFF, 0xFFFFFFFF))
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judged(data: bytes, entry: Entry) -> None:
    """A plan within memory, or a typed error."""
    image = opened(data)
    if entry not in image.entries:
        return
    arena, free = room(), room()
    try:
        found = plan_load(image, entry, arena)
    except EfishimError:
        return
    for piece in found.pieces:
        assert len(piece.data) <= piece.size
        assert free.fits(piece.address, piece.size)
        assert not arena.fits(piece.address, 1)
    assert 0 <= found.entry_point < 1 << 32


@pytest.mark.slow
@SETTINGS
@given(st.tuples(*[NUMBERS] * 5), st.integers(0, 64).map(lambda n: 4 * n))
def test_any_multiboot_addresses(fields: tuple[int, ...], at: int) -> None:
    judged(mb1(KLUDGE, *fields, at=at) + CODE, Entry.MULTIBOOT)


@pytest.mark.slow
@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 11), st.lists(NUMBERS, max_size=5)), max_size=5), st.booleans())
def test_any_multiboot2_tags(tags: list[tuple[int, list[int]]], elf: bool) -> None:
    header = mb2(*(tag(kind, *words) for kind, words in tags))
    data = header + CODE
    if elf:
        data = build_elf([(0, 0x100000, data, 0x3000)], entry=0x100040, wide=False, machine=3)
    judged(data, Entry.MULTIBOOT2)


@pytest.mark.slow
@SETTINGS
@given(
    st.dictionaries(st.sampled_from((0x1F1, 0x211, 0x214, 0x230, 0x234, 0x258, 0x25C, 0x260, 0x264)), NUMBERS),
    st.sampled_from((0x200, 0x204, 0x205, 0x20A, 0x20F)),
    st.sampled_from((Entry.LINUX16, Entry.LINUX32, Entry.LINUX64, Entry.EFI_HANDOVER)),
)
def test_any_linux_header(patches: dict[int, int], protocol: int, entry: Entry) -> None:
    data = bytearray(linux(protocol=protocol))
    for at, value in patches.items():
        data[at : at + 4] = struct.pack("<I", value)
    try:
        judged(bytes(data), entry)
    except ImageError:
        return
