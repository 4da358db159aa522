"""A shim on the fake board, and calls into it by name, as an image would make them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from efishim.firmware.calling.functions import SERVICES
from efishim.firmware.shim import Shim, ShimConfig
from efishim.machine.memory import PhysicalMemory
from efishim.wire.guids import guid_bytes
from tests.firmware.fake import Body, FakeBoard, Firmware
from tests.support.protocols import add_shipped

MIB = 1 << 20
RAM = 64 * MIB
SCRATCH = 2 * MIB
"""Memory that belongs to the test: code page, then a heap that only grows; the stack is above."""

STACK = 4 * MIB

SYSTEM_BOOT, SYSTEM_RUNTIME = 96, 88
"""Offsets of BootServices and RuntimeServices in the 64-bit EFI_SYSTEM_TABLE (UEFI 2.10, 4.3.1)."""

MEMORY = ((0, 0xA0000, 1), (0xA0000, 0x60000, 2), (MIB, RAM - MIB, 1))

SUCCESS = 0
ERROR = 1 << 63
(
    LOAD_ERROR,
    INVALID,
    UNSUPPORTED,
    BAD_BUFFER_SIZE,
    TOO_SMALL,
    NOT_READY,
    DEVICE_ERROR,
    WRITE_PROTECTED,
    OUT_OF_RESOURCES,
) = (ERROR | n for n in range(1, 10))
NOT_FOUND, ACCESS_DENIED, NO_MAPPING = (ERROR | n for n in (14, 15, 17))
ALREADY_STARTED, SECURITY_VIOLATION = ERROR | 20, ERROR | 26
"""Numbers from appendix D of the specification, not from the code under test."""

WILD = 0x7777_0000_0000
"""An address where there is nothing."""


class Lab:
    """A shim, a board, and a caller."""

    def __init__(
        self, contents: dict[int, bytes] | None = None, more: Callable[[Shim], None] = add_shipped, **config: Any
    ) -> None:
        """`contents` is what the platform has put into memory, by address; `more` the shim's further protocols."""
        memory = PhysicalMemory()
        memory.add(0, RAM)
        for address, data in (contents or {}).items():
            memory.write(address, data)
        self.board = FakeBoard(memory)
        self.memory = memory
        self.console: list[str] = []
        chosen = replace(ShimConfig(memory=MEMORY, seed=7, epoch=1_000_000_000), **config)
        self.shim = Shim(self.board, chosen, self.console.append, more)
        # The test's own memory is loader data, as if an image had allocated it.
        self.shim.memory_map.allocate(2, 2, (STACK - SCRATCH) // 0x1000, SCRATCH)
        self.board.code = SCRATCH
        self._heap = SCRATCH + 0x1000
        self.cpu = self.board.processor
        self.cpu.set("rsp", STACK - 0x1000)
        self.cpu.set("eflags", 0x202)
        self.cpu.set("cr3", self.shim.pages.root)

    # -- memory -------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> int:
        """Bytes in the test's memory; gives their address."""
        address = self._heap
        self._heap = -(-(address + len(data) + 8) // 16) * 16
        assert self._heap < STACK - 0x10000, "the test's memory is used up"
        self.memory.write(address, data)
        return address

    def cell(self, value: int = 0) -> int:
        """Eight bytes that hold a number."""
        return self.put(struct.pack("<Q", value))

    def text(self, text: str) -> int:
        """A CHAR16 string."""
        return self.put(text.encode("utf-16-le", "surrogatepass") + b"\0\0")

    def guid(self, text: str) -> int:
        """A GUID."""
        return self.put(guid_bytes(text))

    def value(self, address: int, size: int = 8) -> int:
        """A number in memory."""
        return int.from_bytes(self.memory.read(address, size), "little")

    # -- calls --------------------------------------------------------------------------------------------------

    def address(self, name: str) -> int:
        """Where a service of the tables starts, as an image finds it: through the system table."""
        table, _, service = name.rpartition(".")
        names = [f.name for f in SERVICES.values() if f.table == (table or "BootServices")]
        if table == "RuntimeServices":
            base = self.value(self.shim.tables.system + SYSTEM_RUNTIME)
            return self.value(base + 24 + 8 * names.index(service))
        base = self.value(self.shim.tables.system + SYSTEM_BOOT)
        index = names.index(service)
        return self.value(base + 24 + 8 * (index + (index >= names.index("RegisterProtocolNotify"))))

    def bs(self, service: str, *arguments: int) -> int:
        """Call a boot service."""
        return self.board.call(self.address(f"BootServices.{service}"), *arguments)

    def rs(self, service: str, *arguments: int) -> int:
        """Call a runtime service."""
        return self.board.call(self.address(f"RuntimeServices.{service}"), *arguments)

    def method(self, interface: int, index: int, *arguments: int) -> int:
        """Call function number `index` of a protocol, with the interface as its first argument."""
        return self.board.call(self.value(interface + 8 * index), interface, *arguments)

    def calling(self, service: str, *arguments: int) -> Firmware:
        """For guest code: a call of a boot service."""
        return Firmware(self.address(f"BootServices.{service}"), arguments)

    def function(self, body: Callable[..., Body]) -> int:
        """A guest function in Python."""
        return self.board.function(body)

    # -- common steps -------------------------------------------------------------------------------------------

    def ok(self, service: str, *arguments: int) -> None:
        """A boot service that must succeed."""
        status = self.bs(service, *arguments)
        assert status == SUCCESS, f"{service} gave {status:#x}"

    def event(self, kind: int = 0, tpl: int = 0, function: int = 0, context: int = 0, group: str = "") -> int:
        """Create an event."""
        out = self.cell()
        if group:
            self.ok("CreateEventEx", kind, tpl, function, context, self.guid(group), out)
        else:
            self.ok("CreateEvent", kind, tpl, function, context, out)
        return self.value(out)

    def install(self, guid: str, interface: int = 0x1234, handle: int = 0) -> int:
        """Install a protocol; gives the handle."""
        out = self.cell(handle)
        self.ok("InstallProtocolInterface", out, self.guid(guid), 0, interface)
        return self.value(out)

    def interface(self, guid: str) -> int:
        """What LocateProtocol finds."""
        out = self.cell()
        self.ok("LocateProtocol", self.guid(guid), 0, out)
        return self.value(out)

    def map_key(self) -> int:
        """MapKey by GetMemoryMap."""
        size, key, buffer = self.cell(0x3000), self.cell(), self.put(bytes(0x3000))
        self.ok("GetMemoryMap", size, buffer, key, self.cell(), self.cell())
        return self.value(key)

    def exit_boot_services(self) -> None:
        """As a boot loader does it."""
        from tests.firmware.programs import IMAGE  # noqa: PLC0415

        image = self.shim.load(IMAGE)
        self.shim.images.current = image
        image.started = True
        self.ok("ExitBootServices", image.handle, self.map_key())
