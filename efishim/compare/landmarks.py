"""Names the addresses of a record, so that the same thing at two addresses compares equal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from efishim.lab.record import BootView, FieldValue, Hex, Milestone, Record

LOWEST = 0x1000
"""Numbers below it are hardly addresses, and are left as they are."""

KERNEL_HALF = 0xFFFF_FFFF_8000_0000
"""__START_KERNEL_map, Documentation/arch/x86/x86_64/mm.rst."""

PHYSICAL_LIMIT = 1 << 52
"""Physical addresses have at most 52 bits (Intel SDM volume 3, 4.1.4)."""

POINTERS = re.compile(
    r"(?:.*_paddr|paddr|.*_ptr|ramdisk_image|acpi_rsdp_addr|efi_systab|efi_memmap|setup_data|cmdline|mods_addr|mmap_addr"
    r"|mod_start|code32_start)$"
)
"""Fields that hold addresses, in every native structure that names its fields as its specification does."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Where things with names begin, at one stage of a run."""

    names: Mapping[int, str]
    kernel: int | None = None
    """Physical address of the kernel proper."""
    start_kernel: int | None = None
    """Virtual address of start_kernel()."""

    def pointer(self, field: str, value: FieldValue) -> str:
        """The value of a field, by its own name."""
        return self.named(value) if isinstance(value, Hex) and POINTERS.match(field) else str(value)

    def named(self, value: Hex) -> str:
        """`&name` for an address where something begins, or the number as it is."""
        name = self.names.get(value) if value >= LOWEST else None
        return f"&{name}" if name is not None else str(value)

    def in_kernel(self, number: Hex) -> str:
        """An address that is known to lie in the kernel proper, relative to it."""
        if number >= KERNEL_HALF and self.start_kernel is not None:
            return f"&start_kernel{number - self.start_kernel:+#x}"
        if self.kernel is not None and LOWEST <= self.kernel <= number < PHYSICAL_LIMIT:
            return f"&kernel{number - self.kernel:+#x}"
        return str(number)


def landmarks(record: Record, view: BootView | None) -> Landmarks:
    """What is known about the addresses of a record; `view` is the boot view of the stage, None for the entry."""
    names: dict[int, str] = {}
    found = {**dict(_entry(record)), **dict(_view(view))} if view is not None else dict(_entry(record))
    for address, name in found.items():
        if address >= LOWEST:
            names.setdefault(address, name)
    points = {point.name: int(point.at.address) for point in record.milestones if point.at is not None}
    kernel = points.get(Milestone.STARTUP_64)
    if kernel is None and record.boot_view is not None:  # startup_32 is no milestone, but the view was taken there
        kernel = int(record.boot_view.cpu.registers.rip)
    if kernel is not None and view is not None:
        names.setdefault(kernel, "kernel")
    return Landmarks(names, kernel, points.get(Milestone.START_KERNEL))


def _entry(record: Record) -> Iterator[tuple[int, str]]:
    if record.entry_view is None:
        return
    for index, module in enumerate(record.entry_view.modules):
        yield module.address, "initrd" if index == 0 else f"module[{index}]"
    for structure in record.entry_view.structures:
        yield structure.address, structure.name.replace(" ", "_")


def _view(view: BootView) -> Iterator[tuple[int, str]]:
    yield view.address, "boot_params"
    line, initrd, chain, efi = view.command_line, view.initrd, view.setup_data, view.efi
    if line is not None:
        yield line.address, "command_line"
    if initrd is not None:
        yield initrd.address, "initrd"
    for node in chain.nodes if chain is not None else ():
        yield node.address, f"setup_data.{node.type_name}"
    if efi is None:
        return
    if efi.memory_map is not None:
        yield efi.memory_map.address, "efi.memory_map"
    if efi.system_table is not None:
        yield efi.system_table.address, "efi.system_table"
