"""PE/COFF images as UEFI loads them.

Sources: Microsoft PE and COFF Specification (headers, section table, the .reloc section); UEFI 2.10 sections 2.1.1 and
2.3 (image subsystems and machines); include/linux/pe.h and arch/x86/boot/header.S of the Linux sources (the .compat
record).
"""

from __future__ import annotations

from efishim.wire.layout import Bytes, Layout, Numbers, Part, u8, u16, u32, u64

DOS_MAGIC = 0x5A4D
PE_MAGIC = 0x00004550
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
BASERELOC = 5

REL_ABSOLUTE = 0
REL_HIGHLOW = 3
REL_DIR64 = 10

COMPAT_TYPE_1 = 1


class DosHeader(Layout):
    """The MS-DOS header. EFI reads `e_magic` and `e_lfanew` only."""

    SIZE = 64

    e_magic = u16(0x00)
    e_cblp = u16(0x02)
    e_cp = u16(0x04)
    e_crlc = u16(0x06)
    e_cparhdr = u16(0x08)
    e_minalloc = u16(0x0A)
    e_maxalloc = u16(0x0C)
    e_ss = u16(0x0E)
    e_sp = u16(0x10)
    e_csum = u16(0x12)
    e_ip = u16(0x14)
    e_cs = u16(0x16)
    e_lfarlc = u16(0x18)
    e_ovno = u16(0x1A)
    e_res = Numbers(0x1C, 2, 4)
    e_oemid = u16(0x24)
    e_oeminfo = u16(0x26)
    e_res2 = Numbers(0x28, 2, 10)
    e_lfanew = u32(0x3C)


class CoffHeader(Layout):
    """The PE signature and the COFF file header behind it."""

    SIZE = 24

    Signature = u32(0)
    Machine = u16(4)
    NumberOfSections = u16(6)
    TimeDateStamp = u32(8)
    PointerToSymbolTable = u32(12)
    NumberOfSymbols = u32(16)
    SizeOfOptionalHeader = u16(20)
    Characteristics = u16(22)


class OptionalHeader32(Layout):
    """The optional header of a PE32 image, without its data directories."""

    SIZE = 96

    Magic = u16(0)
    MajorLinkerVersion = u8(2)
    MinorLinkerVersion = u8(3)
    SizeOfCode = u32(4)
    SizeOfInitializedData = u32(8)
    SizeOfUninitializedData = u32(12)
    AddressOfEntryPoint = u32(16)
    BaseOfCode = u32(20)
    BaseOfData = u32(24)
    ImageBase = u32(28)
    SectionAlignment = u32(32)
    FileAlignment = u32(36)
    MajorOperatingSystemVersion = u16(40)
    MinorOperatingSystemVersion = u16(42)
    MajorImageVersion = u16(44)
    MinorImageVersion = u16(46)
    MajorSubsystemVersion = u16(48)
    MinorSubsystemVersion = u16(50)
    Win32VersionValue = u32(52)
    SizeOfImage = u32(56)
    SizeOfHeaders = u32(60)
    CheckSum = u32(64)
    Subsystem = u16(68)
    DllCharacteristics = u16(70)
    SizeOfStackReserve = u32(72)
    SizeOfStackCommit = u32(76)
    SizeOfHeapReserve = u32(80)
    SizeOfHeapCommit = u32(84)
    LoaderFlags = u32(88)
    NumberOfRvaAndSizes = u32(92)


class OptionalHeader64(Layout):
    """The optional header of a PE32+ image, without its data directories."""

    SIZE = 112

    Magic = u16(0)
    MajorLinkerVersion = u8(2)
    MinorLinkerVersion = u8(3)
    SizeOfCode = u32(4)
    SizeOfInitializedData = u32(8)
    SizeOfUninitializedData = u32(12)
    AddressOfEntryPoint = u32(16)
    BaseOfCode = u32(20)
    ImageBase = u64(24)
    SectionAlignment = u32(32)
    FileAlignment = u32(36)
    MajorOperatingSystemVersion = u16(40)
    MinorOperatingSystemVersion = u16(42)
    MajorImageVersion = u16(44)
    MinorImageVersion = u16(46)
    MajorSubsystemVersion = u16(48)
    MinorSubsystemVersion = u16(50)
    Win32VersionValue = u32(52)
    SizeOfImage = u32(56)
    SizeOfHeaders = u32(60)
    CheckSum = u32(64)
    Subsystem = u16(68)
    DllCharacteristics = u16(70)
    SizeOfStackReserve = u64(72)
    SizeOfStackCommit = u64(80)
    SizeOfHeapReserve = u64(88)
    SizeOfHeapCommit = u64(96)
    LoaderFlags = u32(104)
    NumberOfRvaAndSizes = u32(108)


class DataDirectory(Layout):
    """One data directory, behind the optional header."""

    SIZE = 8

    VirtualAddress = u32(0)
    Size = u32(4)


class SectionHeader(Layout):
    """One entry of the section table."""

    SIZE = 40

    Name = Bytes(0, 8)
    VirtualSize = u32(8)
    VirtualAddress = u32(12)
    SizeOfRawData = u32(16)
    PointerToRawData = u32(20)
    PointerToRelocations = u32(24)
    PointerToLinenumbers = u32(28)
    NumberOfRelocations = u16(32)
    NumberOfLinenumbers = u16(34)
    Characteristics = u32(36)


class BaseRelocationBlock(Layout):
    """The head of a block of base relocations: 16-bit entries follow, four bits of type above twelve of offset."""

    SIZE = 8

    PageRVA = u32(0)
    BlockSize = u32(4)


class CompatHead(Layout):
    """What every record of the .compat section starts with; `Size` covers the record."""

    SIZE = 2

    Type = u8(0)
    Size = u8(1)


class CompatEntry(Layout):
    """A type 1 record: the entry point for firmware of another machine type."""

    SIZE = 8

    head = Part(0, CompatHead)
    Machine = u16(2)
    AddressOfEntryPoint = u32(4)
