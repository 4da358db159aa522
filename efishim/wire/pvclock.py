"""The paravirtual clock of Xen and KVM.

Source: Xen's public/xen.h, struct vcpu_time_info; Linux Documentation/virt/kvm/x86/msr.rst (MSR_KVM_SYSTEM_TIME_NEW,
MSR_KVM_WALL_CLOCK_NEW).
"""

from __future__ import annotations

from efishim.wire.layout import Layout, u8, u32, u64


class VcpuTimeInfo(Layout):
    """struct vcpu_time_info; `tsc_shift` is a signed byte."""

    SIZE = 32

    version: int = u32(0)
    pad0: int = u32(4)
    tsc_timestamp: int = u64(8)
    system_time: int = u64(16)
    tsc_to_system_mul: int = u32(24)
    tsc_shift: int = u8(28)
    flags: int = u8(29)


class WallClock(Layout):
    """struct pvclock_wall_clock."""

    SIZE = 12

    version: int = u32(0)
    sec: int = u32(4)
    nsec: int = u32(8)
