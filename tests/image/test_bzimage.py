"""The setup header, against the offsets and rules of boot.rst."""

from __future__ import annotations

import struct

import pytest

from efishim.errors import ImageError
from efishim.image.bzimage import is_bzimage, parse_bzimage
from tests.support.images import build_bzimage


def test_fields_at_the_offsets_of_boot_rst() -> None:
    image = build_bzimage(b"payload!", handover=0x190)
    linux = parse_bzimage(image)
    assert linux.protocol_name == "2.15"
    assert linux.setup_size == 4 * 512
    assert linux.kernel_version == "6.99.0-test (someone@example.org) #1"
    assert linux.loadflags == ("LOADED_HIGH",)
    assert linux.xloadflags[:4] == (
        "XLF_KERNEL_64",
        "XLF_CAN_BE_LOADED_ABOVE_4G",
        "XLF_EFI_HANDOVER_32",
        "XLF_EFI_HANDOVER_64",
    )
    # the 64-bit handover entry lies 512 bytes behind the 32-bit one
    assert linux.handover_entry == 0x190 + 512
    assert (linux.value("pref_address"), linux.value("init_size")) == (0x1000000, 0x3000000)
    assert bytes(linux.payload(image)) == b"payload!"
    offsets = {field.name: (field.offset, field.size) for field in linux.fields}
    assert offsets["setup_sects"] == (0x1F1, 1)
    assert offsets["hardware_subarch_data"] == (0x240, 8)
    assert offsets["kernel_info_offset"] == (0x268, 4)


@pytest.mark.parametrize(
    ("protocol", "last_known", "first_unknown"),
    [
        (0x200, "bootsect_kludge", "heap_end_ptr"),
        (0x201, "heap_end_ptr", "ext_loader_ver"),
        (0x202, "cmd_line_ptr", "initrd_addr_max"),
        (0x203, "initrd_addr_max", "kernel_alignment"),
        (0x205, "relocatable_kernel", "cmdline_size"),
        (0x206, "cmdline_size", "hardware_subarch"),
        (0x207, "hardware_subarch_data", "payload_offset"),
        (0x208, "payload_length", "setup_data"),
        (0x209, "setup_data", "pref_address"),
        (0x20A, "init_size", "handover_offset"),
        (0x20B, "handover_offset", "xloadflags"),
        (0x20C, "xloadflags", "kernel_info_offset"),
    ],
)
def test_a_protocol_knows_only_its_fields(protocol: int, last_known: str, first_unknown: str) -> None:
    linux = parse_bzimage(build_bzimage(protocol=protocol))
    known = {field.name for field in linux.fields if field.value is not None}
    assert last_known in known
    assert first_unknown not in known
    assert linux.value(first_unknown) == 0


def test_fields_behind_the_end_of_the_header_are_not_there() -> None:
    linux = parse_bzimage(build_bzimage(header_end=0x250))
    assert linux.header_end == 0x250
    assert linux.value("pref_address") == 0
    assert linux.value("xloadflags") == 0x7F


def test_setup_sects_of_zero_means_four() -> None:
    image = build_bzimage(setup_sects=4, patches={0x1F1: b"\0"})
    assert parse_bzimage(image).setup_size == 5 * 512


def test_kernel_info() -> None:
    image = bytearray(build_bzimage(patches={0x268: struct.pack("<I", 0x40)}))
    struct.pack_into("<4sIII", image, 4 * 512 + 0x40, b"LToP", 16, 16, 0x80000009)
    assert parse_bzimage(bytes(image)).kernel_info == {
        "header": "LToP",
        "size": 16,
        "size_total": 16,
        "setup_type_max": 0x80000009,
    }


def test_a_version_string_outside_the_setup_code_is_none() -> None:
    assert parse_bzimage(build_bzimage(patches={0x20E: struct.pack("<H", 0x700)})).kernel_version == ""
    assert parse_bzimage(build_bzimage(patches={0x20E: b"\0\0"})).kernel_version == ""
    assert parse_bzimage(build_bzimage(version=b"6.1\xff\n")).kernel_version == "6.1\\xff\\x0a"


def test_a_header_without_payload_names_its_protocol() -> None:
    linux = parse_bzimage(build_bzimage(protocol=0x207))
    with pytest.raises(ImageError, match=r"protocol 2\.07 .* names no payload"):
        linux.payload(b"")


def test_truncation_is_named() -> None:
    whole = build_bzimage(b"p" * 64)
    for size, reason in ((0x26B, "no HdrS"), (3 * 512, "setup code"), (len(whole) - 16, "announces")):
        with pytest.raises(ImageError, match=reason):
            parse_bzimage(whole[:size])
    # syssize rounds up to 16 bytes: up to 15 of them may be missing
    without_payload = build_bzimage()
    assert parse_bzimage(without_payload[:-15])


def test_fields_that_point_outside_are_refused() -> None:
    with pytest.raises(ImageError, match="payload ends at byte"):
        parse_bzimage(build_bzimage(b"pay", patches={0x24C: struct.pack("<I", 0xFFFFFFFF)}))
    with pytest.raises(ImageError, match="kernel_info at byte"):
        parse_bzimage(build_bzimage(patches={0x268: struct.pack("<I", 0xFFFFFFF0)}))
    with pytest.raises(ImageError, match=r"older than 2\.00"):
        parse_bzimage(build_bzimage(protocol=0x105))


def test_what_is_no_linux_image() -> None:
    assert not is_bzimage(b"")
    assert not is_bzimage(b"\0" * 4096)
    assert is_bzimage(build_bzimage())
    with pytest.raises(ImageError, match="no HdrS"):
        parse_bzimage(b"text" * 1000)
