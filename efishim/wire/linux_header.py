"""The setup header of a bzImage: the protocol version of each field, the names of its bits, and kernel_info.

Source: Documentation/arch/x86/boot.rst of the Linux sources, protocols 2.00 to 2.15. The structure itself is
`SetupHeader` in bootparams.py, since boot_params repeats it.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, text32, u32

HEADER_START = 0x1F1
"""Offset of the setup header in the image."""

JUMP_AT = 0x200
"""Offset of the two-byte jump whose displacement, counted from 0x202, is where the header ends."""

BOOT_FLAG = 0xAA55

HEAP_END_BIAS = 0x200
"""`heap_end_ptr` is the end of the heap counted from the start of the setup code, less this (boot.rst)."""

SETUP_STACK_SIZE = 1024
"""Stack that the setup code counts on: STACK_SIZE of arch/x86/boot/boot.h."""

DEFAULT_SETUP_SECTS = 4
"""What `setup_sects` means when it is zero."""

ENTRY64_OFFSET = 0x200
"""The 64-bit entry lies so far behind the start of the protected-mode code; likewise the 64-bit EFI handover entry
behind `handover_offset` (boot.rst, "64-bit boot protocol" and "EFI handover protocol").
"""

PAYLOAD_FROM = 0x208
"""First protocol with `payload_offset` and `payload_length`."""
XLOADFLAGS_FROM = 0x20C
HANDOVER_FROM = 0x20B
KERNEL_INFO_FROM = 0x20F

SINCE: dict[str, int] = {
    # fields that are not named here are in every protocol from 2.00 on
    "heap_end_ptr": 0x201,
    "ext_loader_ver": 0x202,
    "ext_loader_type": 0x202,
    "cmd_line_ptr": 0x202,
    "initrd_addr_max": 0x203,
    "kernel_alignment": 0x205,
    "relocatable_kernel": 0x205,
    "min_alignment": 0x20A,
    "xloadflags": XLOADFLAGS_FROM,
    "cmdline_size": 0x206,
    "hardware_subarch": 0x207,
    "hardware_subarch_data": 0x207,
    "payload_offset": PAYLOAD_FROM,
    "payload_length": PAYLOAD_FROM,
    "setup_data": 0x209,
    "pref_address": 0x20A,
    "init_size": 0x20A,
    "handover_offset": HANDOVER_FROM,
    "kernel_info_offset": KERNEL_INFO_FROM,
}
"""The first protocol version of each later field, as the `version` field counts it (0x20c is 2.12)."""

LOADED_HIGH = 1 << 0

LOADFLAGS: dict[int, str] = {
    LOADED_HIGH: "LOADED_HIGH",
    1 << 1: "KASLR_FLAG",
    1 << 5: "QUIET_FLAG",
    1 << 6: "KEEP_SEGMENTS",
    1 << 7: "CAN_USE_HEAP",
}

XLF_KERNEL_64 = 1 << 0
XLF_EFI_HANDOVER_32 = 1 << 2
XLF_EFI_HANDOVER_64 = 1 << 3

XLOADFLAGS: dict[int, str] = {
    XLF_KERNEL_64: "XLF_KERNEL_64",
    1 << 1: "XLF_CAN_BE_LOADED_ABOVE_4G",
    XLF_EFI_HANDOVER_32: "XLF_EFI_HANDOVER_32",
    XLF_EFI_HANDOVER_64: "XLF_EFI_HANDOVER_64",
    1 << 4: "XLF_EFI_KEXEC",
    1 << 5: "XLF_5LEVEL",
    1 << 6: "XLF_5LEVEL_ENABLED",
    1 << 7: "XLF_MEM_ENCRYPTION",
}

KERNEL_INFO_MAGIC = 0x506F544C
"""`kernel_info.header`: the letters LToP."""


class KernelInfo(Layout):
    """struct kernel_info, at `kernel_info_offset` from the start of the protected-mode code."""

    SIZE = 0x10

    header: int = text32(0x00)
    size: int = u32(0x04)
    size_total: int = u32(0x08)
    setup_type_max: int = u32(0x0C)
