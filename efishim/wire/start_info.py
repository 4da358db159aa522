"""struct hvm_start_info: what a PVH (HVMLite) guest finds behind EBX.

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

    magic = u32(0)
    version = u32(4)
    flags = u32(8)
    nr_modules = u32(12)
    modlist_paddr = u64(16)
    cmdline_paddr = u64(24)
    rsdp_paddr = u64(32)


class HvmStartInfo(HvmStartInfoV0):
    """Version 1. Read it only after HvmStartInfoV0 said so: a version 0 structure ends before `memmap_paddr`."""

    SIZE = 56

    memmap_paddr = u64(40)
    memmap_entries = u32(48)
    reserved = u32(52)


class HvmModlistEntry(Layout):
    """struct hvm_modlist_entry; the first module is the initial ramdisk by Linux's convention."""

    SIZE = 32

    paddr = u64(0)
    size = u64(8)
    cmdline_paddr = u64(16)
    reserved = u64(24)


class HvmMemmapTableEntry(Layout):
    """struct hvm_memmap_table_entry; types are XEN_HVM_MEMMAP_TYPES, which agree with e820's up to 7 but for 6."""

    SIZE = 24

    addr = u64(0)
    size = u64(8)
    type = u32(16)
    reserved = u32(20)
