"""The doors of images: every entry is there with a place, or away with a sentence."""

from __future__ import annotations

import struct

import pytest

from efishim.errors import RouteError
from efishim.image.entries import Entry
from efishim.image.multiboot import find_multiboot, find_multiboot2
from efishim.image.opened import Image, open_image
from tests.support.images import (
    SectionSpec,
    build_bzimage,
    build_elf,
    build_kernel_elf,
    build_pe,
    elf_note,
)

TEXT = SectionSpec(b".text", 0x1000, b"\xc3" * 0x200, 0x200)
COMPAT = SectionSpec(b".compat", 0x6000, struct.pack("<BBHI", 1, 8, 0x14C, 0x1100) + bytes(8), 0x1000, 0x42000040)
X86_ELF = [(0x100000, 0x100000, b"\x90" * 64, 64)]


def opened(data: bytes) -> Image:
    return open_image(data, path="image")


def reasons(data: bytes) -> dict[Entry, str]:
    return {Entry(door.entry): door.reason for door in opened(data).doors}


def multiboot1(flags: int = 3, *fields: int) -> bytes:
    return struct.pack(f"<III{len(fields)}I", 0x1BADB002, flags, -(0x1BADB002 + flags) % (1 << 32), *fields)


def multiboot2(tags: bytes = b"") -> bytes:
    length = 16 + len(tags) + 8
    head = struct.pack("<IIII", 0xE85250D6, 0, length, -(0xE85250D6 + length) % (1 << 32))
    return head + tags + struct.pack("<HHI", 0, 0, 8)


def elf_with(header: bytes) -> bytes:
    return build_elf(
        [(0x100000, 0x100000, b"\x90" * 16 + header + b"\x90" * 64, 0x1000)], entry=0x100000, wide=False, machine=3
    )


def test_every_image_answers_for_every_entry() -> None:
    for data in (build_pe([TEXT]), build_bzimage(), elf_with(multiboot1()), build_kernel_elf()):
        doors = opened(data).doors
        assert [door.entry for door in doors] == list(Entry)
        for door in doors:
            assert bool(door.where) != bool(door.reason)
            assert not door.reason.endswith(".")


def test_a_kernel_has_pvh_through_its_payload() -> None:
    image = opened(build_bzimage(build_kernel_elf()))
    assert {Entry.PVH, Entry.LINUX64, Entry.LINUX32, Entry.LINUX16, Entry.EFI_HANDOVER} == set(image.entries)
    assert image.require(Entry.PVH).where == "physical 0x1000850"
    with pytest.raises(RouteError, match="image has no efi entry: the image is not a PE file") as caught:
        image.require(Entry.EFI)
    assert "linux64" in caught.value.hint
    assert caught.value.exit_status == 77


def test_a_kernel_without_the_note_or_with_a_broken_payload_says_so() -> None:
    plain = build_elf([(0xFFFFFFFF81000000, 0x1000000, b"\x90" * 64, 64)], entry=0x1000000)
    assert "no XEN_ELFNOTE_PHYS32_ENTRY" in reasons(build_bzimage(plain))[Entry.PVH]
    assert "no compression" in reasons(build_bzimage(b"junk" * 100))[Entry.PVH]
    assert "names no payload" in reasons(build_bzimage())[Entry.PVH]


def test_xloadflags_decide_for_64_bit() -> None:
    assert "32-bit only" in reasons(build_bzimage(xloadflags=0x7E))[Entry.LINUX64]
    assert "XLF_EFI_HANDOVER_64" in reasons(build_bzimage(xloadflags=0x77))[Entry.EFI_HANDOVER]
    assert "protocol 2.11 cannot say" in reasons(build_bzimage(protocol=0x20B))[Entry.LINUX64]
    assert "older than the EFI handover" in reasons(build_bzimage(protocol=0x20A))[Entry.EFI_HANDOVER]
    # protocol 2.11 has the offset and no flags for it
    assert opened(build_bzimage(protocol=0x20B, handover=0x190)).require(Entry.EFI_HANDOVER).where.endswith("0x390")
    assert reasons(build_bzimage(protocol=0x20B, handover=0))[Entry.EFI_HANDOVER] == "handover_offset is 0"


def test_foreign_efi_images_are_named() -> None:
    assert "AARCH64" in reasons(build_pe([TEXT], machine=0xAA64))[Entry.EFI]
    assert "64-bit headers, IA32 firmware takes PE32 only" in reasons(build_pe([TEXT], machine=0x14C))[Entry.EFI]
    assert "machine 0x1234" in reasons(build_pe([TEXT], machine=0x1234))[Entry.EFI]
    assert "32-bit headers" in reasons(build_pe([TEXT], plus=False))[Entry.EFI]
    assert "Windows console" in reasons(build_pe([TEXT], subsystem=3))[Entry.EFI]
    assert "no entry point" in reasons(build_pe([TEXT], entry=0))[Entry.EFI]
    with pytest.raises(RouteError, match="the PE image is for AARCH64, the firmware is X64 or IA32"):
        opened(build_pe([TEXT], machine=0xAA64)).require(Entry.EFI)
    for subsystem in (10, 11, 12):
        assert Entry.EFI in opened(build_pe([TEXT], subsystem=subsystem)).entries


def test_an_ia32_image_is_for_32_bit_firmware() -> None:
    image = opened(build_pe([TEXT], machine=0x14C, plus=False))
    assert image.require(Entry.EFI).where.endswith(", called by IA32 firmware")
    assert "mixed mode is for X64 images" in reasons(build_pe([TEXT], machine=0x14C, plus=False))[Entry.EFI_MIXED]


def test_mixed_mode_needs_the_compat_record() -> None:
    assert opened(build_pe([TEXT, COMPAT])).require(Entry.EFI_MIXED).where == "RVA 0x1100"
    assert ".compat" in reasons(build_pe([TEXT]))[Entry.EFI_MIXED]
    assert "AARCH64" in reasons(build_pe([TEXT, COMPAT], machine=0xAA64))[Entry.EFI_MIXED]


def test_an_elf_kernel_with_the_note() -> None:
    data = build_elf(X86_ELF, entry=0x100000, notes=elf_note(b"Xen", 18, struct.pack("<I", 0x100010)), wide=False, machine=3)
    assert opened(data).entries == (Entry.PVH,)
    foreign = build_elf(X86_ELF, entry=0x100000, notes=elf_note(b"Xen", 18, struct.pack("<I", 0x100010)), machine=183)
    assert reasons(foreign)[Entry.PVH] == "the ELF file is for AArch64, not for x86"


def test_multiboot_headers() -> None:
    image = opened(elf_with(multiboot1()))
    assert image.entries == (Entry.MULTIBOOT,)
    assert image.formats == ("elf", "multiboot")
    assert "0x100000" in image.require(Entry.MULTIBOOT).where
    address = multiboot1(0x10003, 0x100010, 0x100000, 0, 0, 0x100040)
    assert "physical 0x100040" in opened(bytes(64) + address + bytes(64)).require(Entry.MULTIBOOT).where
    assert "not defined" in reasons(elf_with(multiboot1(0x8)))[Entry.MULTIBOOT]
    assert opened(elf_with(multiboot1(0x80000000))).require(Entry.MULTIBOOT)
    bare = bytes(64) + multiboot1() + bytes(64)
    assert "gives no addresses" in reasons(bare)[Entry.MULTIBOOT]


def test_multiboot_header_fields() -> None:
    header = find_multiboot(bytes(4096) + multiboot1(0x10007, 1, 2, 3, 4, 5, 0, 80, 25, 0))
    assert header is not None
    assert (header.offset, header.address, header.video) == (4096, (1, 2, 3, 4, 5), (0, 80, 25, 0))
    assert find_multiboot(bytes(8192 - 12) + multiboot1()) is not None
    for misplaced in (bytes(8192 - 8) + multiboot1() + bytes(64), bytes(4097) + multiboot1() + bytes(64)):
        assert find_multiboot(misplaced) is None
    assert find_multiboot(multiboot1()[:-1] + b"\0" + bytes(64)) is None  # a wrong checksum
    assert find_multiboot(multiboot1(0x10003)) is None  # address fields that the file does not hold


def test_multiboot2_headers() -> None:
    tags = struct.pack("<HHIII", 1, 0, 16, 4, 6) + struct.pack("<HHIIIII", 2, 1, 24, 0x100010, 0x100000, 0, 0)
    header = find_multiboot2(bytes(16384) + multiboot2(tags))
    assert header is not None
    assert [(tag.name, tag.optional) for tag in header.tags] == [("INFORMATION_REQUEST", False), ("ADDRESS", True)]
    found = header.tag("ADDRESS")
    assert found is not None
    assert found.data == struct.pack("<IIII", 0x100010, 0x100000, 0, 0)
    assert header.tag("RELOCATABLE") is None
    assert find_multiboot2(bytes(32768 - 16) + multiboot2(tags)) is None  # its end lies behind the area searched
    assert find_multiboot2(bytes(4) + multiboot2()) is None  # not on eight bytes
    assert opened(elf_with(b"\x90" * 8 + multiboot2())).formats == ("elf", "multiboot2")
    assert "gives no addresses" in reasons(bytes(64) + multiboot2())[Entry.MULTIBOOT2]
    assert "without an entry address tag" in reasons(bytes(64) + multiboot2(tags))[Entry.MULTIBOOT2]
    whole = struct.pack("<HHIIIII", 2, 0, 24, 0x100000, 0x100000, 0, 0) + struct.pack("<HHII", 3, 0, 12, 0x100040) + bytes(4)
    assert Entry.MULTIBOOT2 in opened(bytes(64) + multiboot2(whole)).entries


def test_malformed_multiboot2_tags_end_the_list() -> None:
    for size in (0, 7, 0xFFFFFFFF):
        header = find_multiboot2(multiboot2(struct.pack("<HHI", 10, 0, size) + bytes(16)))
        assert header is not None
        assert header.tags == ()


def test_a_file_of_many_formats() -> None:
    """A kernel with an EFI stub is a PE image whose MS-DOS stub carries the setup header; here with Multiboot as well."""
    linux = build_bzimage(build_kernel_elf())
    setup = bytearray(linux)
    pe = build_pe([SectionSpec(b".text", 0x1000, b"\xc3" * 0x100, 0x100)], entry=0x1000)
    # The PE header at 0x80 ends before the setup header at 0x1f1; its section table is moved to the raw code.
    setup[:0x1F0] = pe[:0x1F0]
    struct.pack_into("<I", setup, 0x80 + 24 + 112 + 48 + 20, 0x800)
    setup[0x810:0x81C] = multiboot1()
    image = opened(bytes(setup))
    assert image.formats == ("bzImage", "pe", "multiboot")
    assert image.format == "bzImage"
    assert {Entry.EFI, Entry.LINUX64, Entry.PVH} <= set(image.entries)
