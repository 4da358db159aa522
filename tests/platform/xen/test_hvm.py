"""Parameters, shutdown, version, console. Expected values: public/hvm/params.h, sched.h, version.h, io/console.h."""

from __future__ import annotations

import struct

import pytest

from tests.platform.xen.guest import (
    ARGUMENT,
    CONSOLE_IO,
    E2BIG,
    EFAULT,
    EINVAL,
    ENOSYS,
    EPERM,
    ESRCH,
    EVENT_CHANNEL_OP,
    HVM_OP,
    SCHED_OP,
    SELF,
    VM_ASSIST,
    XEN_VERSION,
    Guest,
)

CALLBACK_IRQ, STORE_PFN, STORE_EVTCHN, PAE_ENABLED, IOREQ_PFN, CONSOLE_PFN, CONSOLE_EVTCHN = 0, 1, 2, 4, 5, 17, 18


def get(guest: Guest, index: int, domain: int = SELF) -> int:
    """Value, or error."""
    answer = guest.op(HVM_OP, 1, "HHIQ", domain, 0, index, 99)
    return guest.took("Q", 8)[0] if answer == 0 else answer


def test_without_xenstore_its_parameters_are_zero() -> None:
    """Which is what Linux takes for absence (drivers/xen/xenbus/xenbus_probe.c)."""
    guest = Guest(xenstore="0")
    assert get(guest, STORE_PFN) == get(guest, STORE_EVTCHN) == 0


def test_parameters() -> None:
    guest = Guest()
    assert get(guest, PAE_ENABLED) == EINVAL
    assert get(guest, 39) == EINVAL
    assert get(guest, IOREQ_PFN) == EPERM
    assert get(guest, CALLBACK_IRQ, domain=5) == ESRCH
    assert guest.op(HVM_OP, 0, "HHIQ", SELF, 0, CALLBACK_IRQ, 2 << 56 | 0xF3) == 0
    assert get(guest, CALLBACK_IRQ) == 2 << 56 | 0xF3
    assert guest.op(HVM_OP, 0, "HHIQ", SELF, 0, CONSOLE_PFN, 1) == EPERM
    assert guest.call(HVM_OP, 1, 1 << 40) == EFAULT


def test_other_operations() -> None:
    guest = Guest()
    assert guest.call(HVM_OP, 5, 0) == 0
    assert guest.call(HVM_OP, 5, 1) == EINVAL
    assert guest.op(HVM_OP, 9, "H", SELF) == ENOSYS, "pagetable_dying is for shadow paging"
    assert guest.op(HVM_OP, 2, "Q", 0) == ENOSYS


@pytest.mark.parametrize(
    ("reason", "word"),
    [(0, "shutdown"), (1, "reset"), (3, "shutdown because the guest crashed"), (77, "shutdown with reason 77")],
)
def test_shutdown(reason: int, word: str) -> None:
    guest = Guest()
    assert guest.op(SCHED_OP, 2, "I", reason) == 0
    assert guest.board.stops == [word]


def test_scheduling_of_one() -> None:
    guest = Guest()
    assert guest.call(SCHED_OP, 0, 0) == 0
    assert guest.board.waits == 0
    assert guest.call(SCHED_OP, 1, 0) == 0
    assert guest.board.waits == 1
    assert guest.call(SCHED_OP, 2, 1 << 40) == EFAULT
    assert guest.call(SCHED_OP, 6, ARGUMENT) == ENOSYS
    assert guest.board.stops == []


def test_a_processor_that_halts_for_good_is_switched_off() -> None:
    assert Guest().board.dead_halt == "shutdown"


def test_version() -> None:
    guest = Guest()
    assert guest.call(XEN_VERSION, 0, 0) == 4 << 16 | 17
    assert guest.call(XEN_VERSION, 1, ARGUMENT) == 0
    assert guest.board.memory.read(ARGUMENT, 16) == b".0".ljust(16, b"\0")
    assert guest.call(XEN_VERSION, 7, 0) == 4096
    assert guest.call(XEN_VERSION, 7, ARGUMENT) == EINVAL
    assert guest.call(XEN_VERSION, 10, 0) == EPERM
    assert guest.call(XEN_VERSION, 11, 0) == ENOSYS
    assert guest.call(XEN_VERSION, 1, 1 << 40) == EFAULT
    for command, size in ((2, 144), (3, 1024), (4, 64), (5, 8), (8, 16)):
        guest.board.memory.fill(ARGUMENT, 2048, 0xEE)
        assert guest.call(XEN_VERSION, command, ARGUMENT) == 0
        assert guest.board.memory.read(ARGUMENT, 2048).rstrip(b"\xee").ljust(size, b"\xee")[size:] == b""
        assert guest.u8(ARGUMENT + size) == 0xEE
    assert guest.call(XEN_VERSION, 3, ARGUMENT) == 0
    assert b"hvm-3.0-x86_64" in guest.board.memory.read(ARGUMENT, 1024)


def test_features() -> None:
    """features.h: a translated guest with vector callback and a safe clock, without physical interrupts, not domain 0."""
    guest = Guest()
    assert guest.op(XEN_VERSION, 6, "II", 0, 0) == 0
    word = guest.took("I", 4)[0]
    names = {0: True, 2: True, 8: True, 9: True, 10: False, 11: False, 15: False, 16: True, 17: False}
    assert {bit: bool(word >> bit & 1) for bit in names} == names
    assert guest.op(XEN_VERSION, 6, "II", 1, 0) == EINVAL


def test_vm_assist() -> None:
    guest = Guest()
    assert guest.call(VM_ASSIST, 0, 5) == guest.call(VM_ASSIST, 1, 5) == 0
    assert guest.call(VM_ASSIST, 0, 4) == EINVAL
    assert guest.call(VM_ASSIST, 2, 5) == ENOSYS


def test_emergency_console() -> None:
    guest = Guest()
    guest.board.memory.write(ARGUMENT, b"hello\n")
    assert guest.call(CONSOLE_IO, 0, 6, ARGUMENT) == 0
    assert bytes(guest.said) == b"hello\n"
    assert guest.call(CONSOLE_IO, 1, 100, ARGUMENT) == 0, "nobody types"
    assert guest.call(CONSOLE_IO, 0, 1 << 20, ARGUMENT) == E2BIG
    assert guest.call(CONSOLE_IO, 0, 6, 1 << 40) == EFAULT
    assert guest.call(CONSOLE_IO, 2, 6, ARGUMENT) == ENOSYS


def test_console_ring() -> None:
    """struct xencons_interface: in[1024], out[2048], in_cons, in_prod, out_cons, out_prod."""
    guest = Guest()
    page, port = get(guest, CONSOLE_PFN) << 12, get(guest, CONSOLE_EVTCHN)
    assert page == 0xFEFF_F000
    shared = guest.map_shared_info()
    memory = guest.board.memory
    memory.write(page + 3072 + 8, struct.pack("<II", 2046, 2046))
    memory.write(page + 1024 + 2046, b"he")
    memory.write(page + 1024, b"llo")
    memory.put_u32(page + 3072 + 12, 2051)
    assert guest.op(EVENT_CHANNEL_OP, 4, "I", port) == 0
    assert bytes(guest.said) == b"hello"
    assert memory.u32(page + 3072 + 8) == 2051, "out_cons"
    assert guest.u8(shared + 2048 + port // 8) >> port % 8 & 1, "told that there is room"
    memory.put_u32(page + 3072 + 12, 0xFFFF_0000)
    assert guest.op(EVENT_CHANNEL_OP, 4, "I", port) == 0
    assert bytes(guest.said) == b"hello", "more than the ring holds is nonsense"


def test_console_can_be_left_out() -> None:
    guest = Guest(xen_console="0")
    assert get(guest, CONSOLE_PFN) == get(guest, CONSOLE_EVTCHN) == 0
