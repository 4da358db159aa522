"""What hvm_start_info and the Multiboot information must be: held against the modules, the ranges and the map of the run."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.compare.inputs import ENTRY_MEMORY
from efishim.compare.predicates import memory
from efishim.compare.predicates.values import (
    KIB,
    Law,
    Value,
    between,
    count,
    counted,
    in_memory,
    mapped_acpi,
    named,
    nothing,
    null_or,
    one_of,
    text_of,
)
from efishim.lab.record import ModuleView


def _lower(value: Value) -> bool:
    areas = value.seen.facts.maps.get(ENTRY_MEMORY, ())
    return any(one.kind == "RAM" and one.start == 0 and one.end // KIB == value.number for one in areas)


def _upper(value: Value) -> bool:
    areas = value.seen.facts.maps.get(ENTRY_MEMORY, ())
    return any(one.kind == "RAM" and one.start == memory.MIB and (one.end - one.start) // KIB == value.number for one in areas)


def _module_start(value: Value) -> bool:
    """Module and structure have the same number; the first module is the ramdisk."""
    number = value.fact.subject.partition("[")[2].rstrip("]")
    return value.text == ("&initrd" if number in ("", "0") else f"&module[{number}]")


def _module_end(value: Value) -> bool:
    view = value.seen.record.entry_view
    return view is not None and any(value.number == one.address + one.size for one in view.modules)


HVM_MAGIC, MODULE, MMAP = 0x336E_C578, "multiboot_module", "multiboot_mmap_entry"
MULTIBOOT_FLAGS = 0x1FFF
STRUCTURES: Mapping[str, Mapping[str, Law]] = {
    # xen/include/public/arch-x86/hvm/start_info.h
    "hvm_start_info": {
        "magic": one_of(HVM_MAGIC),
        "version": one_of(0, 1),
        "flags": nothing,
        "nr_modules": counted("hvm_modlist_entry"),
        "modlist_paddr": null_or(named("hvm_modlist_entry[0]")),
        "cmdline_paddr": null_or(named("command_line")),
        "rsdp_paddr": mapped_acpi,
        "memmap_paddr": named("hvm_memmap_table_entry[0]"),
        "memmap_entries": counted("hvm_memmap_table_entry"),
        "reserved": nothing,
    },
    "hvm_modlist_entry": {
        "paddr": text_of("&initrd", *(f"&module[{index}]" for index in range(1, 32))),
        "size": lambda value: any(value.number == one.size for one in _modules(value)),
        "cmdline_paddr": null_or(in_memory),
        "reserved": nothing,
    },
    # Multiboot 0.6.96 section 3.3
    "multiboot_info": {
        "flags": lambda value: value.number & ~MULTIBOOT_FLAGS == 0 and bool(value.number & 1) and bool(value.number & 0x40),
        "mem_lower": _lower,
        "mem_upper": _upper,
        "cmdline": named("command_line"),
        "mods_count": counted(MODULE),
        "mods_addr": text_of(f"&{MODULE}[0]"),
        "mmap_length": lambda value: value.number == 24 * count(value.seen, MMAP),
        "mmap_addr": text_of(f"&{MMAP}[0]"),
        "boot_loader_name": in_memory,
    },
    MODULE: {"mod_start": _module_start, "mod_end": _module_end, "string": null_or(in_memory), "reserved": nothing},
    # Multiboot2 2.0 section 3.6
    "multiboot2_info": {"total_size": between(8, 0x1_0000), "reserved": nothing},
    "tag_MODULE": {"mod_start": _module_start, "mod_end": _module_end},
    "tag_LOAD_BASE_ADDR": {"pointer": in_memory},
    "tag_BASIC_MEMINFO": {"mem_lower": _lower, "mem_upper": _upper},
    "tag_MMAP": {
        "entry_size": one_of(24),
        "entry_version": one_of(0),
        "size": lambda value: value.number == 16 + 24 * count(value.seen, MMAP),
    },
}
TAGS: Mapping[str, int] = {
    "CMDLINE": 1,
    "BOOT_LOADER_NAME": 2,
    "MODULE": 3,
    "BASIC_MEMINFO": 4,
    "MMAP": 6,
    "EFI32": 11,
    "EFI64": 12,
    "SMBIOS": 13,
    "ACPI_OLD": 14,
    "ACPI_NEW": 15,
    "NETWORK": 16,
    "EFI_MMAP": 17,
    "EFI_BS": 18,
    "EFI32_IH": 19,
    "EFI64_IH": 20,
    "LOAD_BASE_ADDR": 21,
}
"""Types of Multiboot2 tags (section 3.6)."""


def _modules(value: Value) -> list[ModuleView]:
    view = value.seen.record.entry_view
    return [] if view is None else list(view.modules)
