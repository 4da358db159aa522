"""EFI programs whose code the fake board can execute: a RET, and what tests put there."""

from __future__ import annotations

import struct

from tests.support.images import SectionSpec, build_pe

TEXT, DATA, RELOC = 0x1000, 0x2000, 0x3000
BASE = 0x400000

CODE = b"\xb8\x00\x00\x00\x00\xc3"
"""mov eax, 0; ret: EFI_SUCCESS."""

POINTER_AT = DATA + 0x10
"""A relocated pointer to the start of the data section."""


def program(
    *, subsystem: int = 10, code: bytes = CODE, machine: int = 0x8664, relocatable: bool = True, nx: bool = False
) -> bytes:
    """Code, data of 16 bytes, a pointer, 0x800 zero bytes of BSS behind it, and a relocation for the pointer."""
    data = b"0123456789abcdef" + struct.pack("<Q", BASE + DATA)
    reloc = struct.pack("<IIHH", DATA, 12, 0xA010, 0)
    return build_pe(
        [
            SectionSpec(b".text", TEXT, code, len(code), 0x60000020),
            SectionSpec(b".data", DATA, data, 0x818, 0xC0000040),
            SectionSpec(b".reloc", RELOC, reloc, len(reloc), 0x42000040),
        ],
        machine=machine,
        subsystem=subsystem,
        size_of_image=0x4000,
        characteristics=0x0206 if relocatable else 0x0207,
        relocations=(RELOC, len(reloc)) if relocatable else (0, 0),
        dll_characteristics=0x0100 if nx else 0,
    )


IMAGE = program()
