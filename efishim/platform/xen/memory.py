"""HYPERVISOR_memory_op and HYPERVISOR_grant_table_op: memory map, balloon and grant table.

Source: public/memory.h, public/grant_table.h, common/memory.c and arch/x86/mm.c of Xen 4.17. No other domain exists to map
this one's grants: the table is there, and that is all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from efishim.memory_range import MemoryKind, MemoryRange
from efishim.platform.xen.frames import Frame, Physmap
from efishim.platform.xen.guest import GuestCopy, own
from efishim.platform.xen.shared import SharedInfo
from efishim.wire import xen as abi
from efishim.wire.bootparams import E820Entry
from efishim.wire.xen import PAGE, Errno, Refused

E820_ENTRY, E820_LIMIT = E820Entry.SIZE, 128
GRANT_FRAMES = 64
"""libxl's default for max_grant_frames."""
MOST_PAGES = 1 << 16
"""Pages that one balloon operation moves at most; Xen too preempts a call that takes long, and returns its progress."""


def e820(memory_map: Sequence[MemoryRange]) -> bytes:
    """The map as XENMEM_memory_map gives it: address, size, type, 20 bytes each; the kinds are e820's types."""
    return b"".join(E820Entry(addr=one.start, size=one.size, type=one.kind.value).build() for one in memory_map)


class Memory:
    """What a guest asks about its memory. `memory_map` is complete when the first question comes."""

    def __init__(
        self, memory_map: Callable[[], Sequence[MemoryRange]], physmap: Physmap, shared: SharedInfo, copy: GuestCopy
    ) -> None:
        self._map = memory_map
        self._physmap = physmap
        self._shared = shared
        self._copy = copy
        self._grants: dict[int, Frame] = {}
        self._ballooned = 0
        self._gone = bytearray()
        """A byte for each frame of RAM, up to the last that the balloon met: 1 says that it has it."""
        self._table: bytes | None = None

    def call(self, command: int, argument: int, wide: bool) -> int:
        """HYPERVISOR_memory_op. Raises Refused."""
        match command & abi.MEMOP_COMMAND:
            case abi.XENMEM_MEMORY_MAP:
                return self._memory_map(argument, wide)
            case abi.XENMEM_SET_MEMORY_MAP:
                return self._set_memory_map(argument, wide)
            case abi.XENMEM_ADD_TO_PHYSMAP:
                return self._add_to_physmap(argument, wide)
            case abi.XENMEM_REMOVE_FROM_PHYSMAP:
                return self._remove_from_physmap(argument, wide)
            case abi.XENMEM_CURRENT_RESERVATION | abi.XENMEM_MAXIMUM_RESERVATION as which:
                own(self._copy.take(argument, "H")[0])
                return self._pages() - (self._ballooned if which == abi.XENMEM_CURRENT_RESERVATION else 0)
            case abi.XENMEM_MAXIMUM_GPFN:
                own(self._copy.take(argument, "H")[0])
                return max(piece.end for piece in self._map()) // PAGE - 1
            case abi.XENMEM_DECREASE_RESERVATION:
                return self._reserve(argument, wide, give=False)
            case abi.XENMEM_POPULATE_PHYSMAP:
                return self._reserve(argument, wide, give=True)
        raise Refused(Errno.ENOSYS)

    def _pages(self) -> int:
        return sum(piece.size for piece in self._map() if piece.kind is MemoryKind.RAM) // PAGE

    def _memory_map(self, argument: int, wide: bool) -> int:
        room, buffer = self._copy.take(argument, "I4xQ" if wide else "II")
        table = e820(self._map()) if self._table is None else self._table
        count = min(room, len(table) // E820_ENTRY)
        self._copy.write(buffer, table[: count * E820_ENTRY])
        self._copy.write(argument, count.to_bytes(4, "little"))
        return 0

    def _set_memory_map(self, argument: int, wide: bool) -> int:
        """A loader inside the guest may leave a map for whom it starts; it changes what is said and nothing else."""
        domain, count, buffer = self._copy.take(argument, "H6xI4xQ" if wide else "H2xII")
        own(domain)
        if count > E820_LIMIT:
            raise Refused(Errno.EINVAL)
        self._table = self._copy.read(buffer, count * E820_ENTRY)
        return 0

    def _add_to_physmap(self, argument: int, wide: bool) -> int:
        domain, _, space, index, frame = self._copy.take(argument, "HHIQQ" if wide else "HHIII")
        own(domain)
        if space == abi.SPACE_SHARED_INFO:
            if index:
                raise Refused(Errno.EINVAL)
            self._shared.latch(wide)
            self._shared.page.place(frame)
        elif space == abi.SPACE_GRANT_TABLE:
            self.grant_frame(index).place(frame)
        else:
            raise Refused(Errno.ENOSYS if space > abi.SPACE_GMFN else Errno.EINVAL)
        return 0

    def grant_frame(self, index: int) -> Frame:
        """A page of the grant table. Raises Refused for one beyond its limit, and for status pages: this is version 1."""
        if index >= GRANT_FRAMES:
            raise Refused(Errno.EINVAL)
        return self._grants.setdefault(index, Frame(self._physmap))

    def _remove_from_physmap(self, argument: int, wide: bool) -> int:
        domain, frame = self._copy.take(argument, "H6xQ" if wide else "H2xI")
        own(domain)
        if not self._physmap.is_ram(frame):
            raise Refused(Errno.ENOENT)
        self._physmap.board.memory.fill(frame * PAGE, PAGE, 0xFF)
        return 0

    def _reserve(self, argument: int, wide: bool, *, give: bool) -> int:
        """The balloon: pages go and come back. What is gone reads as all ones, but a store to it is not lost.

        No page goes twice (guest_remove_page()), and no more come back than went (the domain has no more than it began with).
        """
        start, count, order, _, domain = self._copy.take(argument, "QQIIH" if wide else "IIIIH")
        own(domain)
        if order > 9:
            raise Refused(Errno.EPERM)
        word = 8 if wide else 4
        done = 0
        for index in range(min(count, MOST_PAGES >> order)):
            frame = int.from_bytes(self._copy.read(start + index * word, word), "little")
            first, size = frame * PAGE, PAGE << order
            region = self._physmap.board.memory.find(first, size)
            if region is None or not region.writable:
                break
            gone = self._gone
            if len(gone) < frame + (1 << order):
                gone.extend(bytes(frame + (1 << order) - len(gone)))
            extent = slice(frame, frame + (1 << order))
            if (self._ballooned < 1 << order) if give else any(gone[extent]):
                break
            self._physmap.board.memory.fill(first, size, 0 if give else 0xFF)
            self._ballooned += (-1 if give else 1) << order
            gone[extent] = bytes([not give]) * (1 << order)
            done += 1
        return done

    # HYPERVISOR_grant_table_op

    def grant_call(self, command: int, argument: int, count: int, wide: bool) -> int:
        """Size and version. Raises Refused."""
        match command:
            case abi.GNTTABOP_QUERY_SIZE:
                if count != 1:
                    raise Refused(Errno.EINVAL)
                own(self._copy.take(argument, "H")[0])
                frames = max(self._grants, default=0) + 1
                self._copy.write(argument + 4, struct.pack("<IIh", frames, GRANT_FRAMES, abi.GRANT_OKAY))
                return 0
            case abi.GNTTABOP_SETUP_TABLE:
                return self._setup_table(argument, count, wide)
            case abi.GNTTABOP_SET_VERSION:
                version = self._copy.take(argument, "I")[0]
                if version != 1:
                    raise Refused(Errno.ENOSYS if version == 2 else Errno.EINVAL)
                return 0
            case abi.GNTTABOP_GET_VERSION:
                own(self._copy.take(argument, "H")[0])
                self._copy.write(argument + 4, (1).to_bytes(4, "little"))
                return 0
        raise Refused(Errno.ENOSYS)

    def _setup_table(self, argument: int, count: int, wide: bool) -> int:
        if count != 1:
            raise Refused(Errno.EINVAL)
        domain, frames = self._copy.take(argument, "H2xI")
        own(domain)
        status = abi.GRANT_OKAY
        if frames > GRANT_FRAMES:
            status = abi.GRANT_ERROR
        elif frames:
            self.grant_frame(frames - 1)
        self._copy.write(argument + 8, struct.pack("<h", status))
        if status == abi.GRANT_OKAY and frames:
            # A guest whose physical addresses are translated learns nothing of use here: its table is where it puts it.
            place = self._copy.take(argument + (16 if wide else 12), "Q" if wide else "I")[0]
            word = 8 if wide else 4
            for index in range(frames):
                frame = self.grant_frame(index).frame
                value = (1 << 8 * word) - 1 if frame is None else frame
                self._copy.write(place + index * word, value.to_bytes(word, "little"))
        return 0
