"""HYPERVISOR_xen_version and HYPERVISOR_vm_assist: version and features (common/kernel.c, public/version.h)."""

from __future__ import annotations

from efishim.platform.xen.guest import GuestCopy
from efishim.wire import xen as abi
from efishim.wire.xen import Errno, Feature, Refused

FEATURES = frozenset(
    {
        Feature.WRITABLE_PAGE_TABLES,
        Feature.AUTO_TRANSLATED_PHYSMAP,
        Feature.HVM_CALLBACK_VECTOR,
        Feature.HVM_SAFE_PVCLOCK,
        Feature.MEMORY_OP_VNODE_SUPPORTED,
        Feature.NOT_DIRECT_MAPPED,
    }
)
"""Those of a PVH guest that is not the hardware domain: no interrupts of physical devices (HVM_PIRQS)."""
CAPABILITIES = b"xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 "
RUNSTATE_UPDATE_FLAG = 5
HYPERVISOR_VIRT_START, HYPERVISOR_COMPAT_VIRT_START = 0xFFFF_8000_0000_0000, 0xF580_0000
DENIED = b"<denied>"


def version_call(copy: GuestCopy, command: int, argument: int, wide: bool) -> int:
    """One operation. Raises Refused."""
    match command:
        case abi.XENVER_VERSION:
            return abi.VERSION_MAJOR << 16 | abi.VERSION_MINOR
        case abi.XENVER_EXTRAVERSION:
            data = abi.EXTRA_VERSION.ljust(16, b"\0")
        case abi.XENVER_COMPILE_INFO:
            data = b"".join(text.ljust(size, b"\0") for text, size in ((b"efishim", 64), (b"", 16), (b"", 32), (b"", 32)))
        case abi.XENVER_CAPABILITIES:
            data = CAPABILITIES.ljust(1024, b"\0")
        case abi.XENVER_CHANGESET:
            data = bytes(64)
        case abi.XENVER_PLATFORM_PARAMETERS:
            start = HYPERVISOR_VIRT_START if wide else HYPERVISOR_COMPAT_VIRT_START
            data = start.to_bytes(8 if wide else 4, "little")
        case abi.XENVER_GET_FEATURES:
            index, _ = copy.take(argument, "II")
            if index:
                raise Refused(Errno.EINVAL)
            argument += 4
            data = sum(1 << bit for bit in FEATURES).to_bytes(4, "little")
        case abi.XENVER_PAGESIZE:
            if argument:
                raise Refused(Errno.EINVAL)
            return abi.PAGE
        case abi.XENVER_GUEST_HANDLE:
            data = bytes(16)
        case abi.XENVER_COMMANDLINE:
            data = DENIED + b"\0"  # the hypervisor's, not the guest's
        case abi.XENVER_BUILD_ID:
            raise Refused(Errno.EPERM)
        case _:
            raise Refused(Errno.ENOSYS)
    copy.write(argument, data)
    return 0


def vm_assist(command: int, kind: int) -> int:
    """Only the flag in the runstate area can be switched by an HVM guest; it never matters on one processor."""
    if kind != RUNSTATE_UPDATE_FLAG:
        raise Refused(Errno.EINVAL)
    if command > 1:
        raise Refused(Errno.ENOSYS)
    return 0
