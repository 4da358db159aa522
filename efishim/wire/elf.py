"""ELF files and the notes that carry Xen's and PVH's entry points.

Sources: System V ABI, "Object Files" (the gABI, chapters 4 and 5), for the headers; xen/include/public/elfnote.h for
the note types, taken by number because the same numbers mean other things under other owners.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, array, u8, u16, u32, u64

ELF_MAGIC = b"\x7fELF"
CLASS32 = 1
CLASS64 = 2
DATA_LITTLE = 1

MACHINE_386 = 3
MACHINE_X86_64 = 62
MACHINES: dict[int, str] = {
    MACHINE_386: "386",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC 64-bit",
    40: "ARM",
    MACHINE_X86_64: "X86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}
TYPES: dict[int, str] = {1: "REL", 2: "EXEC", 3: "DYN", 4: "CORE"}

PT_LOAD = 1
PT_NOTE = 4
PF_X = 1
PF_W = 2
PF_R = 4

SHT_SYMTAB = 2
SHT_NOTE = 7
SHT_NOBITS = 8
PN_XNUM = 0xFFFF

STT_NOTYPE = 0
STT_OBJECT = 1
STT_FUNC = 2
SHN_UNDEF = 0
SHN_ABS = 0xFFF1

XEN_OWNER = "Xen"
XEN_ELFNOTE_PHYS32_ENTRY = 18
XEN_ELFNOTE_PHYS32_RELOC = 19
XEN_ELFNOTES: dict[int, str] = {
    0: "XEN_ELFNOTE_INFO",
    1: "XEN_ELFNOTE_ENTRY",
    2: "XEN_ELFNOTE_HYPERCALL_PAGE",
    3: "XEN_ELFNOTE_VIRT_BASE",
    4: "XEN_ELFNOTE_PADDR_OFFSET",
    5: "XEN_ELFNOTE_XEN_VERSION",
    6: "XEN_ELFNOTE_GUEST_OS",
    7: "XEN_ELFNOTE_GUEST_VERSION",
    8: "XEN_ELFNOTE_LOADER",
    9: "XEN_ELFNOTE_PAE_MODE",
    10: "XEN_ELFNOTE_FEATURES",
    11: "XEN_ELFNOTE_BSD_SYMTAB",
    12: "XEN_ELFNOTE_HV_START_LOW",
    13: "XEN_ELFNOTE_L1_MFN_VALID",
    14: "XEN_ELFNOTE_SUSPEND_CANCEL",
    15: "XEN_ELFNOTE_INIT_P2M",
    16: "XEN_ELFNOTE_MOD_START_PFN",
    17: "XEN_ELFNOTE_SUPPORTED_FEATURES",
    XEN_ELFNOTE_PHYS32_ENTRY: "XEN_ELFNOTE_PHYS32_ENTRY",
    XEN_ELFNOTE_PHYS32_RELOC: "XEN_ELFNOTE_PHYS32_RELOC",
}
NOTES: dict[tuple[str, int], str] = {
    **{(XEN_OWNER, number): name for number, name in XEN_ELFNOTES.items()},
    ("GNU", 1): "NT_GNU_ABI_TAG",
    ("GNU", 3): "NT_GNU_BUILD_ID",
    ("GNU", 5): "NT_GNU_PROPERTY_TYPE_0",
    # include/linux/elfnote-lto.h and include/linux/build-salt.h
    ("Linux", 0x100): "LINUX_ELFNOTE_BUILD_SALT",
    ("Linux", 0x101): "LINUX_ELFNOTE_LTO_INFO",
}
"""Names of notes by owner and type."""


class ElfIdent(Layout):
    """e_ident: what all classes have in common."""

    SIZE = 16

    magic: bytes = array(0, 4)
    ei_class: int = u8(4)
    ei_data: int = u8(5)
    ei_version: int = u8(6)
    ei_osabi: int = u8(7)


class ElfHeader32(Layout):
    """Elf32_Ehdr."""

    SIZE = 52

    e_type: int = u16(16)
    e_machine: int = u16(18)
    e_version: int = u32(20)
    e_entry: int = u32(24)
    e_phoff: int = u32(28)
    e_shoff: int = u32(32)
    e_flags: int = u32(36)
    e_ehsize: int = u16(40)
    e_phentsize: int = u16(42)
    e_phnum: int = u16(44)
    e_shentsize: int = u16(46)
    e_shnum: int = u16(48)
    e_shstrndx: int = u16(50)


class ElfHeader64(Layout):
    """Elf64_Ehdr."""

    SIZE = 64

    e_type: int = u16(16)
    e_machine: int = u16(18)
    e_version: int = u32(20)
    e_entry: int = u64(24)
    e_phoff: int = u64(32)
    e_shoff: int = u64(40)
    e_flags: int = u32(48)
    e_ehsize: int = u16(52)
    e_phentsize: int = u16(54)
    e_phnum: int = u16(56)
    e_shentsize: int = u16(58)
    e_shnum: int = u16(60)
    e_shstrndx: int = u16(62)


class ProgramHeader32(Layout):
    """Elf32_Phdr."""

    SIZE = 32

    p_type: int = u32(0)
    p_offset: int = u32(4)
    p_vaddr: int = u32(8)
    p_paddr: int = u32(12)
    p_filesz: int = u32(16)
    p_memsz: int = u32(20)
    p_flags: int = u32(24)
    p_align: int = u32(28)


class ProgramHeader64(Layout):
    """Elf64_Phdr."""

    SIZE = 56

    p_type: int = u32(0)
    p_flags: int = u32(4)
    p_offset: int = u64(8)
    p_vaddr: int = u64(16)
    p_paddr: int = u64(24)
    p_filesz: int = u64(32)
    p_memsz: int = u64(40)
    p_align: int = u64(48)


class SectionHeader32(Layout):
    """Elf32_Shdr."""

    SIZE = 40

    sh_name: int = u32(0)
    sh_type: int = u32(4)
    sh_flags: int = u32(8)
    sh_addr: int = u32(12)
    sh_offset: int = u32(16)
    sh_size: int = u32(20)
    sh_link: int = u32(24)
    sh_info: int = u32(28)
    sh_addralign: int = u32(32)
    sh_entsize: int = u32(36)


class SectionHeader64(Layout):
    """Elf64_Shdr."""

    SIZE = 64

    sh_name: int = u32(0)
    sh_type: int = u32(4)
    sh_flags: int = u64(8)
    sh_addr: int = u64(16)
    sh_offset: int = u64(24)
    sh_size: int = u64(32)
    sh_link: int = u32(40)
    sh_info: int = u32(44)
    sh_addralign: int = u64(48)
    sh_entsize: int = u64(56)


class Symbol32(Layout):
    """Elf32_Sym."""

    SIZE = 16

    st_name: int = u32(0)
    st_value: int = u32(4)
    st_size: int = u32(8)
    st_info: int = u8(12)
    st_other: int = u8(13)
    st_shndx: int = u16(14)


class Symbol64(Layout):
    """Elf64_Sym."""

    SIZE = 24

    st_name: int = u32(0)
    st_info: int = u8(4)
    st_other: int = u8(5)
    st_shndx: int = u16(6)
    st_value: int = u64(8)
    st_size: int = u64(16)


class NoteHeader(Layout):
    """The head of a note; owner and description follow, each padded to four bytes."""

    SIZE = 12

    n_namesz: int = u32(0)
    n_descsz: int = u32(4)
    n_type: int = u32(8)
