"""Which faults a boot has: its calls, and for each of them a status that the specification lets it fail with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from efishim.injection import MEMORY
from efishim.lab.plan.faults import is_bios
from efishim.lab.record import FirmwareCall, LedgerKind, Record
from efishim.wire.xen import Call, Errno

OUT_OF_RESOURCES, NOT_FOUND, INVALID = "EFI_OUT_OF_RESOURCES", "EFI_NOT_FOUND", "EFI_INVALID_PARAMETER"
DEVICE_ERROR, UNSUPPORTED = "EFI_DEVICE_ERROR", "EFI_UNSUPPORTED"

_STATUS = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("AllocatePages", "AllocatePool", "CreateEvent", "CreateEventEx", "InstallProtocolInterface"),
                *("InstallMultipleProtocolInterfaces", "InstallConfigurationTable", "ProtocolsPerHandle", "LoadImage"),
            ),
            OUT_OF_RESOURCES,
        ),
        **dict.fromkeys(
            (
                *("LocateProtocol", "LocateHandle", "LocateHandleBuffer", "LocateDevicePath", "FreePages", "LoadFile"),
                *("UninstallProtocolInterface", "CloseProtocol", "GetVariable", "GetNextVariableName"),
            ),
            NOT_FOUND,
        ),
        **dict.fromkeys(("HandleProtocol", "OpenProtocol", "SetVirtualAddressMap", "SetWatchdogTimer"), UNSUPPORTED),
        **dict.fromkeys(("FreePool", "GetMemoryMap", "ExitBootServices", "CloseEvent", "SignalEvent", "SetTimer"), INVALID),
    }
)
"""One of the statuses that the description of each function has (UEFI 2.10, chapters 7, 8 and 13); DEVICE_ERROR for others."""

BIOS_STATUS = "86"
HYPERCALLS_NOT_FAILED = frozenset({Call.SCHED_OP.name.lower()})
"""A guest that cannot give the processor away hangs, whatever it is."""


@dataclass(frozen=True, slots=True)
class Possible:
    """A fault that can be tried."""

    text: str
    service: str
    number: int
    status: str
    asked: str = ""
    before: str = ""


def possible(whole: Record) -> list[Possible]:
    """Every fault of a boot, in the order of its calls; then all allocations from one on; then the first call of each
    operation of the hypervisor.
    """
    return [*_calls(whole), *_memory(whole), *_hypercalls(whole)]


def status_for(service: str) -> str:
    """What a function of the firmware is made to answer."""
    return _STATUS.get(service.rpartition(".")[2], DEVICE_ERROR)


def _calls(whole: Record) -> Iterator[Possible]:
    counts: Counter[str] = Counter()
    for call in whole.firmware_calls:
        service, bios = call.service, is_bios(call.service)
        first = counts[service] + 1
        counts[service] += call.repeats
        if not bios and not call.status.startswith("EFI_"):
            continue  # returns no status, or never
        status = BIOS_STATUS if bios else status_for(service)
        if status != call.status:
            yield Possible(f"{service}:{first}={status}", service, first, status, _asked(call), call.status)


def _asked(call: FirmwareCall) -> str:
    """The arguments that say which of many things a call is about."""
    names = ("Protocol", "VariableName", "Guid", "MemoryType", "PoolType", "String")
    return ", ".join(one.value for one in call.args if one.name in names and one.value != "NULL")[:200]


def _memory(whole: Record) -> Iterator[Possible]:
    allocations = sum(
        call.service in ("BootServices.AllocatePages", "BootServices.AllocatePool") for call in whole.firmware_calls
    )
    for number in range(1, allocations + 1):
        yield Possible(f"{MEMORY}:{number}+={OUT_OF_RESOURCES}", MEMORY, number, OUT_OF_RESOURCES, asked="from here on")


def _hypercalls(whole: Record) -> Iterator[Possible]:
    for entry in whole.ledger:
        name = entry.what.partition(".")[0]
        if entry.kind is LedgerKind.HYPERCALL and entry.device == "Xen" and name not in HYPERCALLS_NOT_FAILED:
            status = Errno.ENOSYS.name
            yield Possible(f"{entry.what}:1={status}", entry.what, 1, status)
