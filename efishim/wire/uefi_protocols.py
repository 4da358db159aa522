"""Interfaces of protocols and their data structures: UEFI 2.10, chapters 9 to 37. See uefi.py for the two pointer widths."""

from __future__ import annotations

from efishim.wire.layout import Layout, array, pointer, u8, u16, u32, u64


class LoadedImageProtocol(Layout):
    """EFI_LOADED_IMAGE_PROTOCOL (9.1.1)."""

    NAME = "EFI_LOADED_IMAGE_PROTOCOL"

    Revision: int = u32()
    ParentHandle: int = pointer()
    SystemTable: int = pointer()
    DeviceHandle: int = pointer()
    FilePath: int = pointer()
    Reserved: int = pointer()
    LoadOptionsSize: int = u32()
    LoadOptions: int = pointer()
    ImageBase: int = pointer()
    ImageSize: int = u64()
    ImageCodeType: int = u32()
    ImageDataType: int = u32()
    Unload: int = pointer()


LOADED_IMAGE_PROTOCOL_REVISION = 0x1000


class DevicePathNode(Layout):
    """EFI_DEVICE_PATH_PROTOCOL (10.2): the header of each node."""

    NAME = "EFI_DEVICE_PATH_PROTOCOL"

    Type: int = u8()
    SubType: int = u8()
    Length: int = u16()


class PciPath(Layout):
    """PCI Device Path (10.3.2.1) behind its header."""

    SIZE = 2

    function: int = u8(0)
    device: int = u8(1)


class MemoryMappedPath(Layout):
    """Memory Mapped Device Path (10.3.2.3) behind its header; `end` is the last byte."""

    SIZE = 20

    memory_type: int = u32(0)
    start: int = u64(4)
    end: int = u64(12)


class AcpiPath(Layout):
    """ACPI Device Path (10.3.3) behind its header."""

    SIZE = 8

    hid: int = u32(0)
    uid: int = u32(4)


class DriverBindingProtocol(Layout):
    """EFI_DRIVER_BINDING_PROTOCOL (11.1.1)."""

    NAME = "EFI_DRIVER_BINDING_PROTOCOL"

    Supported: int = pointer()
    Start: int = pointer()
    Stop: int = pointer()
    Version: int = u32()
    ImageHandle: int = pointer()
    DriverBindingHandle: int = pointer()


class SimpleTextInputProtocol(Layout):
    """EFI_SIMPLE_TEXT_INPUT_PROTOCOL (12.3.3)."""

    NAME = "EFI_SIMPLE_TEXT_INPUT_PROTOCOL"

    Reset: int = pointer()
    ReadKeyStroke: int = pointer()
    WaitForKey: int = pointer()


class InputKey(Layout):
    """EFI_INPUT_KEY (12.3.3)."""

    NAME = "EFI_INPUT_KEY"

    ScanCode: int = u16()
    UnicodeChar: int = u16()


class SimpleTextInputExProtocol(Layout):
    """EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL (12.2.2)."""

    NAME = "EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL"

    Reset: int = pointer()
    ReadKeyStrokeEx: int = pointer()
    WaitForKeyEx: int = pointer()
    SetState: int = pointer()
    RegisterKeyNotify: int = pointer()
    UnregisterKeyNotify: int = pointer()


class KeyData(Layout):
    """EFI_KEY_DATA (12.2.2)."""

    NAME = "EFI_KEY_DATA"

    ScanCode: int = u16()
    UnicodeChar: int = u16()
    KeyShiftState: int = u32()
    KeyToggleState: int = u8()


class SimpleTextOutputProtocol(Layout):
    """EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL (12.4.1)."""

    NAME = "EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL"

    Reset: int = pointer()
    OutputString: int = pointer()
    TestString: int = pointer()
    QueryMode: int = pointer()
    SetMode: int = pointer()
    SetAttribute: int = pointer()
    ClearScreen: int = pointer()
    SetCursorPosition: int = pointer()
    EnableCursor: int = pointer()
    Mode: int = pointer()


class SimpleTextOutputMode(Layout):
    """SIMPLE_TEXT_OUTPUT_MODE (12.4.1)."""

    NAME = "SIMPLE_TEXT_OUTPUT_MODE"

    MaxMode: int = u32()
    Mode: int = u32()
    Attribute: int = u32()
    CursorColumn: int = u32()
    CursorRow: int = u32()
    CursorVisible: int = u8()


class GraphicsOutputProtocol(Layout):
    """EFI_GRAPHICS_OUTPUT_PROTOCOL (12.9.2)."""

    NAME = "EFI_GRAPHICS_OUTPUT_PROTOCOL"

    QueryMode: int = pointer()
    SetMode: int = pointer()
    Blt: int = pointer()
    Mode: int = pointer()


class GraphicsOutputMode(Layout):
    """EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE (12.9.2)."""

    NAME = "EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE"

    MaxMode: int = u32()
    Mode: int = u32()
    Info: int = pointer()
    SizeOfInfo: int = pointer()
    FrameBufferBase: int = u64()
    FrameBufferSize: int = pointer()


class GraphicsOutputModeInformation(Layout):
    """EFI_GRAPHICS_OUTPUT_MODE_INFORMATION (12.9.2)."""

    NAME = "EFI_GRAPHICS_OUTPUT_MODE_INFORMATION"

    Version: int = u32()
    HorizontalResolution: int = u32()
    VerticalResolution: int = u32()
    PixelFormat: int = u32()
    RedMask: int = u32()
    GreenMask: int = u32()
    BlueMask: int = u32()
    ReservedMask: int = u32()
    PixelsPerScanLine: int = u32()


class LoadFile2Protocol(Layout):
    """EFI_LOAD_FILE2_PROTOCOL (13.1.1), the same shape as EFI_LOAD_FILE_PROTOCOL."""

    NAME = "EFI_LOAD_FILE2_PROTOCOL"

    LoadFile: int = pointer()


class SimpleFileSystemProtocol(Layout):
    """EFI_SIMPLE_FILE_SYSTEM_PROTOCOL (13.4.1)."""

    NAME = "EFI_SIMPLE_FILE_SYSTEM_PROTOCOL"

    Revision: int = u64()
    OpenVolume: int = pointer()


SIMPLE_FILE_SYSTEM_PROTOCOL_REVISION = 0x10000


class FileProtocol(Layout):
    """EFI_FILE_PROTOCOL (13.5.1), revision 1: without the functions that take tokens."""

    NAME = "EFI_FILE_PROTOCOL"

    Revision: int = u64()
    Open: int = pointer()
    Close: int = pointer()
    Delete: int = pointer()
    Read: int = pointer()
    Write: int = pointer()
    GetPosition: int = pointer()
    SetPosition: int = pointer()
    GetInfo: int = pointer()
    SetInfo: int = pointer()
    Flush: int = pointer()


FILE_PROTOCOL_REVISION = 0x10000


class FileInfo(Layout):
    """EFI_FILE_INFO (13.5.16), up to the name at its end. The times are EFI_TIME."""

    NAME = "EFI_FILE_INFO"

    Size: int = u64()
    FileSize: int = u64()
    PhysicalSize: int = u64()
    CreateTime0: int = u64()
    CreateTime1: int = u64()
    LastAccessTime0: int = u64()
    LastAccessTime1: int = u64()
    ModificationTime0: int = u64()
    ModificationTime1: int = u64()
    Attribute: int = u64()


class FileSystemInfoHead(Layout):
    """EFI_FILE_SYSTEM_INFO (13.5.17), up to the label at its end."""

    NAME = "EFI_FILE_SYSTEM_INFO"

    Size: int = u64()
    ReadOnly: int = u8()
    Pad0: int = u8()
    Pad1: int = u8()
    Pad2: int = u8()
    Pad3: int = u8()
    Pad4: int = u8()
    Pad5: int = u8()
    Pad6: int = u8()
    VolumeSize: int = u64()
    FreeSpace: int = u64()
    BlockSize: int = u32()


class BlockIoMedia(Layout):
    """EFI_BLOCK_IO_MEDIA (13.9.1)."""

    NAME = "EFI_BLOCK_IO_MEDIA"

    MediaId: int = u32()
    RemovableMedia: int = u8()
    MediaPresent: int = u8()
    LogicalPartition: int = u8()
    ReadOnly: int = u8()
    WriteCaching: int = u8()
    BlockSize: int = u32()
    IoAlign: int = u32()
    LastBlock: int = u64()
    LowestAlignedLba: int = u64()
    LogicalBlocksPerPhysicalBlock: int = u32()
    OptimalTransferLengthGranularity: int = u32()


class BlockIoProtocol(Layout):
    """EFI_BLOCK_IO_PROTOCOL (13.9.1)."""

    NAME = "EFI_BLOCK_IO_PROTOCOL"

    Revision: int = u64()
    Media: int = pointer()
    Reset: int = pointer()
    ReadBlocks: int = pointer()
    WriteBlocks: int = pointer()
    FlushBlocks: int = pointer()


BLOCK_IO_PROTOCOL_REVISION = 0x2001F
"""EFI_BLOCK_IO_PROTOCOL_REVISION3."""


class DiskIoProtocol(Layout):
    """EFI_DISK_IO_PROTOCOL (13.7.1)."""

    NAME = "EFI_DISK_IO_PROTOCOL"

    Revision: int = u64()
    ReadDisk: int = pointer()
    WriteDisk: int = pointer()


DISK_IO_PROTOCOL_REVISION = 0x10000


class HardDrivePath(Layout):
    """Hard Drive Media Device Path (10.3.5.1) behind its header."""

    SIZE = 38

    partition_number: int = u32(0)
    partition_start: int = u64(4)
    partition_size: int = u64(12)
    signature: bytes = array(20, 16)
    format: int = u8(36)
    signature_type: int = u8(37)


class SystemTablePointer(Layout):
    """EFI_SYSTEM_TABLE_POINTER (18.4.2): lies on a 4 MiB boundary, for debuggers."""

    NAME = "EFI_SYSTEM_TABLE_POINTER"

    Signature: int = u64()
    EfiSystemTableBase: int = u64()
    Crc32: int = u32()


class DebugImageInfoTableHeader(Layout):
    """EFI_DEBUG_IMAGE_INFO_TABLE_HEADER (18.4.3)."""

    NAME = "EFI_DEBUG_IMAGE_INFO_TABLE_HEADER"

    UpdateStatus: int = u32()
    TableSize: int = u32()
    EfiDebugImageInfoTable: int = pointer()


class DebugImageInfoNormal(Layout):
    """EFI_DEBUG_IMAGE_INFO_NORMAL (18.4.3)."""

    NAME = "EFI_DEBUG_IMAGE_INFO_NORMAL"

    ImageInfoType: int = u32()
    LoadedImageProtocolInstance: int = pointer()
    ImageHandle: int = pointer()


class RngProtocol(Layout):
    """EFI_RNG_PROTOCOL (37.5.1)."""

    NAME = "EFI_RNG_PROTOCOL"

    GetInfo: int = pointer()
    GetRNG: int = pointer()


class MemoryAttributeProtocol(Layout):
    """EFI_MEMORY_ATTRIBUTE_PROTOCOL (37.6)."""

    NAME = "EFI_MEMORY_ATTRIBUTE_PROTOCOL"

    GetMemoryAttributes: int = pointer()
    SetMemoryAttributes: int = pointer()
    ClearMemoryAttributes: int = pointer()
