"""The setup header in boot_params, as the 32-bit boot protocol asks for it."""

from __future__ import annotations

import pytest
from efishim_plugins.boot_params import header

from efishim.errors import ProviderError
from efishim.provider import Framebuffer, Module
from efishim.wire.bootparams import BootParams
from tests.support import loaders


def test_only_the_header_is_copied() -> None:
    params = header.fresh(loaders.image())
    # 0x202 and the byte at 0x201: the header ends at 0x26c, and behind it the image is 0xcc
    assert params.build()[0x1F1:0x26C] == loaders.image()[0x1F1:0x26C]
    assert not any(params.build()[:0x1F1])
    assert not any(params.build()[0x26C:])


@pytest.mark.parametrize(
    ("jump", "end"),
    [(0x00EB, 0x202), (0x10EB, 0x212), (0x6AEB, 0x26C), (0x8EEB, 0x290), (0xFFEB, 0x290)],
)
def test_the_jump_says_where_the_header_ends(jump: int, end: int) -> None:
    image = loaders.image(jump=jump)
    image = image[:0x26C] + b"\xcc" * (len(image) - 0x26C)
    params = header.fresh(image)
    assert params.build()[0x1F1:end] == image[0x1F1:end]
    assert not any(params.build()[end:])


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ", bytes(4096), loaders.image(header=0), loaders.image(boot_flag=0), loaders.image()[:0x203]],
)
def test_images_without_a_header(data: bytes) -> None:
    with pytest.raises(ProviderError, match="no Linux setup header"):
        header.fresh(data)


def test_a_file_that_ends_in_its_header() -> None:
    params = header.fresh(loaders.image()[:0x230])
    assert params.hdr.initrd_addr_max == 0x7FFF_FFFF
    assert params.hdr.kernel_alignment == 0


@pytest.mark.parametrize(("version", "size", "room"), [(0x20F, 2047, 2047), (0x206, 511, 511), (0x205, 2047, 255)])
def test_room_for_the_command_line(version: int, size: int, room: int) -> None:
    assert header.command_line_room(loaders.image(version=version, cmdline_size=size)) == room


def test_command_lines_end_at_their_first_nul() -> None:
    assert header.checked_command_line(loaders.request("linux64", command_line=b"a b\0c")) == b"a b"


def test_a_command_line_that_is_too_long() -> None:
    with pytest.raises(ProviderError, match="2048 bytes, and this kernel takes 2047"):
        header.checked_command_line(loaders.request("linux64", command_line=b"x" * 2048))


def test_ramdisk_and_command_line_above_4_gib() -> None:
    params = BootParams()
    header.set_ramdisk(params, (Module(0x1_2000_0000, 0x1000), Module(0x1_2000_1000, 0x1_0000_0000)))
    header.set_command_line(params, 0x3_0000_0010)
    assert params.ramdisk() == (0x1_2000_0000, 0x1_0000_1000)
    assert (params.hdr.ramdisk_image, params.ext_ramdisk_image) == (0x2000_0000, 1)
    assert (params.hdr.ramdisk_size, params.ext_ramdisk_size) == (0x1000, 1)
    assert (params.hdr.cmd_line_ptr, params.ext_cmd_line_ptr) == (0x10, 3)


def test_no_ramdisk() -> None:
    params = BootParams()
    header.set_ramdisk(params, ())
    assert params.ramdisk() == (0, 0)


@pytest.mark.parametrize(
    ("red", "blue", "reserved"),
    # BGRX and RGBX have their unused byte on top, XRGB and XBGR at the bottom
    [((16, 8), (0, 8), 24), ((0, 8), (16, 8), 24), ((8, 8), (24, 8), 0)],
)
def test_framebuffer(red: tuple[int, int], blue: tuple[int, int], reserved: int) -> None:
    params = BootParams()
    green = (16, 8) if reserved == 0 else (8, 8)
    display = Framebuffer(0x1_8000_0000, 640, 480, 2560, 32, red=red, green=green, blue=blue)
    header.set_framebuffer(params, display, 0x70)
    screen = params.screen_info
    assert (screen.lfb_base, screen.ext_lfb_base, screen.capabilities) == (0x8000_0000, 1, 2)
    assert (screen.lfb_size, screen.lfb_linelength, screen.lfb_depth) == (640 * 480 * 4, 2560, 32)
    assert (screen.red_pos, screen.red_size, screen.rsvd_pos, screen.rsvd_size) == (*red, reserved, 8)


def test_a_framebuffer_without_unused_bits() -> None:
    params = BootParams()
    header.set_framebuffer(params, Framebuffer(0x1000, 64, 64, 128, 16, red=(11, 5), green=(5, 6), blue=(0, 5)), 0x23)
    assert (params.screen_info.rsvd_size, params.screen_info.capabilities) == (0, 0)
