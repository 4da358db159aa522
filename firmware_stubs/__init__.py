"""Our own guest programs: sources, binaries and their hashes. Nothing here needs an assembler; `build.py` does."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files

from firmware_stubs.cpio import Entry, archive

__all__ = ["load", "reporting_init", "reporting_initrd"]


def load(name: str) -> bytes:
    """A committed binary by its path in this package, such as `init/init.elf`.

    Raises KeyError for a name that the manifest lacks, ValueError when the file is not the one that was built.
    """
    root = files(__name__)
    hashes: dict[str, str] = json.loads(root.joinpath("hashes.json").read_text())
    expected = hashes[name]
    data = root.joinpath(name).read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(f"{name} is not the file that was built: its SHA-256 differs from hashes.json")
    return data


def reporting_init() -> bytes:
    """The reporting init: a static x86-64 ELF program, to be run as process 1."""
    return load("init/init.elf")


def reporting_initrd() -> bytes:
    """The ramdisk of a run that brought none: the reporting init and a console, an uncompressed cpio of a few KiB."""
    return archive(
        [
            Entry.directory("dev"),
            Entry.character_device("dev/console", 5, 1),
            Entry.directory("proc"),
            Entry.directory("sys"),
            Entry.file("init", reporting_init(), 0o755),
        ]
    )
