"""Hypervisor pages that the guest maps into its physical address space (XENMEM_add_to_physmap).

Where RAM is, the page takes over that RAM: what was there is gone, as Xen drops the frame that was mapped before. In a hole
it becomes a page on the MMIO bus.
"""

from __future__ import annotations

from efishim.machine.bus import Device
from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE
from efishim.wire.xen import Errno, Refused

MOST_HOLES = 256
"""Pages in holes that a guest may have; a grant table of the usual size has 64."""
PHYSICAL_LIMIT = 1 << 40
"""Highest address that the processor has, by its CPUID."""


class PageDevice(Device):
    """Memory in a hole of the machine."""

    def __init__(self) -> None:
        self.data = bytearray(PAGE)

    def read(self, offset: int, size: int) -> int:
        """As memory."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """As memory."""
        self.data[offset : offset + size] = value.to_bytes(size, "little")[: PAGE - offset]


class Physmap:
    """Finds room for pages at guest frame numbers."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._devices: dict[int, PageDevice] = {}

    def is_ram(self, frame: int) -> bool:
        """Is there memory that the guest may write?"""
        region = self.board.memory.find(frame * PAGE, PAGE)
        return region is not None and region.writable

    def claim(self, frame: int) -> PageDevice | None:
        """The page device at a frame without RAM, None where there is RAM. Raises Refused when there can be neither."""
        if self.is_ram(frame):
            return None
        found = self._devices.get(frame)
        if found is None:
            start = frame * PAGE
            taken = any(one.start < start + PAGE and start < one.start + one.size for one in self.board.mmio.attachments)
            if start + PAGE > PHYSICAL_LIMIT or taken or self.board.memory.find(start) is not None:
                raise Refused(Errno.EINVAL)
            if len(self._devices) >= MOST_HOLES:
                raise Refused(Errno.ENOMEM)
            found = self._devices[frame] = PageDevice()
            self.board.mmio.attach(start, PAGE, found, "Xen")
        return found


class Frame:
    """A page whose content moves with it. Until the guest places it, it exists on this side only."""

    def __init__(self, physmap: Physmap) -> None:
        self._physmap = physmap
        self._private: PageDevice | None = PageDevice()
        self.frame: int | None = None
        """Guest frame number where it lies."""

    def place(self, frame: int) -> None:
        """Move to a guest frame. Raises Refused, and is then where it was."""
        device = self._physmap.claim(frame)
        content = self.read(0, PAGE)
        if self.frame is not None and self.frame != frame:
            self.write(0, bytes(PAGE))  # nothing is mapped there any more
        self._private, self.frame = device, frame
        self.write(0, content)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes at an offset, within the page."""
        if self._private is not None:
            return bytes(self._private.data[offset : offset + size])
        return self._physmap.board.memory.read((self.frame or 0) * PAGE + offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes, within the page."""
        if self._private is not None:
            self._private.data[offset : offset + len(data)] = data
        else:
            self._physmap.board.memory.write((self.frame or 0) * PAGE + offset, data)
