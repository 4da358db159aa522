"""Guest-physical memory: RAM and ROM regions on host memory that is allocated on first access.

Addresses are guest-physical, sizes in bytes. Device memory is not here, it is on the MMIO bus (bus.py).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from efishim.errors import MachineError
from efishim.machine.host_work import PAGE_SHIFT, HostWork

PAGE = 0x1000
MAP_NORESERVE = 0x4000
"""Linux: no swap is set aside for what is never touched. Python has the name from 3.13 on."""


class BusError(Exception):
    """A physical access that no RAM or ROM answers. Firmware services turn it into EFI_INVALID_PARAMETER."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(f"no memory at {address:#x} ({size} bytes)")
        self.address = address
        self.size = size


@dataclass(frozen=True)
class Region:
    """One contiguous piece of guest-physical memory. `start` and `size` are multiples of 4 KiB."""

    start: int
    size: int
    writable: bool
    name: str
    host: mmap.mmap

    @property
    def end(self) -> int:
        """First address after the region."""
        return self.start + self.size


class PhysicalMemory:
    """RAM and ROM as the firmware and the devices see them: by physical address, without translation or protection."""

    def __init__(self) -> None:
        self._regions: list[Region] = []
        self.work = HostWork()
        """Each access here is an operation, and each page beyond its first one more."""

    def add(self, start: int, size: int, *, name: str = "ram", writable: bool = True) -> Region:
        """Add a region of zeroes. `writable` is what the guest may do; the host side can always write."""
        if start % PAGE or size % PAGE or size <= 0 or start < 0 or start + size > 1 << 52:
            raise MachineError(f"a memory region {start:#x}+{size:#x} is not made of whole pages")
        for other in self._regions:
            if start < other.end and other.start < start + size:
                raise MachineError(f"memory regions {name} and {other.name} overlap at {start:#x}")
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        try:
            host = mmap.mmap(-1, size, flags=flags)
        except OSError as error:
            raise MachineError(
                f"the host refuses {size >> 20} MiB of address space for guest memory: {error.strerror}",
                hint="give the guest less memory with -m",
            ) from error
        region = Region(start, size, writable, name, host)
        self._regions.append(region)
        self._regions.sort(key=lambda r: r.start)
        return region

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    def find(self, address: int, size: int = 1) -> Region | None:
        """The region that holds all of [address, address+size), or None."""
        for region in self._regions:
            if region.start <= address and address + size <= region.end:
                return region
        return None

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a physical address. Raises BusError unless one region holds them all."""
        work = self.work
        work.left -= 1 + (size >> PAGE_SHIFT)
        if work.left < 0:
            work.over()
        region = self.find(address, size)
        if region is None or size < 0:
            raise BusError(address, size)
        offset = address - region.start
        return region.host[offset : offset + size]

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes, also into ROM (this is the host's side of it). Raises BusError.

        Writing over code that already ran needs `Machine.flush_code` as well.
        """
        size, work = len(data), self.work
        work.left -= 1 + (size >> PAGE_SHIFT)
        if work.left < 0:
            work.over()
        region = self.find(address, size)
        if region is None:
            raise BusError(address, size)
        offset = address - region.start
        region.host[offset : offset + size] = bytes(data)

    @property
    def pages(self) -> int:
        """How many there are."""
        return sum(region.size for region in self) // PAGE

    def discard(self) -> None:
        """Give the host's memory back; the guest's reads as zeroes from here on."""
        for region in self:
            region.host.madvise(mmap.MADV_DONTNEED)

    def clear(self, start: int, size: int) -> None:
        """Make a range zero; of its whole pages the host's memory is given back. Raises BusError."""
        region = self.find(start, size)
        if region is None:
            raise BusError(start, size)
        low, high = -(-start // PAGE) * PAGE, (start + size) // PAGE * PAGE
        if low < high:
            region.host.madvise(mmap.MADV_DONTNEED, low - region.start, high - low)
        for at, end in ((start, min(low, start + size)), (max(high, low), start + size)):
            if at < end:
                self.write(at, bytes(end - at))

    def fill(self, address: int, size: int, byte: int = 0) -> None:
        """Fill a range with one byte value. Raises BusError."""
        chunk = bytes([byte]) * min(size, 1 << 20)
        while size > 0:
            step = min(size, len(chunk))
            self.write(address, chunk[:step])
            address, size = address + step, size - step

    def u8(self, address: int) -> int:
        """One byte."""
        return self.read(address, 1)[0]

    def u16(self, address: int) -> int:
        """A little-endian 16-bit value."""
        value: int = struct.unpack("<H", self.read(address, 2))[0]
        return value

    def u32(self, address: int) -> int:
        """A little-endian 32-bit value."""
        value: int = struct.unpack("<I", self.read(address, 4))[0]
        return value

    def u64(self, address: int) -> int:
        """A little-endian 64-bit value."""
        value: int = struct.unpack("<Q", self.read(address, 8))[0]
        return value

    def put_u16(self, address: int, value: int) -> None:
        """Store a little-endian 16-bit value."""
        self.write(address, struct.pack("<H", value))

    def put_u32(self, address: int, value: int) -> None:
        """Store a little-endian 32-bit value."""
        self.write(address, struct.pack("<I", value))

    def put_u64(self, address: int, value: int) -> None:
        """Store a little-endian 64-bit value."""
        self.write(address, struct.pack("<Q", value))

    def c_string(self, address: int, limit: int = 4096) -> bytes:
        """Bytes up to a NUL, at most `limit` (then without one). Raises BusError when memory ends first."""
        out = bytearray()
        while len(out) < limit:
            step = min(limit - len(out), PAGE - (address + len(out)) % PAGE)
            chunk = self.read(address + len(out), step)
            nul = chunk.find(0)
            if nul >= 0:
                return bytes(out + chunk[:nul])
            out += chunk
        return bytes(out)
