"""Memory map, shared info, grant table, balloon. Expected layouts: Xen's public/memory.h, xen.h, grant_table.h."""

from __future__ import annotations

import struct

import pytest

from tests.platform.xen.guest import (
    ARGUMENT,
    EFAULT,
    EINVAL,
    ENOENT,
    ENOSYS,
    EPERM,
    EPOCH,
    ESRCH,
    GRANT_TABLE_OP,
    MEMORY_OP,
    MULTICALL,
    SELF,
    Guest,
)

BUFFER = ARGUMENT + 0x1000
RAM, RESERVED, ACPI = 1, 2, 3
MIB = 1 << 20


@pytest.mark.parametrize("wide", [True, False])
def test_memory_map(wide: bool) -> None:
    """libxl's for a PVH guest: RAM from 0 on without a hole, ACPI at 0xfc000000, eight special pages below 0xff000000."""
    guest = Guest(wide=wide)
    assert guest.op(MEMORY_OP, 9, "I4xQ" if wide else "II", 128, BUFFER) == 0
    count = guest.took("I")[0]
    found = [struct.unpack("<QQI", guest.board.memory.read(BUFFER + 20 * n, 20)) for n in range(count)]
    assert found[0] == (0, 64 * MIB, RAM)
    assert found[1][0] == 0xFC00_0000
    assert found[1][2] == ACPI
    assert found[2] == (0xFEFF_8000, 0x8000, RESERVED)
    assert count == 3
    assert guest.board.memory.read(BUFFER + 60, 20) == bytes(20)


def test_memory_map_with_little_room_and_bad_buffers() -> None:
    guest = Guest()
    assert guest.op(MEMORY_OP, 9, "I4xQ", 1, BUFFER) == 0
    assert guest.took("I") == (1,)
    assert guest.board.memory.read(BUFFER + 20, 20) == bytes(20)
    assert guest.op(MEMORY_OP, 9, "I4xQ", 128, 1 << 45) == EFAULT
    assert guest.call(MEMORY_OP, 9, 1 << 45) == EFAULT
    assert guest.call(MEMORY_OP, 10, ARGUMENT) == ENOSYS, "the machine's own map is not the guest's business"


@pytest.mark.parametrize("wide", [True, False])
def test_a_loader_may_say_another_map(wide: bool) -> None:
    """struct xen_foreign_memory_map: the domain, then a memory map; GRUB does so."""
    guest = Guest(wide=wide)
    entry = struct.pack("<QQI", 0x10_0000, 0x20_0000, RAM)
    guest.board.memory.write(BUFFER, entry)
    form = "H6xI4xQ" if wide else "H2xII"
    assert guest.op(MEMORY_OP, 13, form, SELF, 129, BUFFER) == EINVAL
    assert guest.op(MEMORY_OP, 13, form, 7, 1, BUFFER) == ESRCH
    assert guest.op(MEMORY_OP, 13, form, SELF, 1, BUFFER) == 0
    assert guest.op(MEMORY_OP, 9, "I4xQ" if wide else "II", 128, BUFFER + 0x100) == 0
    assert guest.took("I") == (1,)
    assert guest.board.memory.read(BUFFER + 0x100, 20) == entry
    assert guest.op(MEMORY_OP, 4, "H", SELF) == 64 * MIB >> 12, "the machine is what it was"


def test_shared_info_of_64_bit_guests() -> None:
    """Wall clock behind 32 vcpu_info of 64 bytes and two bitmaps of 512 bytes; seconds' upper half after nanoseconds."""
    guest = Guest()
    page = guest.map_shared_info()
    version, low, nanoseconds, high = struct.unpack("<IIII", guest.board.memory.read(page + 2048 + 512 + 512, 16))
    assert version % 2 == 0
    assert high << 32 | low == EPOCH
    assert nanoseconds == 0


def test_shared_info_of_32_bit_guests() -> None:
    """Bitmaps of 128 bytes; the upper half stands behind the six longs of arch_shared_info."""
    guest = Guest(wide=False)
    page = guest.map_shared_info()
    version, low, _ = struct.unpack("<III", guest.board.memory.read(page + 2048 + 128 + 128, 12))
    assert version % 2 == 0
    high = guest.board.memory.u32(page + 2048 + 128 + 128 + 12 + 6 * 4)
    assert high << 32 | low == EPOCH


def test_the_page_moves_and_leaves_nothing_behind() -> None:
    guest = Guest()
    old = guest.map_shared_info(0x300)
    guest.board.memory.write(old + 2560, b"\xaa")
    new = guest.map_shared_info(0x301)
    assert guest.u8(new + 2560) == 0xAA
    assert guest.board.memory.read(old, 4096) == bytes(4096)


def test_a_page_in_a_hole() -> None:
    """Linux puts its grant table where no RAM is (CONFIG_XEN_UNPOPULATED_ALLOC)."""
    guest = Guest()
    assert guest.op(MEMORY_OP, 7, "HHIQQ", SELF, 0, 1, 0, 0x20000) == 0
    guest.board.mmio.write(0x2000_0008, 4, 0x1234_5678)
    assert guest.board.mmio.read(0x2000_0008, 4) == 0x1234_5678
    assert guest.op(MEMORY_OP, 7, "HHIQQ", SELF, 0, 1, 0, 0x400) == 0
    assert guest.board.memory.u32(0x40_0008) == 0x1234_5678
    assert guest.board.mmio.read(0x2000_0008, 4) == 0


@pytest.mark.parametrize(
    ("domain", "space", "index", "frame", "error"),
    [
        (2, 0, 0, 0x300, ESRCH),
        (SELF, 0, 1, 0x300, EINVAL),
        (SELF, 1, 64, 0x300, EINVAL),
        (SELF, 1, 0x8000_0000, 0x300, EINVAL),
        (SELF, 2, 0, 0x300, EINVAL),
        (SELF, 4, 0, 0x300, ENOSYS),
        (SELF, 0, 0, 0xFEE00, EINVAL),
        (SELF, 0, 0, 1 << 40, EINVAL),
    ],
)
def test_what_cannot_be_placed(domain: int, space: int, index: int, frame: int, error: int) -> None:
    guest = Guest()
    before = guest.map_shared_info()
    assert guest.op(MEMORY_OP, 7, "HHIQQ", domain, 0, space, index, frame) == error
    assert guest.board.memory.u32(before + 3076) == EPOCH & 0xFFFF_FFFF, "it is where it was"


def test_holes_are_limited() -> None:
    guest = Guest()
    answers = [guest.op(MEMORY_OP, 7, "HHIQQ", SELF, 0, 1, 0, 0x20000 + n) for n in range(300)]
    assert answers[0] == 0
    assert answers[-1] == -12


def test_reservation_and_balloon() -> None:
    guest = Guest()
    pages = 64 * MIB >> 12
    assert guest.op(MEMORY_OP, 3, "H", SELF) == guest.op(MEMORY_OP, 4, "H", SELF) == pages
    assert guest.op(MEMORY_OP, 14, "H", SELF) == 0xFEFFF
    guest.board.memory.write(0x50_0000, b"secret")
    guest.board.memory.write(BUFFER, struct.pack("<QQ", 0x500, 1 << 30))
    assert guest.op(MEMORY_OP, 1, "QQIIH", BUFFER, 2, 0, 0, SELF) == 1, "one page, then one that is not there"
    assert guest.op(MEMORY_OP, 3, "H", SELF) == pages - 1
    assert guest.board.memory.read(0x50_0000, 4096) == b"\xff" * 4096
    guest.board.memory.write(BUFFER, struct.pack("<Q", 0x500))
    assert guest.op(MEMORY_OP, 6, "QQIIH", BUFFER, 1, 0, 0, SELF) == 1
    assert guest.op(MEMORY_OP, 3, "H", SELF) == pages
    assert guest.board.memory.read(0x50_0000, 4096) == bytes(4096)
    assert guest.op(MEMORY_OP, 1, "QQIIH", BUFFER, 1, 10, 0, SELF) == EPERM


def test_remove_from_physmap() -> None:
    guest = Guest()
    assert guest.op(MEMORY_OP, 15, "H6xQ", SELF, 0x300) == 0
    assert guest.u8(0x30_0000) == 0xFF
    assert guest.op(MEMORY_OP, 15, "H6xQ", SELF, 1 << 30) == ENOENT


def test_grant_table() -> None:
    """struct gnttab_query_size: domain, frames, most frames, status. Version 1 only."""
    guest = Guest()

    def op(command: int, form: str, *values: int, count: int = 1) -> int:
        guest.board.memory.write(ARGUMENT, struct.pack("<" + form, *values))
        return guest.call(GRANT_TABLE_OP, command, ARGUMENT, count)

    assert op(6, "H2xIIh", SELF, 0, 0, 99) == 0
    assert guest.took("IIh", 4) == (1, 64, 0)
    assert op(6, "H", SELF, count=2) == EINVAL
    assert op(8, "I", 2) == ENOSYS
    assert op(8, "I", 1) == 0
    assert op(8, "I", 3) == EINVAL
    assert op(10, "H2xI", SELF, 0) == 0
    assert guest.took("I", 4) == (1,)
    assert op(2, "H2xIh6xQ", SELF, 2, 99, BUFFER) == 0
    assert guest.took("h", 8) == (0,)
    assert guest.board.memory.read(BUFFER, 16) == b"\xff" * 16, "nowhere yet"
    assert op(2, "H2xIh6xQ", SELF, 65, 0, BUFFER) == 0
    assert guest.took("h", 8) == (-1,)
    assert op(6, "H", SELF) == 0
    assert guest.took("I", 4) == (2,)
    assert op(5, "H", SELF) == ENOSYS


def test_no_page_goes_twice() -> None:
    """guest_remove_page(): the second time there is none, and the call says how far it came."""
    guest = Guest()
    guest.board.memory.write(BUFFER, struct.pack("<3Q", 0x500, 0x501, 0x500))
    assert guest.op(MEMORY_OP, 1, "QQIIH", BUFFER, 3, 0, 0, SELF) == 2
    assert guest.op(MEMORY_OP, 1, "QQIIH", BUFFER, 3, 0, 0, SELF) == 0
    guest.board.memory.write(BUFFER, struct.pack("<Q", 0x400))
    assert guest.op(MEMORY_OP, 1, "QQIIH", BUFFER, 1, 9, 0, SELF) == 0, "a large page with two that are gone"
    assert guest.op(MEMORY_OP, 6, "QQIIH", BUFFER, 1, 9, 0, SELF) == 0, "and more than the domain has a right to"
    guest.board.memory.write(BUFFER, struct.pack("<2Q", 0x501, 0x500))
    assert guest.op(MEMORY_OP, 6, "QQIIH", BUFFER, 2, 0, 0, SELF) == 2
    assert guest.op(MEMORY_OP, 1, "QQIIH", BUFFER, 2, 0, 0, SELF) == 2
    assert guest.op(MEMORY_OP, 3, "H", SELF) == (64 * MIB >> 12) - 2


def test_no_more_come_back_than_went() -> None:
    guest = Guest()
    guest.board.memory.write(0x50_0000, b"kept")
    guest.board.memory.write(BUFFER, struct.pack("<Q", 0x500))
    assert guest.op(MEMORY_OP, 6, "QQIIH", BUFFER, 1, 0, 0, SELF) == 0
    assert guest.board.memory.read(0x50_0000, 4) == b"kept"


def test_a_multicall_costs_what_it_moves() -> None:
    """A thousand times all of memory: each page goes once."""
    guest = Guest()
    frames = 0x1000
    guest.board.memory.write(0x200_0000, struct.pack(f"<{frames}Q", *range(0x400, 0x400 + frames)))
    guest.board.memory.write(ARGUMENT, struct.pack("<QQIIH", 0x200_0000, frames, 0, 0, SELF))
    entry = struct.pack("<8Q", MEMORY_OP, 0, 1, ARGUMENT, 0, 0, 0, 0)
    guest.board.memory.write(0x300_0000, entry * 1024)
    with guest.board.memory.work.bounded(64 * MIB >> 12):
        assert guest.call(MULTICALL, 0x300_0000, 1024) == 0
