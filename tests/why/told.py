"""A kernel of a page that prints a line for each thing that it was told, and two machines that stand at its startup_64."""

from __future__ import annotations

import struct

from efishim.lab.plan.plan import MIB, Blob, Plan
from efishim.plugins import load_plugins
from efishim.why.side import Side, arrive
from tests.support.images import build_elf, elf_note

BASE, VIRTUAL = 0x100_0000, 0xFFFF_FFFF_8100_0000
PVH_ENTRY, STARTUP, VARIABLE, PAIRED, PARAMS, SIZE = 0x40, 0x100, 0x2000, 0x2008, 0x3000, 0x5000
LOOSE = 0x60_0000
"""Memory that nobody has a name for, and that the program looks at."""

FIELDS = {
    # offset in boot_params (Documentation/arch/x86/zero-page.rst), size
    "screen_info.orig_video_isVGA": (15, 1),
    "screen_info.lfb_base": (24, 4),
    "apm_bios_info.version": (64, 2),
    "tboot_addr": (88, 8),
    "ist_info.signature": (96, 4),
    "acpi_rsdp_addr": (112, 8),
    "hd0_info": (128, 16),
    "edid_info": (320, 128),
    "alt_mem_k": (480, 4),
    "eddbuf_entries": (489, 1),
    "secure_boot": (492, 1),
    "hdr.root_flags": (498, 2),
    "hdr.type_of_loader": (528, 1),
    "hdr.loadflags": (529, 1),
    "hdr.hardware_subarch": (572, 4),
}
SETUP_DATA, PAIRED_FIELD = 592, 84


def _say(text: str) -> bytes:
    """OUT of each letter to the serial port, whose number is in DX."""
    return b"".join(bytes([0xB0, letter, 0xEE]) for letter in (text + "\n").encode())


def _if(condition: bytes, text: str) -> bytes:
    """Say it unless the condition leaves a zero. The jump is a near one: a line may be long."""
    said = _say(text)
    return condition + b"\x0f\x84" + struct.pack("<i", len(said)) + said


def _program() -> bytes:
    code = b"\x66\xba\xf8\x03"  # mov dx, 0x3f8
    for name, (at, _) in FIELDS.items():
        code += _if(b"\x80\xbe" + struct.pack("<I", at) + b"\0", f"told {name}")  # cmp byte [esi + at], 0
    code += _if(b"\x83\xbe" + struct.pack("<I", SETUP_DATA) + b"\0", "told setup_data")  # cmp dword [esi + at], 0
    code += _if(b"\x80\x3d" + struct.pack("<I", BASE + VARIABLE) + b"\0", "set variable")  # cmp byte [address], 0
    code += _if(b"\x80\x3d" + struct.pack("<I", LOOSE) + b"\0", "found memory")
    code += _if(b"\x85\xff", "passed edi")  # test edi, edi
    code += _if(b"\xe4\x21\x3c\xff", "found interrupts on")  # in al, 0x21; cmp al, 0xff
    # mov al, [address]; and al, [esi + 84]
    both = b"\xa0" + struct.pack("<I", BASE + PAIRED) + b"\x22\x86" + struct.pack("<I", PAIRED_FIELD)
    code += _if(both, "both")
    return code + b"\xfa\xf4"  # cli; hlt


def image() -> bytes:
    """A bare ELF file with a PVH entry that makes an empty boot_params, and symbols."""
    content = bytearray(SIZE)
    entry = b"\xbe" + struct.pack("<I", BASE + PARAMS) + b"\x31\xff"  # mov esi, boot_params; xor edi, edi
    entry += b"\xe9" + struct.pack("<i", STARTUP - (PVH_ENTRY + len(entry) + 5))
    content[PVH_ENTRY : PVH_ENTRY + len(entry)] = entry
    program = _program()
    content[STARTUP : STARTUP + len(program)] = program
    assert STARTUP + len(program) < VARIABLE
    names, rows = b"\0", bytes(24)
    for name, at in (("startup_64", STARTUP), ("variable", VARIABLE), ("paired", PAIRED), ("last", PAIRED + 8)):
        rows += struct.pack("<IBBHQQ", len(names), 0x11, 0, 1, VIRTUAL + at, 8)
        names += name.encode() + b"\0"
    sections = [(b".symtab", 2, rows, 2, 24), (b".strtab", 3, names, 0, 0)]
    note = elf_note(b"Xen", 18, struct.pack("<Q", BASE + PVH_ENTRY))
    return build_elf([(VIRTUAL, BASE, bytes(content), SIZE)], entry=BASE + STARTUP, notes=note, sections=sections)


def plan() -> Plan:
    """Through the PVH entry on a small machine."""
    return Plan(image=Blob.embedded("told", image()), provider="hvmlite", entry="pvh", platform="pc", memory=64 * MIB)


def side() -> Side:
    """A machine that stands at startup_64."""
    return arrive(plan(), load_plugins())
