"""What boot_params.efi_info leads to: the EFI memory map and the system table with its configuration tables.

Source: UEFI Specification 2.10, sections 4.3 (system table), 4.6 (configuration tables) and 7.2 (memory descriptors).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from efishim.lab.record.values import Hex, Name, Part, Text

MAX_DESCRIPTORS = 4096
MAX_TABLES = 256


class EfiMemoryView(Part, frozen=True):
    """One EFI_MEMORY_DESCRIPTOR."""

    type: Hex
    """EFI_MEMORY_TYPE."""
    type_name: Name
    """The specification's name of it, or `unknown`."""
    physical_start: Hex
    """Physical address of the first byte."""
    virtual_start: Hex
    """Virtual address; 0 before SetVirtualAddressMap()."""
    number_of_pages: Hex
    """Pages of 4 KiB."""
    attribute: Hex
    """EFI_MEMORY_ bits."""
    attribute_names: Annotated[tuple[Name, ...], Meta(max_length=64)]
    """Their names without the prefix EFI_MEMORY_, in the order of the bits; what has no name is one number."""


class EfiMemoryMapView(Part, frozen=True):
    """The map as the kernel gets it."""

    address: Hex
    """Physical address."""
    size: Hex
    """Bytes."""
    descriptor_size: Hex
    """Bytes from one descriptor to the next."""
    descriptor_version: Hex
    """Version of EFI_MEMORY_DESCRIPTOR: 1."""
    descriptors: Annotated[tuple[EfiMemoryView, ...], Meta(max_length=MAX_DESCRIPTORS)] = ()
    """In the order of the map."""
    problem: Text = ""
    """Why descriptors are missing."""


class ConfigurationTableView(Part, frozen=True):
    """One EFI_CONFIGURATION_TABLE."""

    guid: Name
    """As the specification writes GUIDs, in lower case."""
    name: Name
    """The specification's or the kernel's name of it; empty for a GUID that is not known here."""
    address: Hex
    """Of the table that it points to."""


class SystemTableView(Part, frozen=True):
    """The parts of the EFI system table that an operating system keeps using."""

    address: Hex
    """Physical address of the system table."""
    signature: Name = ""
    """`IBI SYST`."""
    revision: Hex = field(default_factory=Hex)
    """Of the specification, major and minor half: 0x20064 is 2.10."""
    vendor: Name = ""
    """FirmwareVendor."""
    firmware_revision: Hex = field(default_factory=Hex)
    """FirmwareRevision, the vendor's own number."""
    runtime_services: Hex = field(default_factory=Hex)
    """Address of the runtime services table."""
    boot_services: Hex = field(default_factory=Hex)
    """Address of the boot services table; 0 after ExitBootServices()."""
    configuration_tables: Annotated[tuple[ConfigurationTableView, ...], Meta(max_length=MAX_TABLES)] = ()
    """In their order."""
    problem: Text = ""
    """What is wrong with it."""


class EfiView(Part, frozen=True):
    """All that efi_info leads to."""

    loader_signature: Name
    """`EL64` or `EL32`; without it the other parts are null."""
    memory_map: EfiMemoryMapView | None = None
    """What efi_memmap leads to."""
    system_table: SystemTableView | None = None
    """What efi_systab leads to."""
