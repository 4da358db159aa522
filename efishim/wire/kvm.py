"""KVM's hypercalls (Linux include/uapi/linux/kvm_para.h; Documentation/virt/kvm/x86/hypercalls.rst)."""

from __future__ import annotations

from enum import IntEnum


class Call(IntEnum):
    """Numbers of the hypercalls of x86."""

    VAPIC_POLL_IRQ = 1
    KICK_CPU = 5
    CLOCK_PAIRING = 9
    SEND_IPI = 10
    SCHED_YIELD = 11


class Errno(IntEnum):
    """Errors; hypercalls answer with their negative."""

    EPERM = 1
    E2BIG = 7
    EFAULT = 14
    EINVAL = 22
    EOPNOTSUPP = 95
    ENOSYS = 1000
