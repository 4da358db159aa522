"""Names the parts of a boot_params in guest memory, so that a record can show their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.provider import Structure, text_at
from efishim.wire.bootparams import E820_TABLE, SETUP_TYPES, BootParams, E820Entry, EfiSetupData, SetupData
from efishim_plugins.boot_params.memory_map import SETUP_EFI
from efishim_plugins.boot_params.reading import CMD_LINE_PTR_FROM, MAX_NODES, SETUP_DATA_FROM

if TYPE_CHECKING:
    from efishim.provider import GuestMemory

MAX_EFI_MAP = 1 << 20


def of(memory: GuestMemory, address: int | None) -> tuple[Structure, ...]:
    """boot_params, its e820 entries, command line, EFI memory map and setup_data nodes; empty without an address.

    Raises what `memory` raises for pointers that lead nowhere, and ProviderError for a command line without end.
    """
    if address is None:
        return ()
    params = BootParams.parse(memory.read(address, BootParams.SIZE))
    found = [Structure("boot_params", address, BootParams.SIZE, BootParams)]
    for index in range(len(params.e820())):
        at = address + E820_TABLE + index * E820Entry.SIZE
        found.append(Structure(f"e820_table[{index}]", at, E820Entry.SIZE, E820Entry))
    # Before these versions of the protocol other things lie where the fields are now, as old headers are shorter.
    line = params.cmd_line() if params.hdr.version >= CMD_LINE_PTR_FROM else 0
    if line:
        found.append(Structure("command line", line, len(text_at(memory, line)) + 1))
    info = params.efi_info
    if 0 < info.efi_memmap_size <= MAX_EFI_MAP:
        found.append(Structure("EFI memory map", info.efi_memmap_hi << 32 | info.efi_memmap, info.efi_memmap_size))
    return (*found, *_nodes(memory, params.hdr.setup_data if params.hdr.version >= SETUP_DATA_FROM else 0))


def _nodes(memory: GuestMemory, first: int) -> list[Structure]:
    found: list[Structure] = []
    seen: set[int] = set()
    address = first
    while address:
        if address in seen or len(seen) == MAX_NODES:
            raise ProviderError(f"the setup_data chain from {first:#x} has no end")
        seen.add(address)
        head = SetupData.parse(memory.read(address, SetupData.SIZE))
        name = SETUP_TYPES.get(head.type, f"type {head.type}")
        found.append(Structure(f"setup_data {name}", address, SetupData.SIZE, SetupData))
        layout = EfiSetupData if head.type == SETUP_EFI else None
        found.append(Structure(f"{name} body", address + SetupData.SIZE, head.len, layout))
        address = head.next
    return found
