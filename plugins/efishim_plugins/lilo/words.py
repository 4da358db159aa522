"""Whose words the setup header gets: LILO's, or those of GRUB's linux16 and of SYSLINUX, which take the same entry.

Sources: boot.rst ("Loading the rest of the kernel"); GRUB's grub-core/loader/i386/pc/linux.c; SYSLINUX' com32/lib/syslinux/
load_linux.c (`bios_boot_linux`) and com32/elflink/ldlinux/kernel.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HEAP_END = 0x9000
"""Setup code, heap and stack have the segment up to here; the command line follows, all of it below 0x9a000."""
VIDEO_NORMAL, VIDEO_EXTENDED, VIDEO_ASK, VIDEO_CURRENT = 0xFFFF, 0xFFFE, 0xFFFD, 0x0F04


@dataclass(frozen=True, slots=True)
class Words:
    """What a boot loader writes."""

    name: str
    loader_type: int
    line: bytes
    """What it puts before the arguments."""
    setup: int | None = None
    """Where it puts the setup code, None for the traditional place."""
    line_at: int = HEAP_END
    """Offset of the command line from the setup code; heap and stack end there."""
    stack: int = HEAP_END
    video: Mapping[str, int] | None = None
    """What it takes `vga=` for besides a number; None for a loader that leaves vid_mode alone."""
    video_default: int | None = None
    """vid_mode without `vga=`; None leaves what the image has."""
    all_ramdisks: bool = True

    def video_mode(self, line: bytes) -> int | None:
        """vid_mode for a command line, None when it stays as it is. Of several `vga=`, the last one holds."""
        if self.video is None:
            return None
        wanted = [word[4:].decode("latin-1") for word in line.split() if word.startswith(b"vga=")]
        if not wanted:
            return self.video_default
        named = next((value for name, value in self.video.items() if wanted[-1].lower().startswith(name)), None)
        return _number(wanted[-1]) & 0xFFFF if named is None else named


def _number(text: str) -> int:
    """As strtoul() reads it: what is no number is 0."""
    digits, base = (text[2:], 16) if text.lower().startswith("0x") else (text, 8 if text.startswith("0") else 10)
    try:
        return int(digits, base) if digits.isascii() and digits.isalnum() and len(digits) < 16 else 0
    except ValueError:
        return 0


LILO = Words("LILO", 0x02, b"auto BOOT_IMAGE=linux", all_ramdisks=False)
"""LILO is type 0 of boot.rst; its second stage counts itself as version 2. The words are what it puts before its `append=` if
nothing was typed; `linux` is the label of the image.
"""
GRUB = Words("GRUB", 0x72, b"BOOT_IMAGE=/vmlinuz", video={"normal": VIDEO_NORMAL, "ext": VIDEO_EXTENDED, "ask": VIDEO_ASK})
SYSLINUX = Words(
    "SYSLINUX",
    0x30,
    b"BOOT_IMAGE=vmlinuz",
    setup=0x1_0000,
    line_at=0x1_0000,
    stack=0xFFF0,
    video={"n": VIDEO_NORMAL, "e": VIDEO_EXTENDED, "a": VIDEO_ASK, "c": VIDEO_CURRENT},
    video_default=0,
)
BY_NAME: Mapping[str, Words] = {"lilo": LILO, "grub": GRUB, "syslinux": SYSLINUX}
