"""PE/COFF images as UEFI loads them: names and flags. pefile has the byte layouts; .compat records are Linux's own.

Sources: Microsoft PE and COFF Specification (headers, section table, the .reloc section); UEFI 2.10 sections 2.1.1 and
2.3 (image subsystems and machines); include/linux/pe.h and arch/x86/boot/header.S of the Linux sources (the .compat
record).
"""

from __future__ import annotations

from efishim.wire.layout import Layout, array, part, u8, u16, u32

DOS_SIGNATURE = b"MZ"
DOS_HEADER_SIZE = 64
E_LFANEW = 0x3C
"""Where in the MS-DOS header the file offset of the PE signature stands. EFI reads nothing else of it."""

PE_SIGNATURE = b"PE\0\0"
OPTIONAL_MAGIC_PE32 = 0x10B
OPTIONAL_MAGIC_PE32_PLUS = 0x20B

MACHINE_I386 = 0x14C
MACHINE_X64 = 0x8664
MACHINES: dict[int, str] = {
    MACHINE_I386: "IA32",
    0x1C0: "ARM",
    0x1C2: "ARM (Thumb and interworking)",
    0x200: "Itanium",
    0x5032: "RISC-V 32-bit",
    0x5064: "RISC-V 64-bit",
    0x6232: "LoongArch 32-bit",
    0x6264: "LoongArch 64-bit",
    MACHINE_X64: "X64",
    0xAA64: "AARCH64",
}

SUBSYSTEM_EFI_APPLICATION = 10
EFI_SUBSYSTEMS: dict[int, str] = {
    SUBSYSTEM_EFI_APPLICATION: "EFI application",
    11: "EFI boot service driver",
    12: "EFI runtime driver",
}
SUBSYSTEMS: dict[int, str] = {
    1: "native",
    2: "Windows GUI",
    3: "Windows console",
    **EFI_SUBSYSTEMS,
    13: "EFI ROM image",
}

RELOCS_STRIPPED = 0x0001
COFF_CHARACTERISTICS: dict[int, str] = {
    RELOCS_STRIPPED: "RELOCS_STRIPPED",
    0x0002: "EXECUTABLE_IMAGE",
    0x0004: "LINE_NUMS_STRIPPED",
    0x0008: "LOCAL_SYMS_STRIPPED",
    0x0020: "LARGE_ADDRESS_AWARE",
    0x0100: "32BIT_MACHINE",
    0x0200: "DEBUG_STRIPPED",
    0x2000: "DLL",
}

NX_COMPAT = 0x0100
DLL_CHARACTERISTICS: dict[int, str] = {
    0x0020: "HIGH_ENTROPY_VA",
    0x0040: "DYNAMIC_BASE",
    0x0080: "FORCE_INTEGRITY",
    NX_COMPAT: "NX_COMPAT",
    0x4000: "GUARD_CF",
}

SCN_MEM_EXECUTE = 0x20000000
SCN_MEM_READ = 0x40000000
SCN_MEM_WRITE = 0x80000000
SECTION_CHARACTERISTICS: dict[int, str] = {
    0x00000020: "CNT_CODE",
    0x00000040: "CNT_INITIALIZED_DATA",
    0x00000080: "CNT_UNINITIALIZED_DATA",
    0x02000000: "MEM_DISCARDABLE",
    0x04000000: "MEM_NOT_CACHED",
    0x08000000: "MEM_NOT_PAGED",
    0x10000000: "MEM_SHARED",
    SCN_MEM_EXECUTE: "MEM_EXECUTE",
    SCN_MEM_READ: "MEM_READ",
    SCN_MEM_WRITE: "MEM_WRITE",
}

DIRECTORIES = (
    "EXPORT",
    "IMPORT",
    "RESOURCE",
    "EXCEPTION",
    "SECURITY",
    "BASERELOC",
    "DEBUG",
    "ARCHITECTURE",
    "GLOBALPTR",
    "TLS",
    "LOAD_CONFIG",
    "BOUND_IMPORT",
    "IAT",
    "DELAY_IMPORT",
    "CLR_RUNTIME",
    "RESERVED",
)
"""Data directories by index."""
DIRECTORY_SIZE = 8
"""Bytes of a data directory: an RVA and a size."""

RELOCATION_BLOCK_SIZE = 8
"""Bytes in front of a block of base relocations: the RVA of its page and the size of the block, 32 bits each. 16-bit
entries follow, four bits of type above twelve of offset."""
REL_ABSOLUTE = 0
REL_HIGHLOW = 3
REL_DIR64 = 10

COMPAT_TYPE_1 = 1


COFF_HEADER = (
    "Machine",
    "NumberOfSections",
    "TimeDateStamp",
    "PointerToSymbolTable",
    "NumberOfSymbols",
    "SizeOfOptionalHeader",
    "Characteristics",
)
"""Fields of the COFF file header in their order."""
OPTIONAL_HEADER = (
    "Magic",
    "MajorLinkerVersion",
    "MinorLinkerVersion",
    "SizeOfCode",
    "SizeOfInitializedData",
    "SizeOfUninitializedData",
    "AddressOfEntryPoint",
    "BaseOfCode",
    "BaseOfData",
    "ImageBase",
    "SectionAlignment",
    "FileAlignment",
    "MajorOperatingSystemVersion",
    "MinorOperatingSystemVersion",
    "MajorImageVersion",
    "MinorImageVersion",
    "MajorSubsystemVersion",
    "MinorSubsystemVersion",
    "Win32VersionValue",
    "SizeOfImage",
    "SizeOfHeaders",
    "CheckSum",
    "Subsystem",
    "DllCharacteristics",
    "SizeOfStackReserve",
    "SizeOfStackCommit",
    "SizeOfHeapReserve",
    "SizeOfHeapCommit",
    "LoaderFlags",
    "NumberOfRvaAndSizes",
)
"""Fields of the optional header of a PE32 image, without its data directories."""
OPTIONAL_HEADER_PLUS = tuple(name for name in OPTIONAL_HEADER if name != "BaseOfData")
"""The same of a PE32+ image."""


class SectionHeader(Layout):
    """A row of the section table."""

    SIZE = 40

    Name: bytes = array(0, 8)
    VirtualSize: int = u32(8)
    VirtualAddress: int = u32(12)
    SizeOfRawData: int = u32(16)
    PointerToRawData: int = u32(20)
    PointerToRelocations: int = u32(24)
    PointerToLinenumbers: int = u32(28)
    NumberOfRelocations: int = u16(32)
    NumberOfLinenumbers: int = u16(34)
    Characteristics: int = u32(36)


class CompatHead(Layout):
    """What every record of the .compat section starts with; `Size` covers the record."""

    SIZE = 2

    Type: int = u8(0)
    Size: int = u8(1)


class CompatEntry(Layout):
    """A type 1 record: the entry point for firmware of another machine type."""

    SIZE = 8

    head: CompatHead = part(0, CompatHead)
    Machine: int = u16(2)
    AddressOfEntryPoint: int = u32(4)
