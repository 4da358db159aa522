"""Opens an image: detects its formats and the entry points that it has.

A file may be several things at once: a Linux kernel with an EFI stub is a bzImage and a PE image. Opening reads headers
only and takes a few milliseconds; what lies inside a compressed kernel is found when first asked for.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from efishim.errors import ImageError, RouteError
from efishim.image.bzimage import BzImage, is_bzimage, parse_bzimage
from efishim.image.elf import Elf, is_elf, parse_elf
from efishim.image.entries import Door, Entry, Parts, PvhNote, doors, pvh_machine_problem
from efishim.image.facts import KernelCache, KernelFacts, KernelSource
from efishim.image.mistaken import NO_X86, hint, other_machine
from efishim.image.multiboot import find_multiboot, find_multiboot2
from efishim.image.obstacles import obstacle
from efishim.image.payload import Method, detect, unpack
from efishim.image.pe import PeImage, is_pe, parse_pe
from efishim.image.symbols import Symbols, symbols_from_pe
from efishim.image.text import printable
from efishim.wire.linux_header import XLF_KERNEL_64

MAX_IMAGE = 512 << 20
"""Largest image file that is read, bytes."""

HEAD = 64 << 10
"""Bytes that tell whether the rest of a file is worth reading; Multiboot2 headers may lie up to 32 KiB deep."""

LINUX_BANNER = b"Linux version "
MAX_BANNER = 256

T = TypeVar("T")


@dataclass(frozen=True)
class Image:
    """An opened image file."""

    path: str
    """As the user named it."""
    data: bytes = field(repr=False)
    """The image; of a gzip-compressed file the unpacked content, as GRUB boots it."""
    sha256: str
    """Of the file."""
    compression: str
    """`gzip` when the whole file was compressed, otherwise empty."""
    parts: Parts = field(repr=False)
    cache: KernelCache = field(repr=False, compare=False)

    @property
    def formats(self) -> tuple[str, ...]:
        """Everything the file is: of `bzImage`, `pe`, `elf`, `multiboot2`, `multiboot`."""
        parts = self.parts
        present = (
            ("bzImage", parts.bzimage),
            ("pe", parts.pe),
            ("elf", parts.elf),
            ("multiboot2", parts.multiboot2),
            ("multiboot", parts.multiboot),
        )
        return tuple(name for name, part in present if part is not None)

    @property
    def format(self) -> str:
        """The first of `formats`: what people would call the file."""
        return self.formats[0]

    @cached_property
    def version(self) -> str:
        """The Linux version string of the setup header, a unified kernel image or an ELF's banner; else empty."""
        parts = self.parts
        if parts.bzimage is not None and parts.bzimage.kernel_version:
            return parts.bzimage.kernel_version
        if parts.pe is not None and (section := parts.pe.section(".uname")) is not None:
            start = section.pointer_to_raw_data
            return _first_line(self.data[start : start + min(section.loaded_size, MAX_BANNER)])
        if parts.elf is not None:
            at = self.data.find(LINUX_BANNER)
            if at >= 0:
                return _first_line(self.data[at + len(LINUX_BANNER) : at + MAX_BANNER])
        return ""

    @cached_property
    def source(self) -> KernelSource:
        """Where the kernel proper is; a unified kernel image carries a bzImage in its .linux section."""
        parts = self.parts
        if parts.bzimage is None and parts.pe is not None and (section := parts.pe.section(".linux")) is not None:
            inner = self.data[section.pointer_to_raw_data : section.pointer_to_raw_data + section.loaded_size]
            return KernelSource(self.sha256, inner, bzimage=parse_bzimage(inner))
        return KernelSource(self.sha256, self.data, bzimage=parts.bzimage, elf=parts.elf)

    @cached_property
    def kernel(self) -> KernelFacts:
        """Facts about the kernel proper. Raises ImageError when there is none or it cannot be unpacked."""
        return self.cache.facts(self.source)

    @property
    def is_32_bit_linux(self) -> bool:
        """Is its kernel a Linux in an ELF file of 32 bits? False for an image that cannot be unpacked.

        Nothing is unpacked when headers tell: XLF_KERNEL_64 is set in every 64-bit kernel since boot protocol 2.12.
        """
        try:
            source = self.source
            if source.bzimage is not None and source.bzimage.value("xloadflags") & XLF_KERNEL_64:
                return False
            if source.elf is not None and source.elf.wide:
                return False
            return self.kernel.linux and not self.kernel.wide
        except ImageError:
            return False

    @cached_property
    def symbols(self) -> Symbols | None:
        """The kernel's symbols, None when it carries none. Raises ImageError as `kernel` does."""
        source = self.source
        if source.bzimage is None and source.elf is None and self.parts.pe is not None:
            return symbols_from_pe(self.data, self.parts.pe)
        return self.cache.symbols(source)

    @cached_property
    def doors(self) -> tuple[Door, ...]:
        """Every entry of efishim's own with where it is, or why the image lacks it or cannot be loaded for it, in the order of
        `Entry`.
        """
        return tuple(self._loadable(door) for door in doors(self.parts, self._pvh_note()))

    def _loadable(self, door: Door) -> Door:
        reason = obstacle(self, Entry(door.entry)) if door.applies else ""
        return Door(door.entry, reason=reason) if reason else door

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries that the image has."""
        return tuple(Entry(door.entry) for door in self.doors if door.applies)

    def require(self, entry: Entry) -> Door:
        """The door of that name. Raises RouteError with the reason when the image lacks it, ImageError when it is for another
        architecture.
        """
        if (machine := other_machine(self.data)) and not self.entries:
            raise ImageError(f"{self.path} is an ELF file for {machine}", hint=NO_X86)
        door = next(door for door in self.doors if door.entry == entry)
        if not door.applies:
            have = ", ".join(self.entries) or "none that efishim knows"
            how = f"; -e {self.entries[0]} takes the first" if self.entries else ""
            raise RouteError(f"{self.path} has no {entry} entry: {door.reason}", hint=f"entries of this image: {have}{how}")
        return door

    def _pvh_note(self) -> PvhNote:
        """Linux carries the note inside its payload, other kernels in the file itself."""
        parts = self.parts
        if parts.elf is not None and (problem := pvh_machine_problem(parts.elf)):
            return PvhNote(None, problem)
        if parts.elf is None and parts.bzimage is None:
            return PvhNote(None, parts.elf_problem or "the image is not an ELF file and contains none")
        if parts.elf is None and parts.bzimage is not None and not parts.bzimage.payload_size:
            return PvhNote(None, "the setup header names no payload, so there is no ELF file with notes")
        try:
            address = self.kernel.pvh_entry
        except ImageError as error:
            return PvhNote(None, error.sentence)
        return PvhNote(address, "" if address is not None else "its ELF file has no XEN_ELFNOTE_PHYS32_ENTRY note")


def open_image(data: bytes, *, path: str, cache: KernelCache | None = None) -> Image:
    """Open an image that is already read. Raises ImageError for what is no image, or is damaged in every format it has."""
    path = printable(path)
    if not data:
        raise ImageError(f"{path} is empty")
    digest = hashlib.sha256(data).hexdigest()
    compression = ""
    if detect(data) is Method.GZIP:
        try:
            data, compression = unpack(data), "gzip"
        except ImageError as error:
            raise ImageError(f"{path}: {error.sentence.replace('payload', 'file', 1)}", hint=error.hint) from error
    bzimage, bzimage_problem = _try(parse_bzimage, data) if is_bzimage(data) else (None, "")
    pe, pe_problem = _try(parse_pe, data) if is_pe(data) else (None, "")
    elf, elf_problem = _try(parse_elf, data) if is_elf(data) else (None, "")
    parts = Parts(
        bzimage=bzimage,
        pe=pe,
        elf=elf,
        multiboot=find_multiboot(data),
        multiboot2=find_multiboot2(data),
        bzimage_problem=bzimage_problem,
        pe_problem=pe_problem,
        elf_problem=elf_problem,
    )
    image = Image(path, data, digest, compression, parts, cache or KernelCache())
    if not image.formats:
        problem = bzimage_problem or pe_problem or elf_problem or "this is neither a Linux kernel, PE, ELF nor Multiboot"
        raise ImageError(f"{path} is not an image that can be booted: {problem}", hint=hint(data))
    return image


def _try(parse: Callable[[bytes], T], data: bytes) -> tuple[T | None, str]:
    try:
        return parse(data), ""
    except ImageError as error:
        return None, error.sentence


def read_image_file(path: str | Path, *, cache: KernelCache | None = None) -> Image:
    """Read and open an image file. Raises ImageError with the reason when it cannot be read or is no image."""
    name = printable(os.fspath(path)) or "''"
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a directory, not an image")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is a device, pipe or socket, not a regular file")
        if status.st_size > MAX_IMAGE:
            raise ImageError(f"{name} has {status.st_size} bytes, more than the {MAX_IMAGE} that efishim opens")
        with open(path, "rb") as stream:
            data = stream.read(HEAD)
            if _promising(data):
                data += stream.read(MAX_IMAGE + 1 - len(data))
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist", hint="give a path, or deb:PACKAGE for a Debian kernel") from None
    except PermissionError:
        hint = "kernels in /boot may be readable by root only: copy the file or change its mode"
        raise ImageError(f"{name} may not be read", hint=hint) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{name} cannot be read: {printable(reason)}") from error
    if len(data) > MAX_IMAGE:
        raise ImageError(f"{name} grew beyond {MAX_IMAGE} bytes while it was read")
    return open_image(data, path=name, cache=cache)


def _promising(head: bytes) -> bool:
    known = head.startswith((b"MZ", b"\x1f\x8b")) or is_elf(head) or is_bzimage(head)
    return known or find_multiboot(head) is not None or find_multiboot2(head) is not None


def _first_line(raw: bytes) -> str:
    return printable(raw.split(b"\0")[0].split(b"\n")[0])


__all__ = ["BzImage", "Elf", "Image", "PeImage", "open_image", "read_image_file"]
