"""Guest programs and native hooks: sources, binaries and hashes. Only `build.py` needs an assembler and a compiler."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files

from efishim.wire.bootparams import SetupHeader
from efishim.wire.linux_header import HEADER_START
from efishim_firmware_stubs.cpio import Entry, archive

__all__ = ["guest_shim", "kexec_initrd", "load", "probe_elf", "probe_kernel", "reporting_init", "reporting_initrd"]


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


def probe_kernel() -> bytes:
    """The probe kernel: a bzImage, an EFI application and a multiboot 1 and 2 kernel in one file; its payload is an ELF."""
    return load("probe/probe.efi")


def probe_elf() -> bytes:
    """The payload of the probe kernel, for loaders that take PVH kernels only as a plain ELF file.

    It is a part of `probe_kernel()`, found as boot.rst says: `payload_offset` and `payload_length` count from the end of
    the setup sectors. Multiboot headers and the PE and Linux entries lie outside of it.
    """
    image = probe_kernel()
    header = SetupHeader.parse(image[HEADER_START:])
    start = (header.setup_sects + 1) * 512 + header.payload_offset
    return image[start : start + header.payload_length]


def guest_shim() -> bytes:
    """EFI firmware as a PVH guest: an ELF file that takes hvm_start_info and enters its first module, a kernel, at its EFI
    entry. It keeps its symbols.
    """
    return load("guest_shim/shim.elf")


def reporting_init(wide: bool = True) -> bytes:
    """The reporting init: a static ELF program for x86-64, or i386 unless `wide`, to be run as process 1."""
    return load("init/init.elf" if wide else "init/init32.elf")


def reporting_initrd(wide: bool = True) -> bytes:
    """The ramdisk of a run that brought none: the reporting init and a console, an uncompressed cpio of a few KiB."""
    return archive(
        [
            Entry.directory("dev"),
            Entry.character_device("dev/console", 5, 1),
            Entry.directory("proc"),
            Entry.directory("sys"),
            Entry.file("init", reporting_init(wide), 0o755),
        ]
    )


def kexec_initrd(kernel: bytes, cmdline: str, initrd: bytes | None = None) -> bytes:
    """A ramdisk whose process 1 starts `kernel` through its 64-bit entry, with kexec_file_load(2) of the kernel around it.

    The other kernel gets `cmdline` and, unless None, `initrd`. The running one must have CONFIG_KEXEC_FILE.
    """
    return archive(
        [
            Entry.directory("dev"),
            Entry.character_device("dev/console", 5, 1),
            Entry.file("kernel", kernel),
            Entry.file("cmdline", cmdline.encode()),
            *([] if initrd is None else [Entry.file("initrd", initrd)]),
            Entry.file("init", load("kexec/kexec.elf"), 0o755),
        ]
    )
