"""Builds a boot_params from the setup header of an image, with the fields that several loaders fill in alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.wire.bootparams import HDRS_MAGIC, BootParams, SetupHeader
from efishim.wire.linux_header import BOOT_FLAG, HEADER_START, JUMP_AT

if TYPE_CHECKING:
    from efishim.provider import BootRequest, Framebuffer, Module

COPIED_END = 0x290
"""The header may grow up to edd_mbr_sig_buffer (zero-page.rst)."""
SHORTEST = 0x202 + 2
"""Boot sector, jump and magic: what every image since protocol 2.00 has."""
LARGEST_COMMAND_LINE_OLD = 255
"""What kernels take whose header does not say, before protocol 2.06 (boot.rst, "cmdline_size")."""
VIDEO_TYPE_VGAC_TEXT, VIDEO_TYPE_VLFB, VIDEO_TYPE_EFI = 1, 0x23, 0x70
"""orig_video_isVGA: a text mode of a VGA, a VESA framebuffer, EFI's framebuffer (include/uapi/linux/screen_info.h)."""
NO_HEADER = "the image has no Linux setup header that boot_params could repeat"
CAPABILITY_64BIT_BASE = 1 << 1
LOW_HALF = 0xFFFF_FFFF


def header_of(image: bytes) -> SetupHeader:
    """The setup header of an image. Raises ProviderError when it has none."""
    if len(image) < SHORTEST:
        raise ProviderError(NO_HEADER)
    header = SetupHeader.parse(image[HEADER_START:].ljust(SetupHeader.SIZE, b"\0"))
    if header.boot_flag != BOOT_FLAG or header.header != HDRS_MAGIC:
        raise ProviderError(NO_HEADER)
    return header


def lacks_header(image: bytes) -> str:
    """One sentence where `header_of` fails, empty where it does not."""
    try:
        header_of(image)
    except ProviderError as error:
        return error.sentence
    return ""


def fresh(image: bytes) -> BootParams:
    """Zeroes with the image's setup header, as the 32-bit boot protocol asks: up to 0x202 plus the byte at 0x201.

    Raises ProviderError.
    """
    header_of(image)
    end = min(JUMP_AT + 2 + image[JUMP_AT + 1], COPIED_END, len(image))
    return BootParams.parse((bytes(HEADER_START) + image[HEADER_START:end]).ljust(BootParams.SIZE, b"\0"))


def command_line_room(image: bytes) -> int:
    """Longest command line that the kernel takes, bytes without the final zero."""
    header = header_of(image)
    return header.cmdline_size if header.version >= 0x206 else LARGEST_COMMAND_LINE_OLD


def checked_command_line(request: BootRequest) -> bytes:
    """The request's command line up to its first NUL. Raises ProviderError when the kernel does not take so much."""
    text = request.command_line.partition(b"\0")[0]
    room = command_line_room(request.image)
    if len(text) > room:
        raise ProviderError(
            f"the command line has {len(text)} bytes, and this kernel takes {room}", hint="-a gives a shorter one"
        )
    return text


def set_command_line(params: BootParams, address: int) -> None:
    """Where the command line is."""
    params.hdr.cmd_line_ptr, params.ext_cmd_line_ptr = address & LOW_HALF, address >> 32


def set_ramdisk(params: BootParams, modules: tuple[Module, ...]) -> None:
    """One range from the first module's beginning to the last one's end; nothing without modules."""
    if not modules:
        return
    start, end = modules[0].start, modules[-1].start + modules[-1].size
    params.hdr.ramdisk_image, params.ext_ramdisk_image = start & LOW_HALF, start >> 32
    params.hdr.ramdisk_size, params.ext_ramdisk_size = (end - start) & LOW_HALF, (end - start) >> 32


def set_framebuffer(params: BootParams, framebuffer: Framebuffer, kind: int) -> None:
    """A linear framebuffer, `kind` in orig_video_isVGA. `lfb_size` becomes its bytes, `capabilities` what its address needs."""
    info = params.screen_info
    info.orig_video_isVGA = kind
    info.lfb_width, info.lfb_height = framebuffer.width, framebuffer.height
    info.lfb_depth, info.lfb_linelength = framebuffer.bits_per_pixel, framebuffer.pitch
    info.lfb_size = framebuffer.pitch * framebuffer.height
    info.lfb_base, info.ext_lfb_base = framebuffer.address & LOW_HALF, framebuffer.address >> 32
    info.capabilities = CAPABILITY_64BIT_BASE if info.ext_lfb_base else 0
    info.red_pos, info.red_size = framebuffer.red
    info.green_pos, info.green_size = framebuffer.green
    info.blue_pos, info.blue_size = framebuffer.blue
    used = info.red_size + info.green_size + info.blue_size
    if used < framebuffer.bits_per_pixel:
        info.rsvd_size = framebuffer.bits_per_pixel - used
        info.rsvd_pos = 0 if min(info.red_pos, info.green_pos, info.blue_pos) else used
