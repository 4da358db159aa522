"""Views: the native structure at the entry, the boot information later on, and the machine.

Nothing in a view is believed: where a pointer leads nowhere stands a `problem`, and every list has a bound. Numbers are
hexadecimal in JSON, sizes included. Sources: Documentation/arch/x86/boot.rst, zero-page.rst and the kernel's uapi headers.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from efishim.lab.record.efi_view import EfiView
from efishim.lab.record.processor import ProcessorState
from efishim.lab.record.values import Count, Digits, Fields, Hex, Name, Part, Sha256, Sha256OrEmpty, Signed, Text

MAX_NODES = 64
"""Of the setup_data chain."""
MAX_E820 = 1024
"""Entries of one memory map."""
MANY = 1 << 16


class E820View(Part, frozen=True):
    """One range of a memory map, struct boot_e820_entry."""

    addr: Hex
    """Physical address of the first byte."""
    size: Hex
    """Bytes."""
    type: Hex
    """The kernel's number of the type (arch/x86/include/asm/e820/types.h)."""
    type_name: Name
    """Its name there without E820_TYPE_, or `unknown`."""


class SetupDataView(Part, frozen=True):
    """One node of the setup_data chain. Of nodes with SETUP_INDIRECT, `body` has what they point to."""

    address: Hex
    """Physical address of the node."""
    type: Hex
    """SETUP_ number (setup_data.h)."""
    type_name: Name
    """Its name, or `unknown`."""
    len: Hex
    """Bytes behind the node's head."""
    body: Fields = field(default_factory=Fields)
    """The decoded fields under the names of the kernel's headers; empty for a type without known structure."""
    rest: Digits = ""
    """What lies behind the decoded fields, at most 64 bytes of it."""
    e820: Annotated[tuple[E820View, ...], Meta(max_length=MAX_E820)] = ()
    """The ranges of a SETUP_E820_EXT node."""
    sha256: Sha256OrEmpty = ""
    """Of the whole body."""
    problem: Text = ""
    """Why the body could not be read."""


class SetupDataChain(Part, frozen=True):
    """The chain from hdr.setup_data on."""

    nodes: Annotated[tuple[SetupDataView, ...], Meta(max_length=MAX_NODES)]
    """In the order of the chain."""
    problem: Text = ""
    """Why it ended when that was not a null pointer."""


class CommandLineView(Part, frozen=True):
    """The kernel's command line."""

    address: Hex
    """Physical address: hdr.cmd_line_ptr and ext_cmd_line_ptr."""
    text: Text = ""
    """Without its NUL; bytes that are not UTF-8 appear as \\xNN."""
    problem: Text = ""
    """Why it could not be read."""


class InitrdView(Part, frozen=True):
    """The initial ramdisk, all given ones behind each other."""

    address: Hex
    """Physical address: hdr.ramdisk_image and ext_ramdisk_image."""
    size: Hex
    """Bytes: hdr.ramdisk_size and ext_ramdisk_size."""
    sha256: Sha256OrEmpty = ""
    """Of its bytes."""
    problem: Text = ""
    """Why it was not hashed."""


class BootView(Part, frozen=True):
    """Everything that the kernel was told. The parts after `e820` are null when boot_params itself cannot be read."""

    address: Hex
    """Physical address of boot_params."""
    boot_params: Fields
    """Each field of the structure under its full name, zero ones too, except e820_table, which is `e820`."""
    cpu: ProcessorState
    """The processor at the same moment."""
    e820: Annotated[tuple[E820View, ...], Meta(max_length=MAX_E820)] = ()
    """The first `e820_entries` entries of e820_table."""
    setup_data: SetupDataChain | None = None
    """What hdr.setup_data leads to."""
    efi: EfiView | None = None
    """What efi_info leads to."""
    command_line: CommandLineView | None = None
    """What cmd_line_ptr leads to."""
    initrd: InitrdView | None = None
    """What ramdisk_image leads to."""
    problem: Text = ""
    """Why boot_params could not be read, or what is wrong with it."""


class StructureView(Part, frozen=True):
    """One piece of the native structure."""

    name: Text
    """As the provider calls it: `hvm_start_info`, `e820_table[3]`."""
    address: Hex
    """Physical address."""
    size: Hex
    """Bytes."""
    fields: Fields = field(default_factory=Fields)
    """Its fields under the names of its specification."""
    text: Text = ""
    """What it is when it has no fields, as a command line; at most 4096 bytes."""
    problem: Text = ""
    """Why it could not be read."""


class ModuleView(Part, frozen=True):
    """A module in guest memory, as a ramdisk."""

    address: Hex
    """Physical address."""
    size: Hex
    """Bytes."""
    sha256: Sha256OrEmpty = ""
    """Of its bytes."""
    command_line: Text = ""
    """The module's own, of protocols that have one."""
    problem: Text = ""
    """Why it was not hashed."""


class EntryView(Part, frozen=True):
    """Everything at the first instruction of the image."""

    cpu: ProcessorState
    """The processor."""
    structures: Annotated[tuple[StructureView, ...], Meta(max_length=MANY)] = ()
    """The native structure, piece by piece."""
    modules: Annotated[tuple[ModuleView, ...], Meta(max_length=MANY)] = ()
    """The modules, as the provider's reader finds them."""


class MachineArea(Part, frozen=True):
    """A range of the machine's own memory map."""

    start: Hex
    """Physical address of the first byte."""
    size: Hex
    """Bytes."""
    type: Name
    """The kernel's name of the type without E820_TYPE_, or `unknown`."""


class CpuidLeaf(Part, frozen=True, kw_only=True):
    """What CPUID answers for one leaf (SDM volume 2, CPUID)."""

    leaf: Hex
    """EAX before."""
    subleaf: Hex | None = None
    """ECX before; null for a leaf that does not look at it."""
    eax: Hex
    """EAX after."""
    ebx: Hex
    """EBX after."""
    ecx: Hex
    """ECX after."""
    edx: Hex
    """EDX after."""

    @property
    def name(self) -> str:
        """`leaf` or `leaf.subleaf`, as in the ledger."""
        return f"{self.leaf}" if self.subleaf is None else f"{self.leaf}.{self.subleaf}"


class MsrValue(Part, frozen=True):
    """A model-specific register at power-on."""

    number: Hex
    """Its number (SDM volume 4)."""
    value: Hex
    """What RDMSR gives, 64 bits."""


class AcpiTableView(Part, frozen=True):
    """One ACPI table, by content: where it lies is no part of what it says."""

    signature: Name
    """Four letters, as `FACP`."""
    size: Count
    """Bytes."""
    sha256: Sha256
    """Of its bytes; of the FADT without its pointers to other tables and without its checksum."""


class MachineView(Part, frozen=True):
    """The machine as the guest can find it, whether it looks or not."""

    memory_map: Annotated[tuple[MachineArea, ...], Meta(max_length=MANY)]
    """RAM and what is reserved, by address."""
    features: dict[Name, Signed]
    """The platform's switches and their values."""
    cpuid: Annotated[tuple[CpuidLeaf, ...], Meta(max_length=MANY)]
    """Leaves without subleaves, then those with, by number."""
    msrs: Annotated[tuple[MsrValue, ...], Meta(max_length=MANY)]
    """Those that can be read, in the platform's order."""
    acpi: Annotated[tuple[AcpiTableView, ...], Meta(max_length=MANY)]
    """The tables that the RSDP leads to."""
