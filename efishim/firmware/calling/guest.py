"""Guest memory for services: typed reads and writes through the caller's page tables.

A pointer that is not mapped, or has no RAM behind it, makes the service return EFI_INVALID_PARAMETER. UEFI leaves wild
pointers undefined, and real firmware would fault; a defined status can be recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from efishim.firmware.calling.status import EfiError, Status
from efishim.machine.cpu import Cpu, GuestFault
from efishim.machine.host_work import HostWork
from efishim.machine.memory import PAGE, BusError, PhysicalMemory
from efishim.wire.guids import guid_bytes, guid_text

STRING_LIMIT = 0x8000
"""Most CHAR16 units that a service reads of one string."""

COPY_CHUNK = 1 << 20


@contextmanager
def wild_pointers() -> Iterator[None]:
    """Inside: an access that nothing answers becomes EFI_INVALID_PARAMETER."""
    try:
        yield
    except (GuestFault, BusError, OverflowError) as fault:
        raise EfiError(Status.INVALID_PARAMETER) from fault


class Guest:
    """Memory of the running guest by linear address. `width` is the size of its pointers: 8, or 4 in mixed mode."""

    def __init__(self, cpu: Cpu, width: int = 8, memory: PhysicalMemory | None = None) -> None:
        self.cpu = cpu
        self.width = width
        self.end = 1 << 8 * width
        """First address that no pointer can name."""
        self.work = memory.work if memory is not None else HostWork()
        """For searches that read nothing of the guest's memory."""
        self.size = memory.pages * PAGE if memory is not None else self.end
        """Bytes of memory. A longer range is no range of memory, although the guest's page tables may repeat some."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes. Raises EfiError(INVALID_PARAMETER) where nothing is mapped, also when the range wraps around."""
        if size < 0 or address + size > self.end:
            raise EfiError(Status.INVALID_PARAMETER)
        if size == 0:
            return b""
        with wild_pointers():
            return bytes(self.cpu.read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Store bytes. Raises EfiError(INVALID_PARAMETER)."""
        if address + len(data) > self.end:
            raise EfiError(Status.INVALID_PARAMETER)
        if data:
            with wild_pointers():
                self.cpu.write(address, data)

    def number(self, address: int, size: int) -> int:
        """An unsigned little-endian number."""
        return int.from_bytes(self.read(address, size), "little")

    def put(self, address: int, value: int, size: int) -> None:
        """Store an unsigned little-endian number, cut to its size."""
        self.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def uintn(self, address: int) -> int:
        """A UINTN or pointer."""
        return self.number(address, self.width)

    def put_uintn(self, address: int, value: int) -> None:
        """Store a UINTN or pointer."""
        self.put(address, value, self.width)

    def guid(self, address: int) -> str:
        """A GUID's registry text. NULL is EFI_INVALID_PARAMETER."""
        if address == 0:
            raise EfiError(Status.INVALID_PARAMETER)
        return guid_text(self.read(address, 16))

    def put_guid(self, address: int, guid: str) -> None:
        """Store a GUID given as text."""
        self.write(address, guid_bytes(guid))

    def string_units(self, address: int, limit: int = STRING_LIMIT) -> bytes:
        """The UTF-16 bytes of a string up to its NUL. NULL, or no NUL within `limit` units: EFI_INVALID_PARAMETER."""
        if address == 0:
            raise EfiError(Status.INVALID_PARAMETER)
        out = bytearray()
        while len(out) < 2 * limit:
            at = address + len(out)
            step = min(2 * limit - len(out), max(2, (0x1000 - at % 0x1000) & ~1), 256)
            chunk = self.read(at, step)
            for index in range(0, step, 2):
                if chunk[index] == 0 and chunk[index + 1] == 0:
                    return bytes(out + chunk[:index])
            out += chunk
        raise EfiError(Status.INVALID_PARAMETER)

    def string(self, address: int, limit: int = STRING_LIMIT) -> str:
        """A CHAR16 string. UEFI strings are UCS-2: lone surrogates are kept."""
        return self.string_units(address, limit).decode("utf-16-le", "surrogatepass")

    def copy(self, destination: int, source: int, size: int) -> None:
        """Move bytes; the ranges may overlap."""
        if destination == source or size == 0:
            self.read(source, min(size, 1))
            return
        backwards = source < destination < source + size
        done = 0
        while done < size:
            step = min(COPY_CHUNK, size - done)
            at = size - done - step if backwards else done
            self.write(destination + at, self.read(source + at, step))
            done += step

    def fill(self, address: int, size: int, byte: int) -> None:
        """Set bytes."""
        done = 0
        while done < size:
            step = min(COPY_CHUNK, size - done)
            self.write(address + done, bytes([byte]) * step)
            done += step
