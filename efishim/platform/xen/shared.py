"""The shared info page and vcpu_info, which hold pending events and the time (public/xen.h).

A 64-bit and a 32-bit guest see different layouts of the same page; which one is decided when the guest places the page or
sets its callback, by the code that does so (arch/x86/hvm/hvm.c, hvm_latch_shinfo_size()).
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.machine.memory import BusError
from efishim.platform.devices.pvclock import TIME_INFO_SIZE, wall_clock
from efishim.platform.xen.frames import Frame, Physmap
from efishim.wire.xen import PAGE, Errno, Refused

VCPU_INFO_SIZE = 64
UPCALL_PENDING, TIME = 0, 32
"""Offsets within vcpu_info; `time` stands at 32 in both layouts."""


@dataclass(frozen=True, slots=True)
class SharedInfoLayout:
    """Where things are, in bytes. `word` is the size of an unsigned long."""

    word: int
    selector: int
    pending: int
    mask: int
    wall_clock: int
    seconds_high: int

    @property
    def ports(self) -> int:
        """How many event channels the bitmaps have room for."""
        return 64 * self.word * self.word


WIDE = SharedInfoLayout(word=8, selector=8, pending=2048, mask=2560, wall_clock=3072, seconds_high=3084)
NARROW = SharedInfoLayout(word=4, selector=4, pending=2048, mask=2176, wall_clock=2304, seconds_high=2340)
"""32 structures of 64 bytes, two bitmaps of word*8 words, version, seconds, nanoseconds; 32-bit guests have the upper half of
the seconds behind the six words of arch_shared_info."""


class SharedInfo:
    """Pending events in memory. `raised()` hears when `evtchn_upcall_pending` of the processor goes from 0 to 1."""

    def __init__(self, physmap: Physmap, epoch: int) -> None:
        self.page = Frame(physmap)
        self.layout = WIDE
        self._physmap = physmap
        self._epoch = epoch
        self._vcpu: int | None = None
        """Guest-physical address of vcpu_info, when the guest has moved it out of the page."""
        self._write_wall_clock()

    def latch(self, wide: bool) -> None:
        """The guest's layout is now that of the running code."""
        layout = WIDE if wide else NARROW
        if layout is not self.layout:
            self.page.write(self.layout.wall_clock, bytes(12))
            self.layout = layout
            self._write_wall_clock()

    def _write_wall_clock(self) -> None:
        self.page.write(self.layout.wall_clock, wall_clock(2, self._epoch))
        self.page.write(self.layout.seconds_high, (self._epoch >> 32).to_bytes(4, "little"))

    # vcpu_info

    def read_vcpu(self, offset: int, size: int) -> bytes:
        """Bytes of vcpu_info."""
        if self._vcpu is None:
            return self.page.read(offset, size)
        return self._physmap.board.memory.read(self._vcpu + offset, size)

    def write_vcpu(self, offset: int, data: bytes) -> None:
        """Store into vcpu_info."""
        if self._vcpu is None:
            self.page.write(offset, data)
        else:
            self._physmap.board.memory.write(self._vcpu + offset, data)

    def move_vcpu(self, frame: int, offset: int) -> None:
        """VCPUOP_register_vcpu_info: once, to RAM; everything counts as pending afterwards. Raises Refused."""
        if offset > PAGE - VCPU_INFO_SIZE or offset % 8 or self._vcpu is not None:
            raise Refused(Errno.EINVAL)
        if not self._physmap.is_ram(frame):
            raise Refused(Errno.EINVAL)
        content = self.read_vcpu(0, VCPU_INFO_SIZE)
        address = frame * PAGE + offset
        try:
            self._physmap.board.memory.write(address, content)
        except BusError as error:
            raise Refused(Errno.EINVAL) from error
        self._vcpu = address
        word = self.layout.word
        self.write_vcpu(self.layout.selector, b"\xff" * word)

    @property
    def upcall_pending(self) -> bool:
        """Has the guest an upcall to take?"""
        return self.read_vcpu(UPCALL_PENDING, 1) != b"\0"

    def mark_pending(self) -> bool:
        """Set `evtchn_upcall_pending`; True when it was clear."""
        if self.upcall_pending:
            return False
        self.write_vcpu(UPCALL_PENDING, b"\1")
        return True

    def write_time(self, info: bytes) -> None:
        """The 32 bytes of `vcpu_info.time`."""
        assert len(info) == TIME_INFO_SIZE
        self.write_vcpu(TIME, info)

    # Event bitmaps

    def _test_and_set(self, offset: int, bit: int) -> bool:
        byte = self.page.read(offset + bit // 8, 1)[0]
        self.page.write(offset + bit // 8, bytes([byte | 1 << bit % 8]))
        return bool(byte >> bit % 8 & 1)

    def is_pending(self, port: int) -> bool:
        """Is the port's bit set?"""
        return bool(self.page.read(self.layout.pending + port // 8, 1)[0] >> port % 8 & 1)

    def is_masked(self, port: int) -> bool:
        """Has the guest masked the port?"""
        return bool(self.page.read(self.layout.mask + port // 8, 1)[0] >> port % 8 & 1)

    def set_pending(self, port: int) -> bool:
        """An event arrives (common/event_2l.c): True when the processor has to hear of it."""
        return not self._test_and_set(self.layout.pending, port) and not self.is_masked(port) and self._select(port)

    def unmask(self, port: int) -> bool:
        """The guest opens a port: True when something was waiting that the processor has to hear of."""
        place = self.layout.mask + port // 8
        byte = self.page.read(place, 1)[0]
        self.page.write(place, bytes([byte & ~(1 << port % 8)]))
        return bool(byte >> port % 8 & 1) and self.is_pending(port) and self._select(port)

    def clear_pending(self, port: int) -> None:
        """The port is closed."""
        place = self.layout.pending + port // 8
        byte = self.page.read(place, 1)[0]
        self.page.write(place, bytes([byte & ~(1 << port % 8)]))

    def _select(self, port: int) -> bool:
        word = self.layout.word
        bit = port // (8 * word)
        place = self.layout.selector
        value = int.from_bytes(self.read_vcpu(place, word), "little")
        self.write_vcpu(place, (value | 1 << bit).to_bytes(word, "little"))
        return not value >> bit & 1
