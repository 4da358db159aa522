"""The paravirtual clock's arithmetic, against exact fractions."""

from __future__ import annotations

import struct
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from efishim.platform.devices.pvclock import scale_of, time_info, wall_clock


@given(st.integers(100_000, 100_000_000_000), st.integers(0, 1 << 45))
def test_scale_of_any_frequency(hz: int, ticks: int) -> None:
    """As precise as a 32-bit multiplier is, and it has its 32 bits."""
    scale = scale_of(hz)
    assert 1 << 31 <= scale.multiplier <= 1 << 32
    exact = Fraction(ticks * 1_000_000_000, hz)
    # A shift to the right loses up to that many ticks, a frequency cut by it up to one part in its upper bits.
    allowed = 2 + exact * Fraction(1, 1 << 30) + exact * Fraction(1 << max(0, -scale.shift), hz)
    allowed += Fraction((1 << max(0, -scale.shift)) * 1_000_000_000, hz)
    assert abs(scale.ns(ticks) - exact) <= allowed


def test_scale_of_two_gigahertz() -> None:
    """2 GHz exactly: 2^31 / 2^32 of a nanosecond for each tick."""
    assert (scale_of(2_000_000_000).multiplier, scale_of(2_000_000_000).shift) == (1 << 31, 0)
    assert (scale_of(500_000_000).shift, scale_of(500_000_000).multiplier) == (2, 1 << 31)


def test_layouts() -> None:
    """struct pvclock_vcpu_time_info: version, pad, tsc_timestamp, system_time, mul, shift, flags, pad; 32 bytes."""
    info = time_info(4, 0x1122334455667788, 99, scale_of(2_100_000_000), 1)
    assert len(info) == 32
    assert struct.unpack("<IIQQ", info[:24]) == (4, 0, 0x1122334455667788, 99)
    assert struct.unpack("<b", info[28:29]) == (-1,)
    assert info[29] == 1
    assert wall_clock(2, 1_460_000_000) == struct.pack("<III", 2, 1_460_000_000, 0)
