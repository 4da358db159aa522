"""Builds the ELF_SECTIONS tag: the section headers of the kernel's file, and what no segment loads put into memory.

Source: Multiboot2 2.0 section 3.6.7; what GRUB does in grub-core/loader/multiboot_elfxx.c (a section with an address is taken
for loaded, the others are loaded too and get one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.wire.elf import CLASS64, ELF_MAGIC, SHT_NOBITS, ElfHeader32, ElfHeader64, SectionHeader32, SectionHeader64
from efishim.wire.multiboot import Multiboot2ElfSections
from efishim_plugins.multiboot2.tags import made

if TYPE_CHECKING:
    from efishim.provider import Arena, GuestMemory

MOST_SECTIONS = 4096
LARGEST_ALIGNMENT = 1 << 16
CLASS_AT = 4


def tag(image: bytes, memory: GuestMemory, arena: Arena) -> list[bytes]:
    """The tag; none for a file that is no ELF file or has no sections. Raises ProviderError where there is no room."""
    if not image.startswith(ELF_MAGIC):
        return []
    wide = image[CLASS_AT] == CLASS64
    header = (ElfHeader64 if wide else ElfHeader32).parse(image[: ElfHeader64.SIZE])
    kind = SectionHeader64 if wide else SectionHeader32
    table = image[header.e_shoff : header.e_shoff + header.e_shnum * kind.SIZE]
    if not 0 < header.e_shnum <= MOST_SECTIONS or header.e_shentsize != kind.SIZE or len(table) < header.e_shnum * kind.SIZE:
        return []
    rows = b""
    for at in range(0, len(table), kind.SIZE):
        section = kind.parse(table[at : at + kind.SIZE])
        content = image[section.sh_offset : section.sh_offset + section.sh_size] if section.sh_type != SHT_NOBITS else b""
        if not section.sh_addr and content:
            align = min(max(section.sh_addralign, 1), LARGEST_ALIGNMENT)
            section.sh_addr = arena.place(len(content), align=align, what="a section of the ELF file")
            memory.write(section.sh_addr, content)
        rows += section.build()
    head = Multiboot2ElfSections(num=header.e_shnum, entsize=kind.SIZE, shndx=header.e_shstrndx)
    return [made("ELF_SECTIONS", head, rows)]
