"""The ramdisk of a run that brought none: the reporting init that the image's kernel can execute."""

from __future__ import annotations

import os
from functools import lru_cache

import firmware_stubs
from efishim.errors import ImageError
from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import Image, open_image
from efishim.lab.plan import Blob
from efishim.wire.linux_header import XLF_KERNEL_64

__all__ = ["default_ramdisk", "is_linux_of_32_bits", "ramdisk_for"]


def is_linux_of_32_bits(image: Image) -> bool:
    """Is its kernel a Linux in an ELF file of 32 bits? False for an image that cannot be unpacked.

    Nothing is unpacked when headers tell: XLF_KERNEL_64 is set in every 64-bit kernel since boot protocol 2.12.
    """
    try:
        source = image.source
        if source.bzimage is not None and source.bzimage.value("xloadflags") & XLF_KERNEL_64:
            return False
        if source.elf is not None and source.elf.wide:
            return False
        return image.kernel.linux and not image.kernel.wide
    except ImageError:
        return False


def ramdisk_for(image: Image) -> Blob:
    """The default ramdisk for an opened image: with the i386 init for a 32-bit Linux, else with the x86-64 one."""
    if is_linux_of_32_bits(image):
        return Blob.embedded("embedded:init32", firmware_stubs.reporting_initrd(wide=False))
    return Blob.embedded("embedded:init", firmware_stubs.reporting_initrd())


@lru_cache(maxsize=4)
def default_ramdisk(blob: Blob) -> Blob:
    """The default ramdisk for an image. One that cannot be opened, which the run will tell, gets the x86-64 init."""
    try:
        image = open_image(blob.read(), path=blob.label, cache=KernelCache(cache_directory(os.environ)))
    except ImageError:
        return Blob.embedded("embedded:init", firmware_stubs.reporting_initrd())
    return ramdisk_for(image)
