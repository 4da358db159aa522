"""The structures of UEFI 2.10 that cross between firmware and images, for both widths of pointers.

UEFI types its structures in UINTN and pointers, so each has a 32-bit and a 64-bit form with one declaration. A
`Shape` is that declaration; width 8 is x64 and width 4 is IA-32 (which the mixed mode of Linux needs). Section
numbers are those of UEFI 2.10.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

U8, U16, U32, U64, PTR, GUID = "u8", "u16", "u32", "u64", "ptr", "guid"
"""Kinds of field. `ptr` is a pointer, a handle, a UINTN or anything else that has the machine's width."""

_FIXED = MappingProxyType({U8: ("B", 1), U16: ("H", 2), U32: ("I", 4), U64: ("Q", 8), GUID: ("16s", 8)})
_POINTER = MappingProxyType({4: ("I", 4), 8: ("Q", 8)})


class Shape:
    """A structure: fields in order, naturally aligned (2.3.1: structures are aligned as C does on that processor).

    GUIDs align to 8 as EFI_GUID does on x64; a structure is padded to the largest alignment in it. On IA-32 the
    Microsoft ABI that UEFI follows aligns 64-bit numbers to 8 as well.
    """

    def __init__(self, name: str, fields: str) -> None:
        """`fields` are `Name:kind` words, with `Name:kind*N` for an array of N flattened as Name0, Name1, ..."""
        self.name = name
        self.fields: list[tuple[str, str]] = []
        for word in fields.split():
            field, kind = word.split(":")
            kind, _, count = kind.partition("*")
            self.fields += [(f"{field}{i}", kind) for i in range(int(count))] if count else [(field, kind)]
        self._offsets: dict[int, dict[str, int]] = {}
        self._formats: dict[int, struct.Struct] = {}
        for width in (4, 8):
            self._lay_out(width)

    def _lay_out(self, width: int) -> None:
        at, widest, form = 0, 1, "<"
        offsets: dict[str, int] = {}
        for name, kind in self.fields:
            code, align = _POINTER[width] if kind == PTR else _FIXED[kind]
            if kind == GUID:
                align = 4  # EFI_GUID is a struct of a UINT32, two UINT16 and bytes
            pad = -at % align
            form += f"{pad}x" if pad else ""
            offsets[name] = at + pad
            form += code
            at += pad + struct.calcsize("<" + code)
            widest = max(widest, align)
        pad = -at % widest
        self._offsets[width] = offsets
        self._formats[width] = struct.Struct(form + (f"{pad}x" if pad else ""))

    def size(self, width: int = 8) -> int:
        """Bytes, including the padding at the end."""
        return self._formats[width].size

    def offset(self, field: str, width: int = 8) -> int:
        """Where a field starts, in bytes."""
        return self._offsets[width][field]

    def pack(self, values: Mapping[str, int | bytes], width: int = 8) -> bytes:
        """The bytes; fields that are not given are zero. Raises KeyError for a field that does not exist."""
        unknown = values.keys() - self._offsets[width].keys()
        if unknown:
            raise KeyError(f"{self.name} has no {sorted(unknown)}")
        empty: dict[str, int | bytes] = {GUID: bytes(16)}
        return self._formats[width].pack(*(values.get(name, empty.get(kind, 0)) for name, kind in self.fields))

    def unpack(self, data: bytes | memoryview, width: int = 8, at: int = 0) -> dict[str, int]:
        """Numbers by field name. Structures with GUID fields are read with `unpack_guid` for those."""
        values = self._formats[width].unpack_from(data, at)
        return {name: value for (name, kind), value in zip(self.fields, values, strict=True) if kind != GUID}

    def unpack_guid(self, field: str, data: bytes | memoryview, width: int = 8, at: int = 0) -> bytes:
        """The 16 bytes of a GUID field."""
        start = at + self._offsets[width][field]
        return bytes(data[start : start + 16])


SYSTEM_TABLE_SIGNATURE = 0x5453595320494249  # "IBI SYST" (4.3.1)
BOOT_SERVICES_SIGNATURE = 0x56524553544F4F42  # "BOOTSERV" (4.4.1)
RUNTIME_SERVICES_SIGNATURE = 0x56524553544E5552  # "RUNTSERV" (4.5.1)
REVISION_2_10 = (2 << 16) | 100  # EFI_2_100_SYSTEM_TABLE_REVISION (4.3.1)

# 4.2.1 EFI_TABLE_HEADER
TABLE_HEADER = Shape("EFI_TABLE_HEADER", "Signature:u64 Revision:u32 HeaderSize:u32 CRC32:u32 Reserved:u32")

_HDR = "Signature:u64 Revision:u32 HeaderSize:u32 CRC32:u32 Reserved:u32 "

# 4.3.1 EFI_SYSTEM_TABLE
SYSTEM_TABLE = Shape(
    "EFI_SYSTEM_TABLE",
    _HDR + "FirmwareVendor:ptr FirmwareRevision:u32 ConsoleInHandle:ptr ConIn:ptr ConsoleOutHandle:ptr ConOut:ptr "
    "StandardErrorHandle:ptr StdErr:ptr RuntimeServices:ptr BootServices:ptr NumberOfTableEntries:ptr "
    "ConfigurationTable:ptr",
)

# 4.4.1 EFI_BOOT_SERVICES: the services in the order of the table. The empty place is `Reserved`, it is NULL.
_BOOT_SERVICES = (
    "RaiseTPL RestoreTPL AllocatePages FreePages GetMemoryMap AllocatePool FreePool CreateEvent SetTimer WaitForEvent "
    "SignalEvent CloseEvent CheckEvent InstallProtocolInterface ReinstallProtocolInterface "
    "UninstallProtocolInterface HandleProtocol Reserved RegisterProtocolNotify LocateHandle LocateDevicePath "
    "InstallConfigurationTable LoadImage StartImage Exit UnloadImage ExitBootServices GetNextMonotonicCount Stall "
    "SetWatchdogTimer ConnectController DisconnectController OpenProtocol CloseProtocol OpenProtocolInformation "
    "ProtocolsPerHandle LocateHandleBuffer LocateProtocol InstallMultipleProtocolInterfaces "
    "UninstallMultipleProtocolInterfaces CalculateCrc32 CopyMem SetMem CreateEventEx"
)
BOOT_SERVICES = tuple(_BOOT_SERVICES.split())

# 4.5.1 EFI_RUNTIME_SERVICES
_RUNTIME_SERVICES = (
    "GetTime SetTime GetWakeupTime SetWakeupTime SetVirtualAddressMap ConvertPointer GetVariable "
    "GetNextVariableName SetVariable GetNextHighMonotonicCount ResetSystem UpdateCapsule QueryCapsuleCapabilities "
    "QueryVariableInfo"
)
RUNTIME_SERVICES = tuple(_RUNTIME_SERVICES.split())

BOOT_SERVICES_TABLE = Shape("EFI_BOOT_SERVICES", _HDR + " ".join(f"{name}:ptr" for name in BOOT_SERVICES))
RUNTIME_SERVICES_TABLE = Shape("EFI_RUNTIME_SERVICES", _HDR + " ".join(f"{name}:ptr" for name in RUNTIME_SERVICES))

# 4.6 EFI_CONFIGURATION_TABLE
CONFIGURATION_TABLE = Shape("EFI_CONFIGURATION_TABLE", "VendorGuid:guid VendorTable:ptr")

# 4.6.2 EFI_RT_PROPERTIES_TABLE
RT_PROPERTIES_TABLE = Shape("EFI_RT_PROPERTIES_TABLE", "Version:u16 Length:u16 RuntimeServicesSupported:u32")

# 4.6.4 EFI_MEMORY_ATTRIBUTES_TABLE, without its entries
MEMORY_ATTRIBUTES_TABLE = Shape("EFI_MEMORY_ATTRIBUTES_TABLE", "Version:u32 NumberOfEntries:u32 DescriptorSize:u32 Flags:u32")

# 7.2.3 EFI_MEMORY_DESCRIPTOR
MEMORY_DESCRIPTOR = Shape(
    "EFI_MEMORY_DESCRIPTOR", "Type:u32 PhysicalStart:u64 VirtualStart:u64 NumberOfPages:u64 Attribute:u64"
)
MEMORY_DESCRIPTOR_VERSION = 1

# 7.3.9 EFI_OPEN_PROTOCOL_INFORMATION_ENTRY
OPEN_PROTOCOL_INFORMATION_ENTRY = Shape(
    "EFI_OPEN_PROTOCOL_INFORMATION_ENTRY", "AgentHandle:ptr ControllerHandle:ptr Attributes:u32 OpenCount:u32"
)

# 8.3.1 EFI_TIME and EFI_TIME_CAPABILITIES
TIME = Shape(
    "EFI_TIME",
    "Year:u16 Month:u8 Day:u8 Hour:u8 Minute:u8 Second:u8 Pad1:u8 Nanosecond:u32 TimeZone:u16 Daylight:u8 Pad2:u8",
)
TIME_CAPABILITIES = Shape("EFI_TIME_CAPABILITIES", "Resolution:u32 Accuracy:u32 SetsToZero:u8")

# 8.5.3 EFI_CAPSULE_HEADER
CAPSULE_HEADER = Shape("EFI_CAPSULE_HEADER", "CapsuleGuid:guid HeaderSize:u32 Flags:u32 CapsuleImageSize:u32")

# 9.1.1 EFI_LOADED_IMAGE_PROTOCOL
LOADED_IMAGE_PROTOCOL = Shape(
    "EFI_LOADED_IMAGE_PROTOCOL",
    "Revision:u32 ParentHandle:ptr SystemTable:ptr DeviceHandle:ptr FilePath:ptr Reserved:ptr LoadOptionsSize:u32 "
    "LoadOptions:ptr ImageBase:ptr ImageSize:u64 ImageCodeType:u32 ImageDataType:u32 Unload:ptr",
)
LOADED_IMAGE_PROTOCOL_REVISION = 0x1000

# 10.2 EFI_DEVICE_PATH_PROTOCOL: the header of each node
DEVICE_PATH_NODE = Shape("EFI_DEVICE_PATH_PROTOCOL", "Type:u8 SubType:u8 Length:u16")

# 11.1.1 EFI_DRIVER_BINDING_PROTOCOL
DRIVER_BINDING_PROTOCOL = Shape(
    "EFI_DRIVER_BINDING_PROTOCOL", "Supported:ptr Start:ptr Stop:ptr Version:u32 ImageHandle:ptr DriverBindingHandle:ptr"
)

# 12.3.3 EFI_SIMPLE_TEXT_INPUT_PROTOCOL and EFI_INPUT_KEY; 12.2.2 the Ex form
SIMPLE_TEXT_INPUT_PROTOCOL = Shape("EFI_SIMPLE_TEXT_INPUT_PROTOCOL", "Reset:ptr ReadKeyStroke:ptr WaitForKey:ptr")
INPUT_KEY = Shape("EFI_INPUT_KEY", "ScanCode:u16 UnicodeChar:u16")
SIMPLE_TEXT_INPUT_EX_PROTOCOL = Shape(
    "EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL",
    "Reset:ptr ReadKeyStrokeEx:ptr WaitForKeyEx:ptr SetState:ptr RegisterKeyNotify:ptr UnregisterKeyNotify:ptr",
)
KEY_DATA = Shape("EFI_KEY_DATA", "ScanCode:u16 UnicodeChar:u16 KeyShiftState:u32 KeyToggleState:u8")

# 12.4.1 EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL and SIMPLE_TEXT_OUTPUT_MODE
SIMPLE_TEXT_OUTPUT_PROTOCOL = Shape(
    "EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL",
    "Reset:ptr OutputString:ptr TestString:ptr QueryMode:ptr SetMode:ptr SetAttribute:ptr ClearScreen:ptr "
    "SetCursorPosition:ptr EnableCursor:ptr Mode:ptr",
)
SIMPLE_TEXT_OUTPUT_MODE = Shape(
    "SIMPLE_TEXT_OUTPUT_MODE", "MaxMode:u32 Mode:u32 Attribute:u32 CursorColumn:u32 CursorRow:u32 CursorVisible:u8"
)

# 12.9.2 EFI_GRAPHICS_OUTPUT_PROTOCOL, its mode, and EFI_GRAPHICS_OUTPUT_MODE_INFORMATION
GRAPHICS_OUTPUT_PROTOCOL = Shape("EFI_GRAPHICS_OUTPUT_PROTOCOL", "QueryMode:ptr SetMode:ptr Blt:ptr Mode:ptr")
GRAPHICS_OUTPUT_MODE = Shape(
    "EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE",
    "MaxMode:u32 Mode:u32 Info:ptr SizeOfInfo:ptr FrameBufferBase:u64 FrameBufferSize:ptr",
)
GRAPHICS_OUTPUT_MODE_INFORMATION = Shape(
    "EFI_GRAPHICS_OUTPUT_MODE_INFORMATION",
    "Version:u32 HorizontalResolution:u32 VerticalResolution:u32 PixelFormat:u32 RedMask:u32 GreenMask:u32 "
    "BlueMask:u32 ReservedMask:u32 PixelsPerScanLine:u32",
)

# 13.1.1 EFI_LOAD_FILE2_PROTOCOL (the same shape as EFI_LOAD_FILE_PROTOCOL)
LOAD_FILE2_PROTOCOL = Shape("EFI_LOAD_FILE2_PROTOCOL", "LoadFile:ptr")

# 13.4.1 EFI_SIMPLE_FILE_SYSTEM_PROTOCOL
SIMPLE_FILE_SYSTEM_PROTOCOL = Shape("EFI_SIMPLE_FILE_SYSTEM_PROTOCOL", "Revision:u64 OpenVolume:ptr")
SIMPLE_FILE_SYSTEM_PROTOCOL_REVISION = 0x10000

# 13.5.1 EFI_FILE_PROTOCOL, revision 1: without the functions that take tokens
FILE_PROTOCOL = Shape(
    "EFI_FILE_PROTOCOL",
    "Revision:u64 Open:ptr Close:ptr Delete:ptr Read:ptr Write:ptr GetPosition:ptr SetPosition:ptr GetInfo:ptr "
    "SetInfo:ptr Flush:ptr",
)
FILE_PROTOCOL_REVISION = 0x10000

# 13.5.16 EFI_FILE_INFO and 13.5.17 EFI_FILE_SYSTEM_INFO, up to the name and the label at their ends. The times are EFI_TIME.
FILE_INFO = Shape(
    "EFI_FILE_INFO",
    "Size:u64 FileSize:u64 PhysicalSize:u64 CreateTime:u64*2 LastAccessTime:u64*2 ModificationTime:u64*2 Attribute:u64",
)
FILE_SYSTEM_INFO_HEAD = Shape(
    "EFI_FILE_SYSTEM_INFO", "Size:u64 ReadOnly:u8 Pad:u8*7 VolumeSize:u64 FreeSpace:u64 BlockSize:u32"
)

# 37.5.1 EFI_RNG_PROTOCOL
RNG_PROTOCOL = Shape("EFI_RNG_PROTOCOL", "GetInfo:ptr GetRNG:ptr")

# 37.6 EFI_MEMORY_ATTRIBUTE_PROTOCOL
MEMORY_ATTRIBUTE_PROTOCOL = Shape(
    "EFI_MEMORY_ATTRIBUTE_PROTOCOL", "GetMemoryAttributes:ptr SetMemoryAttributes:ptr ClearMemoryAttributes:ptr"
)
