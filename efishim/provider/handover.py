"""What a run passes to a provider and gets back: the request, the handover, and the processor state at a native entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from efishim.provider.information import MachineFacts, Module

if TYPE_CHECKING:
    from efishim.wire.layout import Layout


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where the lab put the image."""

    base: int
    size: int
    entry_point: int
    setup: int | None = None
    """Where the real-mode part of a Linux kernel is, boot sector first, for entries that run it."""
    efi_entry: int | None = None
    """Where the image wants to be entered instead while EFI boot services are alive."""


@dataclass(frozen=True, slots=True)
class BootRequest:
    """What a provider is asked to tell the guest. Modules are in guest memory already."""

    facts: MachineFacts
    command_line: bytes
    modules: tuple[Module, ...]
    image: bytes
    """The image file, for structures that repeat its header (boot_params)."""
    loaded: Loaded | None
    """Where the image was loaded; None when the EFI shim will load it."""
    options: Mapping[str, str]
    """The provider's own options by name, without the group."""
    entry: str = ""
    """The entry that will be used."""
    ramdisks: int = 0
    """How many ramdisks the user gave, in memory (`modules`) or still with the machine's own firmware."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What passes from `produce` to the reader: where the native structure is, and the magic number beside it.

    `address` is None only for a provider that is the machine's own firmware, or a boot loader on it that passes nothing
    but the image's load options; there is nothing to read back then.
    """

    address: int | None
    magic: int = 0
    load_options: bytes | None = None
    """The command line that an EFI boot loader passes, where it is not the one of the request."""
    notes: tuple[str, ...] = ()
    """What the record shall say about it: what could not be passed on, and what stands in its place."""
    boot_services: bool = False
    """The kernel is entered with EFI boot services alive: of `cpu_state` only `rip` and the registers count, the rest is as
    the firmware has it for its images (UEFI 2.10, 2.3.4).
    """
    left: Mapping[str, int] = field(default_factory=dict)
    """Registers that `cpu_state` shall have besides, by the names of CpuState: what the machine's firmware left in them."""
    ramdisks_on_disk: bool = False
    """The firmware has no ramdisk to offer (LoadFile2): the load options name files, as `ramdisk_files` calls them."""


def ramdisk_files(count: int) -> tuple[str, ...]:
    """The names of as many ramdisks on the device that an image comes from: `initrd.img`, `initrd1.img`."""
    return tuple(f"initrd{number or ''}.img" for number in range(count))


@dataclass(frozen=True, slots=True)
class Structure:
    """A piece of a native structure in guest memory, under the name that its specification gives it.

    A provider names them all in a method `structures(memory, handover)`, so that a record can show their fields and tell
    which of them the kernel read.
    """

    name: str
    """`hvm_start_info`, `hvm_memmap_table_entry[3]`, `command line`."""
    address: int
    size: int
    layout: type[Layout] | None = None
    """Its fields; None for plain bytes."""


class CpuMode(StrEnum):
    """How the processor runs at an entry."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment register with its hidden part. Base and limit in bytes; attributes are a descriptor's bits 40 to 55."""

    selector: int
    base: int
    limit: int
    attributes: int


@dataclass(frozen=True, slots=True)
class CpuState:
    """What a specification demands of the processor at an entry. Registers that are not named are zero."""

    mode: CpuMode
    rip: int
    registers: Mapping[str, int]
    """By lower-case name: general registers, eflags, control registers (cr0, cr3, cr4, efer), and the table registers as
    `gdtr.base`, `gdtr.limit`, `idtr.base` and `idtr.limit`. Control registers that are not named have what the mode needs.
    """
    segments: Mapping[str, Segment]
    identity_map: int = 0
    """For long mode: bytes of memory from 0 that the page tables map one to one. A provider with page tables of its own sets
    `cr3` among the registers instead.
    """
    descriptors: tuple[int, ...] = ()
    """A global descriptor table that must be loaded, as 64-bit words; empty when the specification asks for none. A provider
    that puts one at an address of its own sets `gdtr.base` and `gdtr.limit` among the registers instead.
    """
