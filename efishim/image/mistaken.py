"""What a file is that cannot be booted, as far as its first bytes tell: for the hint of an error."""

from __future__ import annotations

import struct

ARM64_MAGIC = 56, b"ARM\x64"
RISCV_MAGIC = 56, b"RSC\x05"
"""Where the Image format has its magic (Documentation/arch/arm64/booting.rst, arch/riscv/boot-image-header.rst)."""

CPIO = (b"070701", b"070702", b"070707", b"\xc7\x71")
"""cpio archives, as initramfs has them (Documentation/driver-api/early-userspace/buffer-format.rst) and the older ones."""

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "XZ",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x02\x21\x4c\x18": "LZ4",
    b"\x04\x22\x4d\x18": "LZ4",
    b"BZh": "bzip2",
    b"\x5d\0\0": "LZMA",
}
ARCHIVES = {b"!<arch>\n": "a Debian package or another ar archive", b"PK\x03\x04": "a zip archive", b"hsqs": "a squashfs image"}

ISO9660 = 0x8001, b"CD001"
"""The first volume descriptor (ECMA-119, 8.1.2)."""

MACHINES = {2: "SPARC", 8: "MIPS", 20: "PowerPC", 21: "64-bit PowerPC", 22: "S/390", 40: "Arm", 183: "arm64", 243: "RISC-V"}
"""e_machine of the ELF header, by the registry of the System V ABI."""

X86 = frozenset({3, 62})
RAMDISK = "the kernel is the argument KERNEL; an initial ramdisk goes behind -i"
NO_X86 = "efishim boots kernels for x86"


def hint(data: bytes) -> str:
    """What the user should do about it; empty where nothing is known."""
    if data.startswith(CPIO):
        return f"this looks like a cpio archive: {RAMDISK}"
    for at, magic, name in ((*ARM64_MAGIC, "arm64"), (*RISCV_MAGIC, "RISC-V")):
        if data[at : at + len(magic)] == magic:
            return f"this looks like a kernel for {name}: {NO_X86}"
    at, magic = ISO9660
    if data[at : at + len(magic)] == magic:
        return "this looks like an ISO 9660 image: take the kernel out of it"
    for magic, name in ARCHIVES.items():
        if data.startswith(magic):
            return f"this looks like {name}: take the kernel out of it, or name a package as deb:PACKAGE"
    for magic, name in COMPRESSED.items():
        if data.startswith(magic):
            return f"this looks like {name} data, perhaps an initial ramdisk: {RAMDISK}"
    return ""


def other_machine(data: bytes) -> str:
    """The architecture of an ELF file for something else than x86; empty for all other files."""
    if data[:4] != b"\x7fELF" or len(data) < 20 or data[5] not in (1, 2):
        return ""
    machine = struct.unpack_from("<H" if data[5] == 1 else ">H", data, 18)[0]
    return "" if machine in X86 else MACHINES.get(machine, f"machine {machine}")
