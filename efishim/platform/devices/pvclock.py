"""The paravirtual clock of Xen and KVM: the parameters by which a guest converts its TSC to nanoseconds.

Sources: those of wire/pvclock.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.wire.pvclock import VcpuTimeInfo, WallClock

NS = 1_000_000_000
TIME_INFO_SIZE, WALL_CLOCK_SIZE = VcpuTimeInfo.SIZE, WallClock.SIZE
TSC_STABLE = 1 << 0
"""Flag: the time is the same on all processors without more ado."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A frequency as guests multiply with it: ns = ((ticks << shift) * multiplier) >> 32, a negative shift going right."""

    multiplier: int
    shift: int

    def ns(self, ticks: int) -> int:
        """Nanoseconds that so many ticks take."""
        shifted = ticks << self.shift if self.shift >= 0 else ticks >> -self.shift
        return shifted * self.multiplier >> 32


def scale_of(hz: int) -> Scale:
    """The scale of a counter: its frequency is brought between 1 and 2 GHz, so that the multiplier has 32 bits."""
    shift = 0
    while hz > 2 * NS:
        hz >>= 1
        shift -= 1
    while hz <= NS:
        hz <<= 1
        shift += 1
    return Scale((NS << 32) // hz, shift)


def time_info(version: int, tsc: int, system_ns: int, scale: Scale, flags: int) -> bytes:
    """struct vcpu_time_info, 32 bytes: at `tsc` it is `system_ns`. An even version says that it is whole."""
    return VcpuTimeInfo(
        version=version & 0xFFFF_FFFF,
        tsc_timestamp=tsc,
        system_time=system_ns & (1 << 64) - 1,
        tsc_to_system_mul=scale.multiplier,
        tsc_shift=scale.shift & 0xFF,
        flags=flags,
    ).build()


def wall_clock(version: int, epoch: int) -> bytes:
    """Version, seconds and nanoseconds since 1970 at system time 0: 12 bytes."""
    return WallClock(version=version, sec=epoch & 0xFFFF_FFFF).build()
