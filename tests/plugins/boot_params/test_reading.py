"""Reading boot_params back: what a kernel would see, and nothing that a hostile structure could do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from efishim_plugins.boot_params.reading import read_back
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.errors import ProviderError
from efishim.provider import TEXT_LIMIT, MemoryKind, MemoryRange, Provenance, text_at
from efishim.testing import Ram
from efishim.wire.bootparams import BootParams, E820Entry, SetupData

AT, LINE, NODE = 0x1_0000, 0x2_0000, 0x3_0000
HDRS = 0x53726448


def params() -> BootParams:
    """A small structure in which everything is right."""
    one = BootParams()
    one.hdr.header, one.hdr.version, one.hdr.cmd_line_ptr = HDRS, 0x20F, LINE
    one.hdr.ramdisk_image, one.hdr.ramdisk_size = 0x100_0000, 0x1000
    one.acpi_rsdp_addr = 0xF_0000
    one.set_e820([(0, 0x9_F000, 1), (0x10_0000, 0x300_0000, 1)])
    return one


def memory_with(one: BootParams) -> Ram:
    memory = Ram()
    memory.write(AT, one.build())
    memory.write(LINE, b"console=ttyS0\0")
    return memory


def reasons(provenance: tuple[Provenance, ...]) -> dict[str, str]:
    return {item.field: item.source for item in provenance}


def test_what_it_says() -> None:
    told = read_back(memory_with(params()), AT)
    assert told.command_line == b"console=ttyS0"
    assert told.memory_map == (
        MemoryRange(0, 0x9_F000, MemoryKind.RAM),
        MemoryRange(0x10_0000, 0x300_0000, MemoryKind.RAM),
    )
    assert [(one.start, one.size) for one in told.modules] == [(0x100_0000, 0x1000)]
    assert told.rsdp == 0xF_0000
    assert told.framebuffer is None
    assert set(reasons(told.provenance)) == {"smbios", "modules", "framebuffer"}


def test_what_it_does_not_say() -> None:
    one = params()
    one.acpi_rsdp_addr = one.hdr.ramdisk_size = one.hdr.cmd_line_ptr = 0
    told = read_back(memory_with(one), AT)
    assert (told.rsdp, told.modules, told.command_line) == (None, (), b"")
    assert reasons(told.provenance)["rsdp"] == "acpi_rsdp_addr is 0"


def test_upper_halves() -> None:
    one = params()
    one.ext_ramdisk_image, one.ext_ramdisk_size = 2, 1
    told = read_back(memory_with(one), AT)
    assert [(module.start, module.size) for module in told.modules] == [(0x2_0100_0000, 0x1_0000_1000)]
    one.ext_cmd_line_ptr = 1
    with pytest.raises(IndexError):  # memory's own: there is none
        read_back(memory_with(one), AT)


def test_the_sentinel_makes_the_upper_halves_garbage() -> None:
    # sanitize_boot_params of arch/x86/include/asm/bootparam_utils.h
    one = params()
    one.sentinel, one.ext_ramdisk_image, one.ext_cmd_line_ptr = 1, 0xDEAD, 0xBEEF
    one.efi_info.efi_loader_signature = 0x34364C45
    told = read_back(memory_with(one), AT)
    assert told.modules[0].start == 0x100_0000
    assert told.command_line == b"console=ttyS0"
    assert "memory_map" not in reasons(told.provenance)


def test_efi_is_not_looked_at_and_that_is_said() -> None:
    one = params()
    one.efi_info.efi_loader_signature, one.efi_info.efi_memmap = 0x34364C45, 0xFFFF_F000
    assert "efi_info" in reasons(read_back(memory_with(one), AT).provenance)["memory_map"]


def extended(*entries: tuple[int, int, int], following: int = 0) -> bytes:
    body = b"".join(E820Entry(addr=a, size=s, type=t).build() for a, s, t in entries)
    return SetupData(next=following, type=1, len=len(body)).build() + body


def test_setup_e820_ext() -> None:
    one = params()
    one.hdr.setup_data = NODE
    memory = memory_with(one)
    memory.write(NODE, SetupData(next=NODE + 0x100, type=9, len=32).build())
    memory.write(NODE + 0x100, extended((0x1000_0000, 0x1000, 4), (0x2000_0000, 0x1000, 2)))
    told = read_back(memory, AT)
    assert told.memory_map[2:] == (
        MemoryRange(0x1000_0000, 0x1000, MemoryKind.ACPI_NVS),
        MemoryRange(0x2000_0000, 0x1000, MemoryKind.RESERVED),
    )
    assert "2 entries in SETUP_E820_EXT" in reasons(told.provenance)["memory_map"]


def test_setup_data_came_with_protocol_2_09() -> None:
    one = params()
    one.hdr.version, one.hdr.setup_data = 0x208, 0xFFFF_FFFF_FFFF
    assert len(read_back(memory_with(one), AT).memory_map) == 2


def loop(memory: Ram) -> None:
    memory.write(NODE, SetupData(next=NODE, type=9).build())


def long_chain(memory: Ram) -> None:
    for index in range(100):
        memory.write(NODE + index * 16, SetupData(next=NODE + index * 16 + 16, type=9).build())


def many_entries(memory: Ram) -> None:
    memory.write(NODE, SetupData(type=1, len=0xFFFF_FFF0).build())


def endless_line(memory: Ram) -> None:
    memory.write(LINE, b"x" * (TEXT_LIMIT + 1))


def no_magic(memory: Ram) -> None:
    memory.write(AT + 0x202, b"Hdrs")


def old(memory: Ram) -> None:
    memory.write(AT + 0x206, b"\x01\x02")


def past_the_end(memory: Ram) -> None:
    memory.write(AT + 0x2D0, b"\xff" * 16)


@pytest.mark.parametrize("damage", [loop, long_chain, many_entries, endless_line, no_magic, old, past_the_end])
def test_what_cannot_be(damage: Callable[[Ram], None]) -> None:
    one = params()
    if damage in {loop, long_chain, many_entries}:
        one.hdr.setup_data = NODE
    memory = memory_with(one)
    damage(memory)
    with pytest.raises(ProviderError):
        read_back(memory, AT)


def test_no_structure() -> None:
    with pytest.raises(ProviderError):
        read_back(Ram(), None)


def test_types_that_nobody_defines_are_reserved_and_empty_ranges_are_none() -> None:
    one = params()
    one.set_e820([(0, 0x1000, 1), (0x1000, 0, 1), (0x2000, 0x1000, 20), (0x3000, 0x1000, 128)])
    kinds = [(piece.start, piece.kind) for piece in read_back(memory_with(one), AT).memory_map]
    assert kinds == [(0, MemoryKind.RAM), (0x2000, MemoryKind.RESERVED), (0x3000, MemoryKind.RESERVED)]


def framebuffer(**changes: int) -> BootParams:
    one = params()
    values = {"orig_video_isVGA": 0x70, "lfb_base": 0x8000_0000, "lfb_width": 1280, "lfb_height": 800, "lfb_depth": 32}
    values |= {"lfb_linelength": 5120, "red_pos": 16, "red_size": 8, "green_pos": 8, "green_size": 8, "blue_size": 8}
    for name, value in {**values, **changes}.items():
        setattr(one.screen_info, name, value)
    return one


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, 0x8000_0000),
        ({"orig_video_isVGA": 0x23}, 0x8000_0000),
        ({"ext_lfb_base": 1, "capabilities": 2}, 0x1_8000_0000),
        ({"ext_lfb_base": 1}, 0x8000_0000),  # the upper half counts only with the capability
        ({"orig_video_isVGA": 1}, None),
        ({"lfb_width": 0}, None),
        ({"lfb_height": 0xFFFF}, None),
        ({"lfb_linelength": 100}, None),  # a line of 1280 pixels has more bytes
        ({"lfb_base": 0}, None),
    ],
)
def test_framebuffer(changes: dict[str, int], address: int | None) -> None:
    told = read_back(memory_with(framebuffer(**changes)), AT)
    assert (told.framebuffer.address if told.framebuffer else None) == address
    assert ("framebuffer" in reasons(told.provenance)) is (address is None)
    if told.framebuffer and not changes:
        assert (told.framebuffer.red, told.framebuffer.green, told.framebuffer.blue) == ((16, 8), (8, 8), (0, 8))


def test_a_callers_note_goes_before_the_own_one() -> None:
    told = read_back(memory_with(params()), AT, [Provenance("modules", "mine")])
    assert [item.source for item in told.provenance if item.field == "modules"] == ["mine"]


def test_text() -> None:
    memory = Ram()
    memory.write(LINE, b"abc\0def")
    assert text_at(memory, LINE) == b"abc"
    assert text_at(memory, 0) == b""


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.integers(0, 4088), st.binary(min_size=1, max_size=8), max_size=12), st.sampled_from([0, 1, 0xFF]))
def test_any_page_is_read_or_refused(bytes_at: dict[int, bytes], filling: int) -> None:
    memory = Ram(1 << 20)
    memory.write(AT, bytes([filling]) * BootParams.SIZE)
    memory.write(AT + 0x202, b"HdrS\x0f\x02")
    for offset, data in bytes_at.items():
        memory.write(AT + offset, data)
    try:
        told = read_back(memory, AT)
    except (ProviderError, IndexError):  # IndexError is the memory's own
        return
    assert all(piece.end <= 1 << 64 for piece in told.memory_map)
