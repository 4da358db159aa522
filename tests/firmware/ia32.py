"""32-bit EFI programs on the emulated processor: a script of calls that real 32-bit code makes, and what came of it.

Offsets are those of the specification's structures with four-byte pointers, written down here once more.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

import efishim_firmware_stubs

from efishim.firmware.calling.architecture import Architecture
from efishim.firmware.shim import Shim, ShimConfig
from efishim.machine.machine import Machine, Stop
from efishim.wire.guids import guid_bytes
from tests.support.images import SectionSpec, build_pe
from tests.support.protocols import add_shipped

RAM = 64 << 20
BASE = 0x400000
TEXT, STATE, SCRIPT, HEAP, FILE, END = 0x401000, 0x402000, 0x403000, 0x405000, 0x408000, 0x409000
HANDLE, SYSTEM_TABLE, BOOT, RUNTIME, CON_OUT = (STATE + 4 * n for n in range(5))
COUNT, EVENT, CONTEXT, KEPT = (STATE + 0x20 + 4 * n for n in range(4))
NOTIFY, LOAD_FILE = 0x401100, 0x401140
FILE_SIZE = 0x600
MEMORY = ((0, 0xA0000, 1), (1 << 20, RAM - (1 << 20), 1))

_BOOT_SERVICES = (
    "RaiseTPL RestoreTPL AllocatePages FreePages GetMemoryMap AllocatePool FreePool CreateEvent SetTimer WaitForEvent "
    "SignalEvent CloseEvent CheckEvent InstallProtocolInterface ReinstallProtocolInterface UninstallProtocolInterface "
    "HandleProtocol Reserved RegisterProtocolNotify LocateHandle LocateDevicePath InstallConfigurationTable LoadImage "
    "StartImage Exit UnloadImage ExitBootServices GetNextMonotonicCount Stall SetWatchdogTimer ConnectController "
    "DisconnectController OpenProtocol CloseProtocol OpenProtocolInformation ProtocolsPerHandle LocateHandleBuffer "
    "LocateProtocol InstallMultipleProtocolInterfaces UninstallMultipleProtocolInterfaces CalculateCrc32 CopyMem SetMem "
    "CreateEventEx"
)
_RUNTIME_SERVICES = (
    "GetTime SetTime GetWakeupTime SetWakeupTime SetVirtualAddressMap ConvertPointer GetVariable GetNextVariableName "
    "SetVariable GetNextHighMonotonicCount ResetSystem UpdateCapsule QueryCapsuleCapabilities QueryVariableInfo"
)
BOOT_SERVICES, RUNTIME_SERVICES = _BOOT_SERVICES.split(), _RUNTIME_SERVICES.split()

SUCCESS = 0
ERROR = 1 << 31
INVALID, UNSUPPORTED, TOO_SMALL, OUT_OF_RESOURCES, NOT_FOUND = (ERROR | n for n in (2, 3, 5, 9, 14))
"""Appendix D: the error bit of a 32-bit EFI_STATUS is bit 31."""


@dataclass(frozen=True)
class At:
    """An argument that the program reads from memory when it makes the call."""

    address: int


@dataclass(frozen=True)
class Wide:
    """A 64-bit argument: two slots."""

    value: int


Argument = int | At | Wide


def machine_of(**config: Any) -> tuple[Machine, Shim, list[str]]:
    """A machine without devices under 32-bit firmware, and the firmware's console."""
    machine = Machine()
    machine.memory.add(0, config.pop("ram", RAM))
    machine.power_on()
    console: list[str] = []
    chosen = ShimConfig(memory=MEMORY, seed=7, epoch=1_000_000_000, architecture=Architecture.IA32)
    shim = Shim(machine, replace(chosen, **config), console.append, add_shipped)
    machine.on_fetch_fault = shim.on_fetch_fault
    return machine, shim, console


def image(code: bytes, *, size: int = 0x1000, base: int = BASE) -> bytes:
    """An IA-32 application that can lie at `base` only, of code at RVA 0x1000."""
    section = SectionSpec(b".text", 0x1000, code, size, 0xE0000020)
    return build_pe([section], machine=0x14C, plus=False, image_base=base, size_of_image=0x1000 + size, characteristics=0x0103)


class Program:
    """A script in the making, and its run. `put` and `cell` give addresses in the program's memory."""

    def __init__(self, **config: Any) -> None:
        self.machine, self.shim, self.console = machine_of(**config)
        code = efishim_firmware_stubs.load("ia32/script.bin")
        self.image = self.shim.load(image(code, size=END - TEXT))
        self._script = bytearray()
        self._results: list[int] = []
        self._heap = HEAP

    def put(self, data: bytes) -> int:
        """Bytes in the program's memory."""
        address = self._heap
        self._heap += -(-len(data) // 16) * 16 + 16
        assert self._heap <= FILE
        self.machine.memory.write(address, data)
        return address

    def cell(self, *words: int) -> int:
        """Words of four bytes; one zero unless given."""
        return self.put(struct.pack(f"<{len(words) or 1}I", *(words or (0,))))

    def text(self, text: str) -> int:
        """A CHAR16 string."""
        return self.put(text.encode("utf-16-le") + b"\0\0")

    def guid(self, guid: str) -> int:
        """A GUID."""
        return self.put(guid_bytes(guid))

    def call(self, cell: int, offset: int, *arguments: Argument) -> int:
        """Call the function whose pointer lies at `offset` behind what `cell` points to. Gives the address of its result."""
        words, mask = [], 0
        for argument in arguments:
            if isinstance(argument, Wide):
                words += [argument.value & 0xFFFFFFFF, argument.value >> 32]
                continue
            mask |= isinstance(argument, At) << len(words)
            words.append(argument.address if isinstance(argument, At) else argument)
        result = SCRIPT + len(self._script) + 16
        self._script += struct.pack(f"<5I{len(words)}I", cell, offset, len(words), mask, 0xDEAD, *words)
        self._results.append(result)
        return result

    def bs(self, service: str, *arguments: Argument) -> int:
        """A boot service."""
        return self.call(BOOT, 24 + 4 * BOOT_SERVICES.index(service), *arguments)

    def rs(self, service: str, *arguments: Argument) -> int:
        """A runtime service."""
        return self.call(RUNTIME, 24 + 4 * RUNTIME_SERVICES.index(service), *arguments)

    def wait(self, number: int) -> None:
        """Compute until `notify` was called so often."""
        self._script += struct.pack("<II", 1, number)

    def run(self) -> Stop:
        """Make all calls. The program must return success."""
        assert len(self._script) + 4 <= HEAP - SCRIPT
        self.machine.memory.write(SCRIPT, bytes(self._script) + bytes(4))
        self.shim.start(self.image)
        stop = self.machine.run(max_insns=20_000_000)
        assert stop.reason == "image returned EFI_SUCCESS", (stop, [(c.service, c.status) for c in self.shim.calls])
        assert self.shim.dispatcher.depth == 0
        return stop

    def statuses(self) -> list[int]:
        """What the calls gave in EAX, in their order."""
        return [self.word(address) for address in self._results]

    def word(self, address: int, size: int = 4) -> int:
        """A number in memory after the run."""
        return int.from_bytes(self.machine.memory.read(address, size), "little")
