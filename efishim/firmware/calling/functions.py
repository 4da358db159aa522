"""How the functions that firmware offers to images are declared, and those of its two tables of services.

One line per function: its table or protocol, its section of UEFI 2.10, its name and its parameters. The dispatcher takes
the arguments by it, and the call log names and decodes them by it. Every protocol has the lines of its own functions in
its own file. Kinds of parameters:

    ptr uintn u64 u32 u16 u8 bool   numbers of that width (the upper bits of a narrower argument are undefined)
    handle event tpl status         opaque values with their own way of showing
    guid str path                   pointers to a GUID, a CHAR16 string, a device path
    allocate_type memory_type timer_delay locate_search interface_type reset_type   enumerations
    >kind  &kind                    pointer to something written back; to something read and written
    ...                             more arguments follow, the function takes what it needs

A trailing `?` marks a parameter that the specification calls OPTIONAL. `= TPL` or `= VOID` behind the parameters is what
comes back instead of a status, and `! words` says what a function that is not implemented answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from efishim.wire.uefi import MEMORY_TYPES

WIDTHS = MappingProxyType({"u64": 8, "u32": 4, "u16": 2, "u8": 1, "bool": 1, "i32": 4})
ENUMERATION_WIDTH = 4

ENUMERATIONS = MappingProxyType(
    {
        "allocate_type": ("AllocateAnyPages", "AllocateMaxAddress", "AllocateAddress"),
        "memory_type": MEMORY_TYPES,
        "timer_delay": ("TimerCancel", "TimerPeriodic", "TimerRelative"),
        "locate_search": ("AllHandles", "ByRegisterNotify", "ByProtocol"),
        "interface_type": ("EFI_NATIVE_INTERFACE",),
        "reset_type": ("EfiResetCold", "EfiResetWarm", "EfiResetShutdown", "EfiResetPlatformSpecific"),
    }
)
"""Enumeration members by value (UEFI 2.10: 7.2.1, 7.1.7, 7.3.2, 7.3.14, 8.5.1)."""


class Returns(Enum):
    """What comes back in RAX."""

    STATUS = "EFI_STATUS"
    TPL = "EFI_TPL"
    VOID = "VOID"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `way` is `in`, `out` or `inout`, `kind` as in this module's table."""

    name: str
    kind: str
    way: str = "in"
    optional: bool = False

    @property
    def width(self) -> int:
        """Bytes that the callee may look at; 0 stands for the width of a pointer."""
        if self.way != "in":
            return 0
        return ENUMERATION_WIDTH if self.kind in ENUMERATIONS else WIDTHS.get(self.kind, 0)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a table or protocol. `answer` says, in words, what a function that is not implemented answers."""

    table: str
    name: str
    section: str
    parameters: tuple[Parameter, ...]
    returns: Returns = Returns.STATUS
    variadic: bool = False
    answer: str = ""

    @property
    def full_name(self) -> str:
        """`BootServices.AllocatePages`."""
        return f"{self.table}.{self.name}"

    @property
    def implemented(self) -> bool:
        """Does it do what the specification says, and not only answer?"""
        return not self.answer


def _parameter(word: str) -> Parameter:
    name, kind = word.split(":")
    optional = kind.endswith("?")
    kind = kind.rstrip("?")
    way = {">": "out", "&": "inout"}.get(kind[0], "in")
    return Parameter(name, kind.lstrip(">&"), way, optional)


def _functions(rows: str) -> Iterator[Function]:
    for line in rows.strip().splitlines():
        head, _, answer = line.partition(" ! ")
        head, _, returns = head.partition(" = ")
        table, section, name, *words = head.split()
        yield Function(
            table,
            name,
            section,
            tuple(_parameter(word) for word in words if word != "..."),
            Returns[returns] if returns else Returns.STATUS,
            variadic="..." in words,
            answer=answer,
        )


def functions(rows: str) -> tuple[Function, ...]:
    """The functions that these lines declare, in their order."""
    return tuple(_functions(rows))


def by_full_name(functions: Iterable[Function]) -> Mapping[str, Function]:
    """Functions by `Table.Name`, in their order."""
    return MappingProxyType({function.full_name: function for function in functions})


BOOT_FUNCTIONS = functions(
    """
    BootServices 7.1.8  RaiseTPL NewTpl:tpl = TPL
    BootServices 7.1.9  RestoreTPL OldTpl:tpl = VOID
    BootServices 7.2.1  AllocatePages Type:allocate_type MemoryType:memory_type Pages:uintn Memory:&u64
    BootServices 7.2.2  FreePages Memory:u64 Pages:uintn
    BootServices 7.2.3  GetMemoryMap MemoryMapSize:&uintn MemoryMap:ptr? MapKey:>uintn DescriptorSize:>uintn DescriptorVersion:>u32
    BootServices 7.2.4  AllocatePool PoolType:memory_type Size:uintn Buffer:>ptr
    BootServices 7.2.5  FreePool Buffer:ptr
    BootServices 7.1.1  CreateEvent Type:u32 NotifyTpl:tpl NotifyFunction:ptr? NotifyContext:ptr? Event:>ptr
    BootServices 7.1.7  SetTimer Event:event Type:timer_delay TriggerTime:u64
    BootServices 7.1.5  WaitForEvent NumberOfEvents:uintn Event:ptr Index:>uintn
    BootServices 7.1.4  SignalEvent Event:event
    BootServices 7.1.3  CloseEvent Event:event
    BootServices 7.1.6  CheckEvent Event:event
    BootServices 7.3.2  InstallProtocolInterface Handle:&handle Protocol:guid InterfaceType:interface_type Interface:ptr?
    BootServices 7.3.4  ReinstallProtocolInterface Handle:handle Protocol:guid OldInterface:ptr? NewInterface:ptr?
    BootServices 7.3.3  UninstallProtocolInterface Handle:handle Protocol:guid Interface:ptr?
    BootServices 7.3.7  HandleProtocol Handle:handle Protocol:guid Interface:>ptr
    BootServices 7.3.5  RegisterProtocolNotify Protocol:guid Event:event Registration:>ptr
    BootServices 7.3.6  LocateHandle SearchType:locate_search Protocol:guid? SearchKey:ptr? BufferSize:&uintn Buffer:ptr?
    BootServices 7.3.8  LocateDevicePath Protocol:guid DevicePath:&path Device:>handle
    BootServices 7.5.8  InstallConfigurationTable Guid:guid Table:ptr?
    BootServices 7.4.1  LoadImage BootPolicy:bool ParentImageHandle:handle DevicePath:path? SourceBuffer:ptr? SourceSize:uintn ImageHandle:>handle
    BootServices 7.4.2  StartImage ImageHandle:handle ExitDataSize:>uintn ExitData:>ptr?
    BootServices 7.4.5  Exit ImageHandle:handle ExitStatus:status ExitDataSize:uintn ExitData:ptr?
    BootServices 7.4.3  UnloadImage ImageHandle:handle
    BootServices 7.4.6  ExitBootServices ImageHandle:handle MapKey:uintn
    BootServices 7.5.5  GetNextMonotonicCount Count:>u64
    BootServices 7.5.2  Stall Microseconds:uintn
    BootServices 7.5.1  SetWatchdogTimer Timeout:uintn WatchdogCode:u64 DataSize:uintn WatchdogData:ptr?
    BootServices 7.3.12 ConnectController ControllerHandle:handle DriverImageHandle:ptr? RemainingDevicePath:path? Recursive:bool
    BootServices 7.3.13 DisconnectController ControllerHandle:handle DriverImageHandle:handle? ChildHandle:handle?
    BootServices 7.3.9  OpenProtocol Handle:handle Protocol:guid Interface:>ptr? AgentHandle:handle ControllerHandle:handle? Attributes:u32
    BootServices 7.3.10 CloseProtocol Handle:handle Protocol:guid AgentHandle:handle ControllerHandle:handle?
    BootServices 7.3.11 OpenProtocolInformation Handle:handle Protocol:guid EntryBuffer:>ptr EntryCount:>uintn
    BootServices 7.3.14 ProtocolsPerHandle Handle:handle ProtocolBuffer:>ptr ProtocolBufferCount:>uintn
    BootServices 7.3.15 LocateHandleBuffer SearchType:locate_search Protocol:guid? SearchKey:ptr? NoHandles:>uintn Buffer:>ptr
    BootServices 7.3.16 LocateProtocol Protocol:guid Registration:ptr? Interface:>ptr
    BootServices 7.3.17 InstallMultipleProtocolInterfaces Handle:&handle ...
    BootServices 7.3.18 UninstallMultipleProtocolInterfaces Handle:handle ...
    BootServices 7.5.6  CalculateCrc32 Data:ptr DataSize:uintn Crc32:>u32
    BootServices 7.5.3  CopyMem Destination:ptr Source:ptr Length:uintn = VOID
    BootServices 7.5.4  SetMem Buffer:ptr Size:uintn Value:u8 = VOID
    BootServices 7.1.2  CreateEventEx Type:u32 NotifyTpl:tpl NotifyFunction:ptr? NotifyContext:ptr? EventGroup:guid? Event:>ptr
    """  # noqa: E501 - one line per function is what makes the table readable
)

RUNTIME_FUNCTIONS = functions(
    """
    RuntimeServices 8.3.1 GetTime Time:>time Capabilities:ptr?
    RuntimeServices 8.3.2 SetTime Time:&time
    RuntimeServices 8.3.3 GetWakeupTime Enabled:>u8 Pending:>u8 Time:>time
    RuntimeServices 8.3.4 SetWakeupTime Enable:bool Time:&time?
    RuntimeServices 8.4.1 SetVirtualAddressMap MemoryMapSize:uintn DescriptorSize:uintn DescriptorVersion:u32 VirtualMap:ptr
    RuntimeServices 8.4.2 ConvertPointer DebugDisposition:uintn Address:&ptr
    RuntimeServices 8.2.1 GetVariable VariableName:str VendorGuid:guid Attributes:>u32? DataSize:&uintn Data:ptr?
    RuntimeServices 8.2.2 GetNextVariableName VariableNameSize:&uintn VariableName:&str VendorGuid:&guid
    RuntimeServices 8.2.3 SetVariable VariableName:str VendorGuid:guid Attributes:u32 DataSize:uintn Data:ptr?
    RuntimeServices 8.5.2 GetNextHighMonotonicCount HighCount:>u32
    RuntimeServices 8.5.1 ResetSystem ResetType:reset_type ResetStatus:status DataSize:uintn ResetData:ptr? = VOID
    RuntimeServices 8.5.3 UpdateCapsule CapsuleHeaderArray:ptr CapsuleCount:uintn ScatterGatherList:u64? ! EFI_UNSUPPORTED: there is no flash to update
    RuntimeServices 8.5.3 QueryCapsuleCapabilities CapsuleHeaderArray:ptr CapsuleCount:uintn MaximumCapsuleSize:>u64 ResetType:>u32 ! EFI_UNSUPPORTED: there is no flash to update
    RuntimeServices 8.2.4 QueryVariableInfo Attributes:u32 MaximumVariableStorageSize:>u64 RemainingVariableStorageSize:>u64 MaximumVariableSize:>u64
    """  # noqa: E501 - one line per function is what makes the table readable
)

SERVICES = by_full_name((*BOOT_FUNCTIONS, *RUNTIME_FUNCTIONS))
"""Of both tables."""
