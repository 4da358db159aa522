"""The memory services (UEFI 2.10, 7.2), and CopyMem, SetMem and CalculateCrc32 (7.5)."""

from __future__ import annotations

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.calling.tables import crc32
from efishim.firmware.memory.memory_map import CODE_TYPES, AllocateType, MemoryMap
from efishim.firmware.memory.paging import PageTables
from efishim.firmware.memory.pool import Pool
from efishim.firmware.services.handoff import DESCRIPTOR_SIZE, pack_descriptors
from efishim.machine.memory import PAGE
from efishim.wire.uefi import MEMORY_DESCRIPTOR_VERSION


class MemoryServices:
    """`pages` is told what changes hands in a strict firmware."""

    def __init__(self, guest: Guest, memory_map: MemoryMap, pool: Pool, pages: PageTables) -> None:
        self._guest = guest
        self._map = memory_map
        self._pool = pool
        self._pages = pages

    def services(self) -> dict[str, Handler]:
        """By name in the boot services table."""
        return {
            "AllocatePages": self.allocate_pages,
            "FreePages": self.free_pages,
            "GetMemoryMap": self.get_memory_map,
            "AllocatePool": self.allocate_pool,
            "FreePool": self.free_pool,
            "CalculateCrc32": self.calculate_crc32,
            "CopyMem": self.copy_mem,
            "SetMem": self.set_mem,
        }

    def allocate_pages(self, how: int, memory_type: int, pages: int, memory: int) -> int:
        """AllocatePages (7.2.1)."""
        demand(memory)
        address = self._guest.number(memory, 8) if how != AllocateType.ANY_PAGES else 0
        self._guest.put(memory, self._guest.number(memory, 8), 8)
        address = self._map.allocate(how, memory_type, pages, address)
        if self._pages.strict:
            change = self._pages.open if memory_type in CODE_TYPES else self._pages.forbid_execution
            change(address, address + pages * PAGE)
        self._guest.put(memory, address, 8)
        return Status.SUCCESS

    def free_pages(self, memory: int, pages: int) -> int:
        """FreePages (7.2.2)."""
        self._map.free(memory, pages)
        return Status.SUCCESS

    def get_memory_map(self, size: int, buffer: int, key: int, descriptor_size: int, version: int) -> int:
        """GetMemoryMap (7.2.3). The size that is needed comes back with EFI_BUFFER_TOO_SMALL too."""
        demand(size)
        room = self._guest.uintn(size)
        descriptors = self._map.descriptors()
        need = len(descriptors) * DESCRIPTOR_SIZE
        self._guest.put_uintn(size, need)
        if descriptor_size:
            self._guest.put_uintn(descriptor_size, DESCRIPTOR_SIZE)
        if version:
            self._guest.put(version, MEMORY_DESCRIPTOR_VERSION, 4)
        demand(room >= need, Status.BUFFER_TOO_SMALL)
        demand(buffer)
        self._guest.write(buffer, pack_descriptors(descriptors))
        if key:
            self._guest.put_uintn(key, self._map.key)
        return Status.SUCCESS

    def allocate_pool(self, memory_type: int, size: int, buffer: int) -> int:
        """AllocatePool (7.2.4)."""
        demand(buffer)
        self._guest.put_uintn(buffer, self._guest.uintn(buffer))
        self._guest.put_uintn(buffer, self._pool.allocate(memory_type, size))
        return Status.SUCCESS

    def free_pool(self, buffer: int) -> int:
        """FreePool (7.2.5): NULL was invalid always."""
        self._pool.free(buffer)
        return Status.SUCCESS

    def calculate_crc32(self, data: int, size: int, crc: int) -> int:
        """CalculateCrc32 (7.5.6)."""
        demand(data and size and crc)
        self._probe(data, size)
        self._guest.put(crc, crc32(self._guest, data, size), 4)
        return Status.SUCCESS

    def copy_mem(self, destination: int, source: int, length: int) -> int:
        """CopyMem (7.5.3). VOID: a wild pointer copies nothing."""
        if length and destination != source:
            self._probe(destination, length)
            self._probe(source, length)
            self._guest.copy(destination, source, length)
        return 0

    def set_mem(self, buffer: int, size: int, value: int) -> int:
        """SetMem (7.5.4). VOID: a wild pointer sets nothing."""
        if size:
            self._probe(buffer, size)
            self._guest.fill(buffer, size, value)
        return 0

    def _probe(self, address: int, size: int) -> None:
        """Refuse a range whose ends are not memory, or that is longer than all of it, before a byte of it is touched."""
        if address + size > self._guest.end or size > self._guest.size:
            raise EfiError(Status.INVALID_PARAMETER)
        self._guest.read(address, 1)
        self._guest.read(address + size - 1, 1)
