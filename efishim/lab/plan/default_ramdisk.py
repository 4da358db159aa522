"""The default ramdisk: the reporting init in the architecture of the image's kernel."""

from __future__ import annotations

import os
from functools import lru_cache

import efishim_firmware_stubs

from efishim.errors import ImageError
from efishim.image.bzimage import is_bzimage
from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import Image, open_image
from efishim.lab.plan.plan import Blob
from efishim.wire.bootparams import SetupHeader
from efishim.wire.linux_header import HEADER_START, XLF_KERNEL_64, XLOADFLAGS_FROM

__all__ = ["default_ramdisk", "ramdisk_for"]

HEAD = HEADER_START + SetupHeader.SIZE


def ramdisk_for(image: Image) -> Blob:
    """The default ramdisk for an opened image: with the i386 init for a 32-bit Linux, else with the x86-64 one."""
    if image.is_32_bit_linux:
        return Blob.embedded("embedded:init32", efishim_firmware_stubs.reporting_initrd(wide=False))
    return _wide()


def _wide() -> Blob:
    return Blob.embedded("embedded:init", efishim_firmware_stubs.reporting_initrd())


@lru_cache(maxsize=4)
def default_ramdisk(blob: Blob) -> Blob:
    """The default ramdisk for an image. One that cannot be opened, which the run will tell, gets the x86-64 init.

    Every run asks this before it opens its image: the headers of a 64-bit kernel tell without that.
    """
    head = blob.head(HEAD)
    if is_bzimage(head):
        header = SetupHeader.parse(head[HEADER_START:])
        if header.version >= XLOADFLAGS_FROM and header.xloadflags & XLF_KERNEL_64:
            return _wide()
    try:
        image = open_image(blob.read(), path=blob.label, cache=KernelCache(cache_directory(os.environ)))
    except ImageError:
        return _wide()
    return ramdisk_for(image)
