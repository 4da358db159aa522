"""Structures that firmware and images exchange: UEFI 2.10, chapters 4 to 8.

UEFI types its structures in UINTN and pointers and aligns them as C does on the processor (2.3.1), so each has a 32-bit and
a 64-bit form with one declaration: width 8 is x64, width 4 is IA-32 (which the mixed mode of Linux needs). Section numbers
are those of UEFI 2.10.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, guid, pointer, u8, u16, u32, u64

SYSTEM_TABLE_SIGNATURE = 0x5453595320494249  # "IBI SYST" (4.3.1)
BOOT_SERVICES_SIGNATURE = 0x56524553544F4F42  # "BOOTSERV" (4.4.1)
RUNTIME_SERVICES_SIGNATURE = 0x56524553544E5552  # "RUNTSERV" (4.5.1)
REVISION_2_10 = (2 << 16) | 100  # EFI_2_100_SYSTEM_TABLE_REVISION (4.3.1)


class TableHeader(Layout):
    """EFI_TABLE_HEADER (4.2.1)."""

    NAME = "EFI_TABLE_HEADER"

    Signature: int = u64()
    Revision: int = u32()
    HeaderSize: int = u32()
    CRC32: int = u32()
    Reserved: int = u32()


class SystemTable(TableHeader):
    """EFI_SYSTEM_TABLE (4.3.1)."""

    NAME = "EFI_SYSTEM_TABLE"

    FirmwareVendor: int = pointer()
    FirmwareRevision: int = u32()
    ConsoleInHandle: int = pointer()
    ConIn: int = pointer()
    ConsoleOutHandle: int = pointer()
    ConOut: int = pointer()
    StandardErrorHandle: int = pointer()
    StdErr: int = pointer()
    RuntimeServices: int = pointer()
    BootServices: int = pointer()
    NumberOfTableEntries: int = pointer()
    ConfigurationTable: int = pointer()


class BootServicesTable(TableHeader):
    """EFI_BOOT_SERVICES (4.4.1): the services in the order of the table. The empty place, called
    Reserved as a field of the header is, is NULL.
    """

    NAME = "EFI_BOOT_SERVICES"

    RaiseTPL: int = pointer()
    RestoreTPL: int = pointer()
    AllocatePages: int = pointer()
    FreePages: int = pointer()
    GetMemoryMap: int = pointer()
    AllocatePool: int = pointer()
    FreePool: int = pointer()
    CreateEvent: int = pointer()
    SetTimer: int = pointer()
    WaitForEvent: int = pointer()
    SignalEvent: int = pointer()
    CloseEvent: int = pointer()
    CheckEvent: int = pointer()
    InstallProtocolInterface: int = pointer()
    ReinstallProtocolInterface: int = pointer()
    UninstallProtocolInterface: int = pointer()
    HandleProtocol: int = pointer()
    Reserved_: int = pointer()
    RegisterProtocolNotify: int = pointer()
    LocateHandle: int = pointer()
    LocateDevicePath: int = pointer()
    InstallConfigurationTable: int = pointer()
    LoadImage: int = pointer()
    StartImage: int = pointer()
    Exit: int = pointer()
    UnloadImage: int = pointer()
    ExitBootServices: int = pointer()
    GetNextMonotonicCount: int = pointer()
    Stall: int = pointer()
    SetWatchdogTimer: int = pointer()
    ConnectController: int = pointer()
    DisconnectController: int = pointer()
    OpenProtocol: int = pointer()
    CloseProtocol: int = pointer()
    OpenProtocolInformation: int = pointer()
    ProtocolsPerHandle: int = pointer()
    LocateHandleBuffer: int = pointer()
    LocateProtocol: int = pointer()
    InstallMultipleProtocolInterfaces: int = pointer()
    UninstallMultipleProtocolInterfaces: int = pointer()
    CalculateCrc32: int = pointer()
    CopyMem: int = pointer()
    SetMem: int = pointer()
    CreateEventEx: int = pointer()


BOOT_SERVICES = BootServicesTable.names()[len(TableHeader.names()) :]


class RuntimeServicesTable(TableHeader):
    """EFI_RUNTIME_SERVICES (4.5.1)."""

    NAME = "EFI_RUNTIME_SERVICES"

    GetTime: int = pointer()
    SetTime: int = pointer()
    GetWakeupTime: int = pointer()
    SetWakeupTime: int = pointer()
    SetVirtualAddressMap: int = pointer()
    ConvertPointer: int = pointer()
    GetVariable: int = pointer()
    GetNextVariableName: int = pointer()
    SetVariable: int = pointer()
    GetNextHighMonotonicCount: int = pointer()
    ResetSystem: int = pointer()
    UpdateCapsule: int = pointer()
    QueryCapsuleCapabilities: int = pointer()
    QueryVariableInfo: int = pointer()


RUNTIME_SERVICES = RuntimeServicesTable.names()[len(TableHeader.names()) :]


class ConfigurationTable(Layout):
    """EFI_CONFIGURATION_TABLE (4.6)."""

    NAME = "EFI_CONFIGURATION_TABLE"

    VendorGuid: bytes = guid()
    VendorTable: int = pointer()


LOAD_OPTION_ACTIVE = 1


class LoadOption(Layout):
    """EFI_LOAD_OPTION (3.1.3), up to the description behind which the device path lies."""

    SIZE = 6

    Attributes: int = u32(0)
    FilePathListLength: int = u16(4)


class RtPropertiesTable(Layout):
    """EFI_RT_PROPERTIES_TABLE (4.6.2)."""

    NAME = "EFI_RT_PROPERTIES_TABLE"

    Version: int = u16()
    Length: int = u16()
    RuntimeServicesSupported: int = u32()


class MemoryAttributesTable(Layout):
    """EFI_MEMORY_ATTRIBUTES_TABLE (4.6.4), without its entries."""

    NAME = "EFI_MEMORY_ATTRIBUTES_TABLE"

    Version: int = u32()
    NumberOfEntries: int = u32()
    DescriptorSize: int = u32()
    Flags: int = u32()


class MemoryDescriptor(Layout):
    """EFI_MEMORY_DESCRIPTOR (7.2.3)."""

    NAME = "EFI_MEMORY_DESCRIPTOR"

    Type: int = u32()
    PhysicalStart: int = u64()
    VirtualStart: int = u64()
    NumberOfPages: int = u64()
    Attribute: int = u64()


MEMORY_DESCRIPTOR_VERSION = 1

MEMORY_TYPES = (
    *("EfiReservedMemoryType", "EfiLoaderCode", "EfiLoaderData", "EfiBootServicesCode", "EfiBootServicesData"),
    *("EfiRuntimeServicesCode", "EfiRuntimeServicesData", "EfiConventionalMemory", "EfiUnusableMemory"),
    *("EfiACPIReclaimMemory", "EfiACPIMemoryNVS", "EfiMemoryMappedIO", "EfiMemoryMappedIOPortSpace"),
    *("EfiPalCode", "EfiPersistentMemory", "EfiUnacceptedMemoryType"),
)
"""EFI_MEMORY_TYPE by value (7.2.1)."""

EFI_MEMORY_UC, EFI_MEMORY_WC, EFI_MEMORY_WT, EFI_MEMORY_WB, EFI_MEMORY_UCE = (1 << bit for bit in range(5))
EFI_MEMORY_WP, EFI_MEMORY_RP, EFI_MEMORY_XP, EFI_MEMORY_NV = (1 << bit for bit in range(12, 16))
EFI_MEMORY_MORE_RELIABLE, EFI_MEMORY_RO, EFI_MEMORY_SP, EFI_MEMORY_CPU_CRYPTO = (1 << bit for bit in range(16, 20))
EFI_MEMORY_ISA_VALID, EFI_MEMORY_RUNTIME = 1 << 62, 1 << 63
MEMORY_ATTRIBUTES = (
    (EFI_MEMORY_UC, "UC"),
    (EFI_MEMORY_WC, "WC"),
    (EFI_MEMORY_WT, "WT"),
    (EFI_MEMORY_WB, "WB"),
    (EFI_MEMORY_UCE, "UCE"),
    (EFI_MEMORY_WP, "WP"),
    (EFI_MEMORY_RP, "RP"),
    (EFI_MEMORY_XP, "XP"),
    (EFI_MEMORY_NV, "NV"),
    (EFI_MEMORY_MORE_RELIABLE, "MORE_RELIABLE"),
    (EFI_MEMORY_RO, "RO"),
    (EFI_MEMORY_SP, "SP"),
    (EFI_MEMORY_CPU_CRYPTO, "CPU_CRYPTO"),
    (EFI_MEMORY_ISA_VALID, "ISA_VALID"),
    (EFI_MEMORY_RUNTIME, "RUNTIME"),
)
"""Attribute bits of a memory descriptor, and what follows EFI_MEMORY_ in their names (7.2.3)."""

STACK_SIZE = 128 << 10
"""Stack that an image has at least (2.3.2 and 2.3.4)."""


class OpenProtocolInformationEntry(Layout):
    """EFI_OPEN_PROTOCOL_INFORMATION_ENTRY (7.3.9)."""

    NAME = "EFI_OPEN_PROTOCOL_INFORMATION_ENTRY"

    AgentHandle: int = pointer()
    ControllerHandle: int = pointer()
    Attributes: int = u32()
    OpenCount: int = u32()


class Time(Layout):
    """EFI_TIME (8.3.1)."""

    NAME = "EFI_TIME"

    Year: int = u16()
    Month: int = u8()
    Day: int = u8()
    Hour: int = u8()
    Minute: int = u8()
    Second: int = u8()
    Pad1: int = u8()
    Nanosecond: int = u32()
    TimeZone: int = u16()
    Daylight: int = u8()
    Pad2: int = u8()


class TimeCapabilities(Layout):
    """EFI_TIME_CAPABILITIES (8.3.1)."""

    NAME = "EFI_TIME_CAPABILITIES"

    Resolution: int = u32()
    Accuracy: int = u32()
    SetsToZero: int = u8()


class CapsuleHeader(Layout):
    """EFI_CAPSULE_HEADER (8.5.3)."""

    NAME = "EFI_CAPSULE_HEADER"

    CapsuleGuid: bytes = guid()
    HeaderSize: int = u32()
    Flags: int = u32()
    CapsuleImageSize: int = u32()
