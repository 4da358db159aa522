"""SetVirtualAddressMap and ConvertPointer (UEFI 2.10, 8.4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from collections.abc import Mapping as Bases
from dataclasses import dataclass

from efishim.firmware.calling.dispatch import Handler, Steps
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.calling.tables import Tables
from efishim.firmware.memory.memory_map import MemoryMap
from efishim.firmware.services.events import Events
from efishim.machine.memory import PAGE
from efishim.wire.guids import EFI_EVENT_GROUP_VIRTUAL_ADDRESS_CHANGE
from efishim.wire.uefi import EFI_MEMORY_RUNTIME, MEMORY_DESCRIPTOR_VERSION, MemoryDescriptor

OPTIONAL_POINTER = 1
"""EFI_OPTIONAL_PTR: a NULL is fine (8.4.2)."""

MAP_LIMIT = 1 << 20
"""Largest virtual map that is read, bytes."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One descriptor of the operating system's map."""

    start: int
    end: int
    virtual: int
    attributes: int

    def moves(self, address: int) -> int:
        """The virtual address of a physical one inside."""
        return address - self.start + self.virtual


class VirtualMode:
    """The two services. `at_runtime` says whether ExitBootServices succeeded; `on_switch` is told of every mapping
    before the tables change, so that loaded runtime drivers can be relocated.
    """

    def __init__(
        self, guest: Guest, memory_map: MemoryMap, events: Events, tables: Tables, at_runtime: Callable[[], bool]
    ) -> None:
        self._guest = guest
        self._map = memory_map
        self._events = events
        self._tables = tables
        self._at_runtime = at_runtime
        self._mappings: list[Mapping] = []
        self.virtual = False
        self.on_switch: Callable[[Callable[[int], int | None]], None] = lambda convert: None

    def services(self) -> dict[str, Handler]:
        """By name in the runtime services table."""
        return {"SetVirtualAddressMap": self.set_virtual_address_map, "ConvertPointer": self.convert_pointer}

    def set_virtual_address_map(self, size: int, descriptor_size: int, version: int, virtual_map: int) -> int | Steps:
        """SetVirtualAddressMap (8.4.1): once, after ExitBootServices. Raises GuestFault."""
        self._demand_runtime()
        self._touch()
        demand(version == MEMORY_DESCRIPTOR_VERSION and descriptor_size >= MemoryDescriptor.sizeof())
        demand(virtual_map and 0 < size <= MAP_LIMIT)
        mappings = self._read(size, descriptor_size, virtual_map)
        self._check(mappings)
        return self._switch(mappings)

    def set_bases(self, bases: Bases[int, int]) -> Steps:
        """The same from the host's side: a virtual address for each runtime range, by its physical start."""
        self._demand_runtime()
        runtime = [d for d in self._map.descriptors() if d.attributes & EFI_MEMORY_RUNTIME and d.start in bases]
        mappings = [Mapping(d.start, d.end, bases[d.start], d.attributes) for d in runtime]
        self._check(mappings)
        return self._switch(mappings)

    def _demand_runtime(self) -> None:
        demand(self._at_runtime() and not self.virtual, Status.UNSUPPORTED)

    def _touch(self) -> None:
        """Firmware that looks through its pointers needs its memory where it was, before it can say that an address is missing.
        Raises GuestFault where the caller's tables do not map it.
        """
        own = self._tables.pointers()
        for descriptor in self._map.descriptors():
            if descriptor.attributes & EFI_MEMORY_RUNTIME and any(descriptor.start <= at < descriptor.end for at in own):
                for page in range(descriptor.start, descriptor.end, PAGE):
                    self._guest.cpu.translate(page)

    def _read(self, size: int, step: int, address: int) -> list[Mapping]:
        data = self._guest.read(address, size)
        return [
            Mapping(d.PhysicalStart, d.PhysicalStart + d.NumberOfPages * PAGE, d.VirtualStart, d.Attribute)
            for d in MemoryDescriptor.rows(data[: size // step * step], step)
        ]

    def _check(self, mappings: list[Mapping]) -> None:
        """NO_MAPPING when a runtime range has no virtual address, NOT_FOUND for one that is not in the memory map."""
        known = self._map.descriptors()
        mapped = _Ranges((m.start, m.end) for m in mappings)
        for descriptor in known:
            if descriptor.attributes & EFI_MEMORY_RUNTIME:
                demand(mapped.cover(descriptor.start, descriptor.end), Status.NO_MAPPING)
        spans = _Ranges((d.start, d.end) for d in known)
        for mapping in mappings:
            if mapping.attributes & EFI_MEMORY_RUNTIME:
                demand(spans.cover(mapping.start, mapping.end), Status.NOT_FOUND)

    def _switch(self, mappings: list[Mapping]) -> Steps:
        self._mappings = mappings
        self.virtual = True
        yield from self._events.run_group(EFI_EVENT_GROUP_VIRTUAL_ADDRESS_CHANGE)
        self.on_switch(self.convert)
        pairs = ((pointer, self.convert(pointer)) for pointer in self._tables.pointers())
        self._tables.relocate({pointer: moved for pointer, moved in pairs if moved is not None})
        self._mappings = []
        return Status.SUCCESS

    def convert(self, address: int) -> int | None:
        """The virtual address of a physical one, None outside the map."""
        for mapping in self._mappings:
            if mapping.attributes & EFI_MEMORY_RUNTIME and mapping.start <= address < mapping.end:
                return mapping.moves(address) & (self._guest.end - 1)
        return None

    def convert_pointer(self, disposition: int, address: int) -> int:
        """ConvertPointer (8.4.2): only while the virtual address change events run."""
        demand(self._mappings, Status.UNSUPPORTED)
        demand(address)
        pointer = self._guest.uintn(address)
        if pointer == 0:
            demand(disposition & OPTIONAL_POINTER)
            return Status.SUCCESS
        moved = self.convert(pointer)
        if moved is None:
            raise EfiError(Status.NOT_FOUND)
        self._guest.put_uintn(address, moved)
        return Status.SUCCESS


class _Ranges:
    """What ranges cover together. A map may have thousands, and each is looked up in another."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(ranges):
            if start >= end:
                continue
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def cover(self, start: int, end: int) -> bool:
        """All of start..end?"""
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and start < self._ends[at] and end <= self._ends[at]
