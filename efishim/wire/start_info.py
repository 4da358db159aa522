"""struct hvm_start_info, to which EBX points in a PVH (HVMLite) guest.

Source: xen/include/public/arch-x86/hvm/start_info.h; the state of the processor at the entry is in
docs/misc/pvh.pandoc of the Xen sources.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, u32, u64

XEN_HVM_START_MAGIC_VALUE = 0x336EC578
"""`xEn3` with the top bit of the E set."""

XEN_HVM_MEMMAP_TYPES: dict[int, str] = {
    1: "RAM",
    2: "RESERVED",
    3: "ACPI",
    4: "NVS",
    5: "UNUSABLE",
    6: "DISABLED",
    7: "PMEM",
}

SIF_FLAGS: dict[int, str] = {
    # xen/include/public/xen.h, the bits of `flags`
    1 << 0: "SIF_PRIVILEGED",
    1 << 1: "SIF_INITDOMAIN",
    1 << 2: "SIF_MULTIBOOT_MOD",
    1 << 3: "SIF_MOD_START_PFN",
    1 << 4: "SIF_VIRT_P2M_4TOOLS",
}


class HvmStartInfoV0(Layout):
    """Version 0: no memory map. A guest has to ask by hypercall (XENMEM_memory_map)."""

    SIZE = 40

    magic: int = u32(0)
    version: int = u32(4)
    flags: int = u32(8)
    nr_modules: int = u32(12)
    modlist_paddr: int = u64(16)
    cmdline_paddr: int = u64(24)
    rsdp_paddr: int = u64(32)


class HvmStartInfo(HvmStartInfoV0):
    """Version 1. Read it only after HvmStartInfoV0 said so: a version 0 structure ends before `memmap_paddr`."""

    SIZE = 56

    memmap_paddr: int = u64(40)
    memmap_entries: int = u32(48)
    reserved: int = u32(52)


class HvmModlistEntry(Layout):
    """struct hvm_modlist_entry; the first module is the initial ramdisk by Linux's convention."""

    SIZE = 32

    paddr: int = u64(0)
    size: int = u64(8)
    cmdline_paddr: int = u64(16)
    reserved: int = u64(24)


class HvmMemmapTableEntry(Layout):
    """struct hvm_memmap_table_entry; types are XEN_HVM_MEMMAP_TYPES, which agree with e820's up to 7, except for 6."""

    SIZE = 24

    addr: int = u64(0)
    size: int = u64(8)
    type: int = u32(16)
    reserved: int = u32(20)
