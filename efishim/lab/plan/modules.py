"""Modules with command lines of their own, as Multiboot and PVH kernels have them: `--module FILE=CMDLINE`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from efishim.errors import UsageError
from efishim.lab.plan.plan import CMDLINE_LIMIT, Blob

if TYPE_CHECKING:
    from efishim.lab.plan.arguments import Words
    from efishim.provider import Entry


def read(words: Words, entry: Entry) -> tuple[Blob, ...]:
    """The modules of `--module`, in their order. Raises UsageError and ImageError."""
    other = "-i" if words.initrds else "--no-initrd" if words.no_initrd else ""
    if other:
        raise UsageError(f"--module and {other} exclude each other", hint="a ramdisk is a module too: --module initrd.img")
    if reason := no_modules(entry):
        raise UsageError(reason, hint="--module is for entries such as multiboot, multiboot2 and pvh")
    return tuple(_module(text) for text in words.modules)


def no_modules(entry: Entry) -> str:
    """Why an entry is given no modules; empty for one that is."""
    if not entry.through_shim:
        return ""
    return f"the entry {entry.name} is given ramdisks by EFI firmware, and these have no command lines"


def _module(text: str) -> Blob:
    """FILE or FILE=CMDLINE; the file's name ends at the first equals sign."""
    path, _, words = text.partition("=")
    command_line = words.encode("utf-8", "surrogateescape")
    if not path:
        raise UsageError(f"--module {text} names no file", hint="write it like --module FILE=CMDLINE")
    if len(command_line) > CMDLINE_LIMIT:
        raise UsageError(f"the command line of {path} has {len(command_line)} bytes, more than {CMDLINE_LIMIT}")
    return replace(Blob.from_file(path, what="module"), command_line=command_line)
