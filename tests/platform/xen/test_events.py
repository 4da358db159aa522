"""Event channels in two levels, and the upcall. Expected layouts: public/event_channel.h, xen.h."""

from __future__ import annotations

import pytest

from tests.platform.xen.guest import EEXIST, EINVAL, ENOENT, ENOSPC, ENOSYS, ESRCH, EVENT_CHANNEL_OP, HVM_OP, SELF, Guest

PENDING, MASK, SELECTOR = 2048, 2560, 8
VECTOR = 0xF3


def open_guest() -> tuple[Guest, int]:
    """A guest with its page placed and a callback vector."""
    guest = Guest()
    page = guest.map_shared_info()
    guest.set_callback(VECTOR)
    return guest, page


def bind_ipi(guest: Guest) -> int:
    assert guest.op(EVENT_CHANNEL_OP, 7, "II", 0, 0) == 0
    return guest.took("I", 4)[0]


def send(guest: Guest, port: int) -> int:
    return guest.op(EVENT_CHANNEL_OP, 4, "I", port)


def test_an_event_sets_its_bits_and_interrupts_once() -> None:
    guest, page = open_guest()
    port = bind_ipi(guest)
    assert guest.interrupt is None
    assert send(guest, port) == 0
    assert guest.u8(page) == 1, "evtchn_upcall_pending"
    assert guest.board.memory.u64(page + SELECTOR) == 1 << port // 64
    assert guest.u8(page + PENDING + port // 8) == 1 << port % 8
    assert guest.interrupt == VECTOR
    assert guest.interrupt == VECTOR, "as long as the flag is set"
    guest.board.memory.write(page, b"\0")
    assert guest.interrupt is None
    assert send(guest, port) == 0
    assert guest.interrupt is None, "the port's bit is still set: no edge"
    guest.board.memory.write(page + PENDING, bytes(8))
    guest.board.memory.put_u64(page + SELECTOR, 0)
    assert send(guest, port) == 0
    assert guest.interrupt == VECTOR


def test_a_masked_port_waits_for_unmask() -> None:
    guest, page = open_guest()
    port = bind_ipi(guest)
    guest.board.memory.write(page + MASK, b"\xff" * 8)
    assert send(guest, port) == 0
    assert guest.u8(page + PENDING + port // 8) == 1 << port % 8
    assert guest.u8(page) == 0
    assert guest.interrupt is None
    assert guest.op(EVENT_CHANNEL_OP, 9, "I", port) == 0
    assert guest.u8(page + MASK) == 0xFF & ~(1 << port)
    assert guest.interrupt == VECTOR


def test_without_a_vector_nothing_is_lost() -> None:
    guest = Guest()
    guest.map_shared_info()
    send(guest, bind_ipi(guest))
    assert guest.interrupt is None
    guest.set_callback(VECTOR)
    assert guest.interrupt == VECTOR


def test_upcall_vector_of_the_processor_goes_through_the_apic() -> None:
    """HVMOP_set_evtchn_upcall_vector; the APIC is off, keeps the request, and wants an end of interrupt."""
    guest = Guest()
    page = guest.map_shared_info()
    assert guest.op(HVM_OP, 23, "IB", 0, VECTOR) == 0
    send(guest, bind_ipi(guest))
    assert guest.interrupt is None
    lapic = guest.facts.interrupts.lapic
    lapic.write(0xF0, 4, 0x1FF)
    assert guest.interrupt == VECTOR
    assert guest.u8(page) == 1
    assert guest.interrupt is None
    assert lapic.isr == 1 << VECTOR
    assert guest.op(HVM_OP, 23, "IB", 0, 15) == EINVAL
    assert guest.op(HVM_OP, 23, "IB", 1, VECTOR) == ENOENT


def test_virtual_interrupts() -> None:
    guest, _ = open_guest()
    port = guest.bind_virq(0)
    assert guest.op(EVENT_CHANNEL_OP, 1, "III", 0, 0, 0) == EEXIST
    assert guest.op(EVENT_CHANNEL_OP, 1, "III", 24, 0, 0) == EINVAL
    assert guest.op(EVENT_CHANNEL_OP, 1, "III", 1, 1, 0) == ENOENT
    assert guest.op(EVENT_CHANNEL_OP, 1, "III", 3, 1, 0) == EINVAL, "VIRQ_DOM_EXC is global"
    assert send(guest, port) == EINVAL
    assert guest.op(EVENT_CHANNEL_OP, 3, "I", port) == 0
    assert guest.bind_virq(0) == port


def test_status() -> None:
    """struct evtchn_status: domain, port, status, processor, details."""
    guest, _ = open_guest()
    virq, ipi = guest.bind_virq(1), bind_ipi(guest)
    assert guest.op(EVENT_CHANNEL_OP, 6, "HHI", SELF, 0, 0) == 0
    unbound = guest.took("I", 4)[0]
    for port, what, detail in ((virq, 4, 1), (ipi, 5, 0), (unbound, 1, 0), (500, 0, 0)):
        assert guest.op(EVENT_CHANNEL_OP, 5, "HHIIII", SELF, 0, port, 9, 9, 9) == 0
        assert guest.took("III", 8) == (what, 0, detail)
    assert guest.op(EVENT_CHANNEL_OP, 5, "HHI", SELF, 0, 5000) == EINVAL
    assert guest.op(EVENT_CHANNEL_OP, 5, "HHI", 3, 0, 1) == ESRCH


def test_interdomain_with_oneself() -> None:
    guest, page = open_guest()
    assert guest.op(EVENT_CHANNEL_OP, 6, "HHI", SELF, SELF, 0) == 0
    far = guest.took("I", 4)[0]
    assert guest.op(EVENT_CHANNEL_OP, 0, "H2xII", SELF, far, 0) == 0
    near = guest.took("I", 8)[0]
    assert guest.u8(page + PENDING + near // 8) >> near % 8 & 1, "told at once"
    assert send(guest, near) == 0
    assert guest.u8(page + PENDING + far // 8) >> far % 8 & 1
    assert guest.op(EVENT_CHANNEL_OP, 0, "H2xII", SELF, far, 0) == EINVAL
    assert guest.op(EVENT_CHANNEL_OP, 3, "I", near) == 0
    assert guest.op(EVENT_CHANNEL_OP, 5, "HHI", SELF, 0, far) == 0
    assert guest.took("I", 8) == (1,)


def test_ports_are_limited_and_given_back() -> None:
    guest, _ = open_guest()
    ports = []
    while (answer := guest.op(EVENT_CHANNEL_OP, 7, "II", 0, 0)) == 0:
        ports.append(guest.took("I", 4)[0])
    assert answer == ENOSPC
    assert ports[-1] == 1023
    assert 0 not in ports
    assert guest.op(EVENT_CHANNEL_OP, 10, "H", SELF) == 0
    assert bind_ipi(guest) == 1


@pytest.mark.parametrize("command", [2, 11, 12, 13, 99])
def test_no_fifo_and_no_physical_interrupts(command: int) -> None:
    """EVTCHNOP_init_control refused, so that guests use the bitmaps."""
    assert Guest().op(EVENT_CHANNEL_OP, command, "QQQ", 0, 0, 0) == ENOSYS


@pytest.mark.parametrize("command", [3, 4, 9])
def test_ports_that_are_not_open(command: int) -> None:
    guest, _ = open_guest()
    for port in (0, 700, 0xFFFF_FFFF):
        assert guest.op(EVENT_CHANNEL_OP, command, "I", port) == EINVAL
