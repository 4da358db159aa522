"""HYPERVISOR_vcpu_op and HYPERVISOR_set_timer_op: timers, and the guest's time and runstate areas.

Source: public/vcpu.h, common/domain.c, common/sched/core.c of Xen 4.17. There is one virtual processor, it always runs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from efishim.machine.clock import Event
from efishim.machine.cpu import Board
from efishim.platform.devices.pvclock import Scale, scale_of, time_info
from efishim.platform.xen.events import EventChannels
from efishim.platform.xen.guest import GuestCopy
from efishim.platform.xen.shared import SharedInfo
from efishim.wire import xen as abi
from efishim.wire.xen import Errno, Refused

MILLISECOND = 1_000_000
LONGEST_PERIOD = 1 << 50
"""STIME_DELTA_MAX is 2^63 - 1 in Xen; what is longer than 13 days never happens in a run."""
HUGE_TIMEOUT, INSTEAD_OF_HUGE = 1 << 50, 100 * MILLISECOND


class Vcpu:
    """The one processor's clocks."""

    def __init__(self, board: Board, shared: SharedInfo, events: EventChannels, copy: GuestCopy) -> None:
        self._board = board
        self._shared = shared
        self._events = events
        self._copy = copy
        self.scale: Scale = scale_of(board.tsc_hz)
        self._version = 0
        self._time_area: int | None = None
        self._runstate: tuple[int, bool] | None = None
        self._single: Event | None = None
        self._periodic: Event | None = None
        self.update_time()

    def update_time(self) -> None:
        """A new pair of time stamp and system time, wherever the guest reads it."""
        self._version += 2
        info = time_info(self._version, self._board.tsc(), self._board.now(), self.scale, 0)
        self._shared.write_time(info)
        if self._time_area is not None:
            self._quietly(self._time_area, info)
        if self._runstate is not None:
            address, wide = self._runstate
            self._quietly(address, self._state(wide))

    def _quietly(self, address: int, data: bytes) -> None:
        """An area that the guest has unmapped since is left alone."""
        try:
            self._copy.write(address, data)
        except Refused:
            return

    def _state(self, wide: bool) -> bytes:
        """struct vcpu_runstate_info: running, from the beginning until now."""
        now = self._board.now()
        return struct.pack("<I4xQQQQQ" if wide else "<IQQQQQ", 0, 0, now, 0, 0, 0)

    # Timers

    def set_timer(self, timeout: int) -> int:
        """HYPERVISOR_set_timer_op: absolute system time in ns, 0 for none."""
        now = self._board.now()
        if timeout == 0:
            self._stop_single()
        elif timeout >> 63 or timeout - now >= HUGE_TIMEOUT:
            self._start_single(now + INSTEAD_OF_HUGE)
        else:
            self._start_single(timeout)
        return 0

    def _stop_single(self) -> None:
        if self._single is not None:
            self._board.clock.cancel(self._single)
            self._single = None

    def _start_single(self, when: int) -> None:
        self._stop_single()
        self._single = self._board.clock.at(when, self._ring)

    def _ring(self) -> None:
        self._single = None
        self.update_time()
        self._events.raise_virq(abi.VIRQ_TIMER)

    def _set_period(self, period: int) -> None:
        if self._periodic is not None:
            self._board.clock.cancel(self._periodic)
            self._periodic = None
        if period:
            self._plan(self._board.now() + period, period)

    def _plan(self, when: int, period: int) -> None:
        def ring() -> None:
            self._plan(when + period, period)
            self.update_time()
            self._events.raise_virq(abi.VIRQ_TIMER)

        self._periodic = self._board.clock.at(when, ring)

    # HYPERVISOR_vcpu_op

    def call(self, command: int, vcpu: int, argument: int, wide: bool) -> int:
        """One operation. Raises Refused."""
        if vcpu:
            raise Refused(Errno.ENOENT)
        operations: dict[int, Callable[[], int]] = {
            abi.VCPUOP_UP: lambda: 0,
            abi.VCPUOP_DOWN: self._down,
            abi.VCPUOP_IS_UP: lambda: 1,
            abi.VCPUOP_GET_RUNSTATE_INFO: lambda: self._store(argument, self._state(wide)),
            abi.VCPUOP_REGISTER_RUNSTATE: lambda: self._register_runstate(argument, wide),
            abi.VCPUOP_SET_PERIODIC_TIMER: lambda: self._periodic_timer(argument),
            abi.VCPUOP_STOP_PERIODIC_TIMER: self._no_period,
            abi.VCPUOP_SET_SINGLESHOT_TIMER: lambda: self._singleshot(argument),
            abi.VCPUOP_STOP_SINGLESHOT_TIMER: lambda: self.set_timer(0),
            abi.VCPUOP_REGISTER_VCPU_INFO: lambda: self._register_info(argument),
            abi.VCPUOP_REGISTER_TIME_AREA: lambda: self._register_time(argument, wide),
        }
        operation = operations.get(command)
        if operation is None:
            raise Refused(Errno.ENOSYS)
        return operation()

    def _store(self, address: int, data: bytes) -> int:
        self._copy.write(address, data)
        return 0

    def _down(self) -> int:
        self._board.stop("shutdown")  # the last processor went
        return 0

    def _no_period(self) -> int:
        self._set_period(0)
        return 0

    def _periodic_timer(self, argument: int) -> int:
        period = self._copy.take(argument, "Q")[0]
        if not MILLISECOND <= period <= LONGEST_PERIOD:
            raise Refused(Errno.EINVAL)
        self._set_period(period)
        return 0

    def _singleshot(self, argument: int) -> int:
        timeout, flags = self._copy.take(argument, "QI")
        if timeout >> 63:
            timeout = 0  # signed, and long ago
        if flags & abi.TIMER_FUTURE and timeout < self._board.now():
            raise Refused(Errno.ETIME)
        self._start_single(min(timeout, self._board.now() + HUGE_TIMEOUT))
        return 0

    def _register_info(self, argument: int) -> int:
        frame, offset = self._copy.take(argument, "QI4x")
        self._shared.move_vcpu(frame, offset)
        self.update_time()
        self._events.mark()
        return 0

    def _pointer(self, argument: int, wide: bool) -> int:
        return self._copy.take(argument, "Q" if wide else "I")[0]

    def _register_runstate(self, argument: int, wide: bool) -> int:
        address = self._pointer(argument, wide)
        self._copy.write(address, self._state(wide))
        self._runstate = (address, wide)
        return 0

    def _register_time(self, argument: int, wide: bool) -> int:
        address = self._pointer(argument, wide)
        self._time_area = address or None
        self.update_time()
        return 0
