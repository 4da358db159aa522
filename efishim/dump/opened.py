"""Opens a dump: an ELF core of QEMU's or a TOML file with ranges of memory, the core also packed with gzip or zstd."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from efishim.dump.core import HOW_TO, read_core
from efishim.dump.described import LIMIT, read_described
from efishim.dump.model import Dump
from efishim.dump.source import SMALLER, DumpError, open_source
from efishim.image.text import printable
from efishim.wire.elf import ELF_MAGIC

FOREIGN = (
    # dump/dump.c: the format kdump-zlib and its like; a core is the format elf
    (b"KDUMP   ", "a dump in the format of makedumpfile"),
    (b"makedumpfile", "a dump in the flattened format of makedumpfile"),
    (b"PAGEDU64", "a crash dump of Windows"),
    (b"PAGEDUMP", "a crash dump of Windows"),
    (b"MDMP", "a minidump of Windows"),
    (b"EMiL", "a memory image of LiME, which has no registers"),
    (b"QEVM", "a saved state of QEMU (savevm or migrate)"),
    (b"hibr", "a hibernation file of Windows"),
    (b"MZ", "a PE image"),
    (b"{", "JSON"),
)
"""Others' dumps, and what one may take for a dump, by their first bytes."""


MAX_STORED = (4 << 30) + (64 << 20)
"""Bytes of a dump that are stored, holes of its files left out: all of them are looked at more than once."""
MAX_PARTS = 1 << 17
"""Parts with holes between them."""


def _bounded(dump: Dump) -> Dump:
    stored = parts = 0
    for one in dump.ranges:
        for _, size in one.source.content(one.offset, one.stored) if one.source is not None else ():
            stored, parts = stored + size, parts + 1
            if stored > MAX_STORED or parts > MAX_PARTS:
                what = (
                    f"{MAX_STORED >> 20} MiB of memory" if stored > MAX_STORED else f"{MAX_PARTS} parts with holes between them"
                )
                raise DumpError(f"{dump.path} has more than {what}", hint=SMALLER)
    return dump


def _named(dump: Dump, path: str | Path) -> Dump:
    """With the path by which its first file is opened again; `dump.path` is for people."""
    return replace(dump, files=(os.fspath(path), *dump.files[1:]))


def open_dump(path: str | Path) -> Dump:
    """Open a dump. Raises DumpError with one sentence, and a hint what to do instead."""
    name = printable(os.fspath(path))
    source = open_source(path)
    head = source.read(0, 16)
    if not head:
        raise DumpError(f"{name} is empty")
    if head.startswith(ELF_MAGIC):
        return _bounded(_named(read_core(name, source), path))
    for magic, what in FOREIGN:
        if head.startswith(magic):
            raise DumpError(f"{name} is {what}, not a dump that efishim reads", hint=HOW_TO)
    text = source.read(0, LIMIT + 1)
    if len(text) <= LIMIT and b"\0" not in text:
        try:
            return _bounded(_named(read_described(name, text.decode("utf-8"), Path(path).parent), path))
        except UnicodeDecodeError:
            pass
    raise DumpError(f"{name} is neither an ELF core nor a TOML file that describes a dump", hint=HOW_TO)
