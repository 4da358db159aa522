"""Timers and time. Expected layouts: public/vcpu.h and xen.h; the formula for the time is the one that stands there."""

from __future__ import annotations

import struct

import pytest

from tests.platform.xen.guest import (
    ARGUMENT,
    EFAULT,
    EINVAL,
    ENOENT,
    ENOSYS,
    ETIME,
    EVENT_CHANNEL_OP,
    SET_TIMER_OP,
    VCPU_OP,
    Guest,
)

MS = 1_000_000
AREA = 0x2A_0040


def timer_guest() -> tuple[Guest, int]:
    """A guest that hears VIRQ_TIMER at vector 0xf3; gives its shared page."""
    guest = Guest()
    page = guest.map_shared_info()
    guest.set_callback(0xF3)
    guest.bind_virq(0)
    return guest, page


def calm(guest: Guest, page: int) -> None:
    """The guest has taken its events."""
    guest.board.memory.write(page, b"\0")
    guest.board.memory.put_u64(page + 8, 0)
    guest.board.memory.write(page + 2048, bytes(512))
    assert guest.interrupt is None


def system_time(guest: Guest, address: int) -> int:
    """What a guest computes from struct vcpu_time_info at this moment."""
    version, _, stamp, base, multiplier, shift, _ = struct.unpack("<IIQQIbB", guest.board.memory.read(address, 30))
    assert version % 2 == 0
    assert version > 0
    delta = guest.board.tsc() - stamp
    passed: int = (delta << shift if shift >= 0 else delta >> -shift) * multiplier >> 32
    return int(base) + passed


def test_time_in_vcpu_info() -> None:
    guest = Guest()
    page = guest.map_shared_info()
    guest.board.advance(123_456_789)
    assert abs(system_time(guest, page + 32) - 123_456_789) <= 2


def test_singleshot_timer_rings_once() -> None:
    guest, page = timer_guest()
    assert guest.vcpu_op(8, "QI", 5 * MS, 1) == 0
    guest.board.advance(5 * MS - 1)
    assert guest.interrupt is None
    guest.board.advance(1)
    assert guest.interrupt == 0xF3
    calm(guest, page)
    guest.board.advance(100 * MS)
    assert guest.interrupt is None


def test_a_timer_in_the_past() -> None:
    """VCPU_SSHOTTMR_future refuses it; without the flag it rings at once."""
    guest, _ = timer_guest()
    guest.board.advance(MS)
    assert guest.vcpu_op(8, "QI", MS // 2, 1) == ETIME
    assert guest.interrupt is None
    assert guest.vcpu_op(8, "QI", MS // 2, 0) == 0
    guest.board.advance(0)
    assert guest.interrupt == 0xF3


def test_a_timer_can_be_stopped_and_replaced() -> None:
    guest, _ = timer_guest()
    guest.vcpu_op(8, "QI", 5 * MS, 0)
    guest.vcpu_op(8, "QI", 50 * MS, 0)
    guest.board.advance(20 * MS)
    assert guest.interrupt is None
    assert guest.vcpu_op(9) == 0
    guest.board.advance(100 * MS)
    assert guest.interrupt is None


def test_periodic_timer() -> None:
    guest, page = timer_guest()
    assert guest.vcpu_op(6, "Q", MS - 1) == EINVAL
    assert guest.vcpu_op(6, "Q", 1 << 63) == EINVAL
    assert guest.vcpu_op(6, "Q", 2 * MS) == 0
    for _ in range(3):
        guest.board.advance(2 * MS - 1)
        assert guest.interrupt is None
        guest.board.advance(1)
        assert guest.interrupt == 0xF3
        calm(guest, page)
    assert guest.vcpu_op(7) == 0
    guest.board.advance(20 * MS)
    assert guest.interrupt is None


@pytest.mark.parametrize(("timeout", "rings_at"), [(3 * MS, 3 * MS), (1 << 60, 100 * MS), (1 << 63, 100 * MS)])
def test_set_timer_op(timeout: int, rings_at: int) -> None:
    """Wrapped and huge timeouts ring after 100 ms (common/sched/core.c, do_set_timer_op())."""
    guest, _ = timer_guest()
    assert guest.call(SET_TIMER_OP, timeout) == 0
    guest.board.advance(rings_at - 1)
    assert guest.interrupt is None
    guest.board.advance(1)
    assert guest.interrupt == 0xF3


def test_set_timer_op_from_32_bit_code() -> None:
    guest = Guest(wide=False)
    guest.map_shared_info()
    guest.set_callback(0xF3)
    guest.bind_virq(0)
    when = (1 << 32) + 7
    assert guest.call(SET_TIMER_OP, when & 0xFFFF_FFFF, when >> 32) == 0
    guest.board.advance(when - 1)
    assert guest.interrupt is None
    guest.board.advance(1)
    assert guest.interrupt == 0xF3
    assert guest.call(SET_TIMER_OP, 0, 0) == 0


def test_vcpu_info_moves_once_and_everything_counts_as_pending() -> None:
    guest, page = timer_guest()
    frame, offset = AREA >> 12, AREA & 0xFFF
    assert guest.vcpu_op(10, "QII", frame, 4096 - 63, 0) == EINVAL
    assert guest.vcpu_op(10, "QII", 1 << 30, 0, 0) == EINVAL
    assert guest.vcpu_op(10, "QII", frame, offset, 0) == 0
    assert guest.u8(AREA) == 1
    assert guest.board.memory.u64(AREA + 8) == (1 << 64) - 1
    assert guest.interrupt == 0xF3
    assert guest.vcpu_op(10, "QII", frame, offset, 0) == EINVAL
    guest.board.memory.write(AREA, bytes(16))
    assert guest.interrupt is None
    guest.board.advance(7 * MS)
    assert abs(system_time(guest, AREA + 32) - 7 * MS) <= 2
    guest.op(EVENT_CHANNEL_OP, 7, "II", 0, 0)
    guest.op(EVENT_CHANNEL_OP, 4, "I", guest.took("I", 4)[0])
    assert guest.u8(AREA) == 1
    assert guest.u8(page) == 0, "the old place is out of use"


def test_time_area() -> None:
    guest, _ = timer_guest()
    assert guest.vcpu_op(13, "Q", AREA) == 0
    guest.vcpu_op(8, "QI", 5 * MS, 0)
    guest.board.advance(9 * MS)
    assert abs(system_time(guest, AREA) - 9 * MS) <= 2
    stamp = guest.board.memory.u64(AREA + 16)
    assert stamp >= 5 * MS, "brought up to date when the timer rang"
    assert guest.vcpu_op(13, "Q", 0) == 0
    guest.board.memory.write(AREA, bytes(32))
    guest.vcpu_op(8, "QI", 10 * MS, 0)
    guest.board.advance(2 * MS)
    assert guest.board.memory.read(AREA, 32) == bytes(32)


def test_an_area_that_vanishes_is_left_alone() -> None:
    guest, _ = timer_guest()
    assert guest.vcpu_op(13, "Q", 1 << 45) == 0
    guest.vcpu_op(8, "QI", MS, 0)
    guest.board.advance(2 * MS)
    assert guest.interrupt == 0xF3


@pytest.mark.parametrize(("wide", "form"), [(True, "<i4xQ4Q"), (False, "<iQ4Q")])
def test_runstate(wide: bool, form: str) -> None:
    """struct vcpu_runstate_info: state, since when, and time in each of running, runnable, blocked, offline."""
    guest = Guest(wide=wide)
    guest.map_shared_info()
    guest.board.advance(3 * MS)
    assert guest.vcpu_op(5, "Q" if wide else "I", AREA) == 0
    state, _, *times = struct.unpack(form, guest.board.memory.read(AREA, struct.calcsize(form)))
    assert (state, times) == (0, [3 * MS, 0, 0, 0])
    assert guest.vcpu_op(5, "Q" if wide else "I", 1 << 31) == EFAULT
    assert guest.vcpu_op(4) == 0
    assert guest.took("I") == (0,)


def test_the_only_processor() -> None:
    guest = Guest()
    assert guest.vcpu_op(3) == 1
    assert guest.vcpu_op(1) == 0
    assert guest.call(VCPU_OP, 3, 1, ARGUMENT) == ENOENT
    assert guest.vcpu_op(0) == ENOSYS
    assert guest.board.stops == []
    assert guest.vcpu_op(2) == 0
    assert guest.board.stops == ["shutdown"]
