"""ExitBootServices (UEFI 2.10, 7.4.6), the calls allowed around it, and the tables for the time after it."""

from __future__ import annotations

from collections.abc import Callable

from efishim.firmware.calling.dispatch import Handler, Steps
from efishim.firmware.calling.functions import Function
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.calling.tables import Tables
from efishim.firmware.memory.memory_map import MemoryMap, MemoryType
from efishim.firmware.services.events import IF, Events
from efishim.firmware.services.images import Images
from efishim.machine.cpu import Board
from efishim.wire.guids import EFI_EVENT_GROUP_BEFORE_EXIT_BOOT_SERVICES, EFI_EVENT_GROUP_EXIT_BOOT_SERVICES
from efishim.wire.uefi import EFI_MEMORY_RO, EFI_MEMORY_RUNTIME, EFI_MEMORY_XP, MemoryAttributesTable, MemoryDescriptor

MEMORY_SERVICES = frozenset({"AllocatePages", "FreePages", "GetMemoryMap", "AllocatePool", "FreePool", "ExitBootServices"})
"""What may still be called after an ExitBootServices that failed (7.4.6)."""

LEAVING = frozenset({"Exit"})
"""What an image does then that cannot go on: Linux' stub calls it, and EDK II, which refuses nothing then, takes it back."""

ATTRIBUTES_VERSION = 1
ATTRIBUTES_STEP = 48
ATTRIBUTES_SIZE = 0xFC0
"""Bytes kept for the memory attributes table: 83 ranges, in one page of pool."""


class ExitServices:
    """Knows which phase the machine is in."""

    def __init__(self, board: Board, memory_map: MemoryMap, events: Events, images: Images, tables: Tables) -> None:
        self._board = board
        self._map = memory_map
        self._events = events
        self._images = images
        self._tables = tables
        self.tried = False
        self.exited = False
        self.attributes_table = 0
        """Where the memory attributes table lies (ATTRIBUTES_SIZE bytes); kept true until the exit."""
        self.on_exit: Callable[[], None] = lambda: None

    def services(self) -> dict[str, Handler]:
        """By name in the boot services table."""
        return {"ExitBootServices": self.exit_boot_services}

    def at_runtime(self) -> bool:
        """Did ExitBootServices succeed?"""
        return self.exited

    def gate(self, function: Function) -> Status | None:
        """EFI_UNSUPPORTED for what may not be called now."""
        if function.table == "RuntimeServices":
            return None
        if self.exited:
            return Status.UNSUPPORTED
        if self.tried and function.table == "BootServices" and function.name not in MEMORY_SERVICES | LEAVING:
            return Status.UNSUPPORTED
        return None

    def exit_boot_services(self, handle: int, key: int) -> int | Steps:
        """ExitBootServices. A stale MapKey is EFI_INVALID_PARAMETER, and by then timers are off already."""
        demand(self._images.is_image(handle))
        return self._exit(key)

    def leave(self) -> Steps:
        """ExitBootServices from the host's side, for a loader that the guest does not run."""
        return self._exit(self._map.key)

    def _exit(self, key: int) -> Steps:
        if not self.tried:
            yield from self._events.run_group(EFI_EVENT_GROUP_BEFORE_EXIT_BOOT_SERVICES)
        self._events.disable_timers()
        current = key == self._map.key
        self.tried = True
        demand(current)
        yield from self._events.run_group(EFI_EVENT_GROUP_EXIT_BOOT_SERVICES)
        self.write_attributes()
        self._events.active = False
        self.exited = True
        self._tables.leave_boot_services()
        self._board.cpu.set("eflags", self._board.cpu.get("eflags") & ~IF)
        self.on_exit()
        return Status.SUCCESS

    def write_attributes(self) -> None:
        """The memory attributes table (4.6.4): runtime code is not written, runtime data not executed."""
        if not self.attributes_table:
            return
        runtime = [d for d in self._map.descriptors() if d.attributes & EFI_MEMORY_RUNTIME and d.type != MemoryType.MMIO]
        room = (ATTRIBUTES_SIZE - MemoryAttributesTable.sizeof()) // ATTRIBUTES_STEP
        kept = runtime[:room]
        header = MemoryAttributesTable(Version=ATTRIBUTES_VERSION, NumberOfEntries=len(kept), DescriptorSize=ATTRIBUTES_STEP)
        data = header.build()
        for d in kept:
            protection = EFI_MEMORY_RO if d.type == MemoryType.RUNTIME_SERVICES_CODE else EFI_MEMORY_XP
            entry = MemoryDescriptor(
                Type=d.type, PhysicalStart=d.start, NumberOfPages=d.pages, Attribute=EFI_MEMORY_RUNTIME | protection
            )
            data += entry.build().ljust(ATTRIBUTES_STEP, b"\0")
        self._board.memory.write(self.attributes_table, data)
