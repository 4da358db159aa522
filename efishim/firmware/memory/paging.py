"""The firmware's identity-mapped page tables (UEFI 2.10, 2.3.2 and 2.3.4) and their execute permissions.

Everything is mapped in 2 MiB pages that may not be executed; that is what makes a translating emulator fast (a store to
a page that holds no code costs nothing). A lax firmware opens pages when the processor first fetches from them, in
windows of 64 KiB, a difference that only the page tables show. A strict one opens what is code: of an image with
NX_COMPAT whose sections can be told apart by pages those that are, any other image as a whole, and pages that are allocated
for code. EDK II's policy is alike (MdeModulePkg/Core/Dxe/Misc/MemoryProtection.c, ApplyMemoryProtectionPolicy() and
ProtectUefiImage()), but goes by where an image comes from (PcdImageProtectionPolicy) and does not look at NX_COMPAT. A fetch
from anywhere else is the violation that one is looking for.
"""

from __future__ import annotations

from collections.abc import Iterator

from efishim.firmware.calling.status import EfiError, Status
from efishim.machine.memory import PAGE, BusError, PhysicalMemory
from efishim.wire.x86 import PTE_A, PTE_ADDRESS, PTE_D, PTE_NX, PTE_P, PTE_PS, PTE_W

HUGE = 1 << 30
BIG = 1 << 21
WINDOW = 1 << 16
"""What one fetch opens."""

SPLIT_TABLES = 128
"""Page tables kept for splitting 2 MiB pages; when they are used up, whole 2 MiB pages are opened."""


def tables_needed(top: int, width: int = 8) -> int:
    """Pages that the tables of an identity map of [0, top) take; `width` is that of pointers."""
    huge = -(-top // HUGE)
    return 1 + (-(-huge // 512) if width == 8 else 0) + huge + SPLIT_TABLES


class PageTables:
    """Identity map of [0, top) at `base`, where `tables_needed(top, width)` pages are free: four levels in 64-bit firmware,
    the three of PAE in 32-bit firmware, as EDK II has it (2.3.2 leaves paging to the firmware).
    """

    def __init__(self, memory: PhysicalMemory, base: int, top: int, *, width: int = 8, strict: bool = False) -> None:
        self._memory = memory
        self._four_levels = width == 8
        self.root = base
        self.top = -(-top // HUGE) * HUGE
        self.end = base + tables_needed(top, width) * PAGE
        self._next = base
        self.strict = strict
        self._build()

    # -- building -----------------------------------------------------------------------------------------------

    def _table(self) -> int | None:
        if self._next >= self.end:
            return None
        self._next += PAGE
        return self._next - PAGE

    def _must_table(self) -> int:
        table = self._table()
        assert table is not None, "tables_needed counts these"
        return table

    def _build(self) -> None:
        self._must_table()
        if not self._four_levels:
            # Entries of PAE's first table have no bits for what may be done (SDM volume 3, table 4-8).
            self._fill(self.root, 0, PTE_P)
            return
        for index in range(-(-self.top // (512 * HUGE))):
            pointers = self._must_table()
            self._memory.put_u64(self.root + 8 * index, pointers | PTE_P | PTE_W | PTE_A)
            self._fill(pointers, 512 * index * HUGE, PTE_P | PTE_W | PTE_A)

    def _fill(self, pointers: int, base: int, bits: int) -> None:
        """One page directory for each GiB from `base` on that the map covers."""
        for slot in range(min(512, (self.top - base) // HUGE)):
            directory = self._must_table()
            self._memory.put_u64(pointers + 8 * slot, directory | bits)
            start = base + slot * HUGE
            flags = PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS | PTE_NX
            entries = (start + BIG * i | flags for i in range(512))
            self._memory.write(directory, b"".join(entry.to_bytes(8, "little") for entry in entries))

    # -- walking ------------------------------------------------------------------------------------------------

    def _directory_entry(self, address: int) -> int:
        """Where the entry of the 2 MiB around an address lies. Raises EfiError(NO_MAPPING) beyond the map."""
        if not 0 <= address < self.top:
            raise EfiError(Status.NO_MAPPING)
        pointers = self._memory.u64(self.root + 8 * (address >> 39)) & PTE_ADDRESS if self._four_levels else self.root
        directory = self._memory.u64(pointers + 8 * (address >> 30 & 511)) & PTE_ADDRESS
        return directory + 8 * (address >> 21 & 511)

    def entry(self, address: int) -> tuple[int, int, int]:
        """(where it lies, its value, bytes it maps) of the entry that maps an address. Raises EfiError(NO_MAPPING)."""
        place = self._directory_entry(address)
        value = self._memory.u64(place)
        if value & PTE_PS:
            return place, value, BIG
        place = (value & PTE_ADDRESS) + 8 * (address >> 12 & 511)
        return place, self._memory.u64(place), PAGE

    def _split(self, address: int) -> bool:
        """Turn a 2 MiB page into a table of 4 KiB pages; True also when it is one. False: no tables left."""
        place = self._directory_entry(address)
        value = self._memory.u64(place)
        if not value & PTE_PS:
            return True
        table = self._table()
        if table is None:
            return False
        flags = value & (0xFFF & ~PTE_PS | PTE_NX)
        start = value & PTE_ADDRESS
        entries = (start + PAGE * i | flags for i in range(512))
        self._memory.write(table, b"".join(entry.to_bytes(8, "little") for entry in entries))
        self._memory.put_u64(place, table | PTE_P | PTE_W | PTE_A)
        return True

    def change(self, start: int, end: int, *, put: int = 0, clear: int = 0) -> None:
        """Set and clear entry bits for whole pages of [start, end). Where no tables are left, 2 MiB pages change whole
        (only ever noticed with more than SPLIT_TABLES areas). Raises EfiError(NO_MAPPING).
        """
        at = start & -PAGE
        while at < end:
            whole = at % BIG == 0 and at + BIG <= end
            if not whole:
                self._split(at)
            place, value, size = self.entry(at)
            self._memory.put_u64(place, value & ~clear | put)
            at = (at & -size) + size

    def pages(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(address, entry value) for every page that maps a part of [start, end). Raises EfiError(NO_MAPPING)."""
        at = start
        while at < end:
            _, value, size = self.entry(at)
            yield at, value
            at = (at & -size) + size

    # -- execution ----------------------------------------------------------------------------------------------

    def allow_execution(self, start: int, end: int) -> None:
        """Code lies here. In a strict firmware it may not be written any more."""
        self.change(start, end, clear=PTE_NX | PTE_W if self.strict else PTE_NX)

    def open(self, start: int, end: int) -> None:
        """Code lies here without permissions of its own, so that it may do everything."""
        self.change(start, end, put=PTE_W, clear=PTE_NX)

    def forbid_execution(self, start: int, end: int) -> None:
        """Data lies here (again)."""
        self.change(start, end, put=PTE_NX | PTE_W)

    def owns(self, cr3: int) -> bool:
        """Does CR3 point to these tables?"""
        return cr3 & PTE_ADDRESS == self.root

    def on_fetch_fault(self, address: int, cr3: int) -> bool:
        """The processor may not fetch from `address`. True: the page was opened, try again.

        False when it is not for lax firmware to open: strict mode, other tables that do not lead through the firmware's,
        not mapped, or open already.
        """
        if self.strict or not 0 <= address < self.top:
            return False
        if not self.owns(cr3) and not self._leads_here(address, cr3):
            return False
        try:
            _, value, _ = self.entry(address)
        except EfiError:
            return False
        if not value & PTE_P or not value & PTE_NX:
            return False
        start = address & -WINDOW
        self.change(start, start + WINDOW, clear=PTE_NX)
        return True

    def _leads_here(self, address: int, cr3: int) -> bool:
        """Do the tables at `cr3` (a copy of ours, perhaps with a level on top) use our entry for this address?"""
        if not self._four_levels:
            return False
        try:
            place, _, size = self.entry(address)
            shifts = (39, 30, 21, 12) if size == PAGE else (39, 30, 21)
            for levels in (shifts, (48, *shifts)):
                table = cr3 & PTE_ADDRESS
                for shift in levels[:-1]:
                    value = self._memory.u64(table + 8 * (address >> shift & 511))
                    if not value & PTE_P or value & PTE_PS:
                        break
                    table = value & PTE_ADDRESS
                else:
                    if table + 8 * (address >> levels[-1] & 511) == place:
                        return True
        except (BusError, EfiError):
            return False
        return False
