"""What an image gets when the user says nothing: a kernel a command line and a ramdisk, who brings its own nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from efishim.errors import ImageError
from efishim.image.bzimage import is_bzimage
from efishim.image.pe import is_pe, parse_pe
from efishim.lab.plan.default_ramdisk import HEAD, default_ramdisk
from efishim.lab.plan.plan import DEFAULT_CMDLINE, Blob

KERNEL, OWN_CMDLINE, OWN_INITRD = ".linux", ".cmdline", ".initrd"
"""Sections of a unified kernel image (the UAPI group's specification)."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What an image has no use for, in words that end a sentence; empty for what it gets by default."""

    no_cmdline: str = ""
    no_ramdisk: str = ""


@lru_cache(maxsize=4)
def wants(blob: Blob) -> Wants:
    """By what the image is: a kernel, a unified kernel image, or another EFI program, to which load options may mean anything
    (to shim they name its second stage). What cannot be read is taken for a kernel; the run will tell.
    """
    head = blob.head(HEAD)
    if head[:2] != b"MZ" or is_bzimage(head):
        return Wants()
    try:
        data = blob.read()
        if not is_pe(data):
            return Wants()
        program = parse_pe(data)
    except ImageError:
        return Wants()
    if program.section(KERNEL) is None:
        return Wants("it is an EFI program, not a kernel", "it is an EFI program, not a kernel")
    own = [f"it has its own in {name}" if program.section(name) is not None else "" for name in (OWN_CMDLINE, OWN_INITRD)]
    return Wants(*own)


def default_cmdline(blob: Blob) -> bytes:
    """For an image without `-a`."""
    return b"" if wants(blob).no_cmdline else DEFAULT_CMDLINE


def default_ramdisks(blob: Blob) -> tuple[Blob, ...]:
    """For an image without `-i`."""
    return () if wants(blob).no_ramdisk else (default_ramdisk(blob),)


def notes(blob: Blob, cmdline: bytes, ramdisks: tuple[Blob, ...]) -> tuple[str, ...]:
    """What a run that differs from that of a kernel says of it."""
    found = wants(blob)
    lines = []
    if found.no_cmdline and not cmdline:
        lines.append(f"the image gets no command line, as {found.no_cmdline}; use -a to pass one")
    if found.no_ramdisk and not ramdisks:
        lines.append(f"the image gets no ramdisk, as {found.no_ramdisk}; use -i to pass one")
    return tuple(lines)
