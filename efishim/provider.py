"""What the author of a plugin imports: providers, the neutral boot information, and the other things a plugin can give.

A provider is a producer of boot information. It writes its own *native structure* into guest memory (`produce`), parses
such a structure as an operating system would (`read_back`), and says which CPU state its specification demands at each
of its native entries (`cpu_state`). The lab calls it in this order:

1. the image and the modules are loaded (the provider has no part in that),
2. `produce` writes the native structure,
3. for a native entry, `cpu_state` gives the registers and the guest starts;
   for an entry behind the shim, `read_back` parses the bytes in guest memory and the EFI shim is built from nothing
   but what it returns.

`read_back` gets guest memory and the handover's two numbers, and no object that `produce` made: what the native
structure cannot say is not smuggled past it.

Importing this module imports no emulator, no image parser and no firmware.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from efishim.errors import ProviderError

if TYPE_CHECKING:
    from uuid import UUID

    from efishim.lab.record import Record
    from efishim.machine.cpu import Board
    from efishim.platform.definition import PlatformFacts, PlatformOptions
    from efishim.wire.layout import Layout

PAGE = 0x1000
TEXT_LIMIT = 64 << 10
"""Bytes of a string in guest memory."""


class MemoryKind(Enum):
    """What a range of physical memory is. The values are ACPI's address range types (ACPI 6.5 table 15.4)."""

    RAM = 1
    RESERVED = 2
    ACPI_RECLAIMABLE = 3
    ACPI_NVS = 4
    UNUSABLE = 5
    DISABLED = 6
    PERSISTENT = 7


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """Physical memory from `start`, `size` bytes."""

    start: int
    size: int
    kind: MemoryKind

    @property
    def end(self) -> int:
        """First address after the range."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Module:
    """Something that was loaded beside the kernel and lies in guest memory; the first is the initial ramdisk."""

    start: int
    size: int
    command_line: bytes = b""


@dataclass(frozen=True, slots=True)
class Framebuffer:
    """A linear framebuffer. Positions and sizes of the colours are in bits, `pitch` in bytes."""

    address: int
    width: int
    height: int
    pitch: int
    bits_per_pixel: int
    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a piece of boot information came from, or why it is missing; it goes into the record's notes."""

    field: str
    """Name of a field of BootInformation."""
    source: str
    """One clause: `hvm_start_info.memmap_paddr`, `BIOS area scan`, `multiboot 1 has no field for it`."""


@dataclass(frozen=True, slots=True)
class BootInformation:
    """The neutral record that every native structure converts into, and that the shim is built from.

    None and empty tuples mean that the structure does not say.
    """

    memory_map: tuple[MemoryRange, ...]
    command_line: bytes = b""
    modules: tuple[Module, ...] = ()
    rsdp: int | None = None
    """Physical address of ACPI's root pointer."""
    smbios: int | None = None
    """Physical address of the SMBIOS entry point."""
    framebuffer: Framebuffer | None = None
    provenance: tuple[Provenance, ...] = ()


class MachineFirmware(StrEnum):
    """What was there before the provider: on what its boot loader would run."""

    NONE = "none"
    """A hypervisor or a virtual machine monitor that starts the kernel itself."""
    BIOS = "bios"
    """Interrupt services, the BIOS data area, tables in the BIOS area."""
    EFI = "efi"
    """UEFI. The shim is then the machine's own firmware, and is built from what the machine is."""
    EFI_RUNTIME = "efi-runtime"
    """What a first kernel leaves of it for the next one: runtime services at the virtual addresses that Linux gave them."""


@dataclass(frozen=True, slots=True)
class EfiFacts:
    """EFI firmware after ExitBootServices, as a boot loader (or a kernel before kexec) hands it to a kernel; or before, when
    boot services are left to the kernel. Then there is an `image_handle`, and no memory map that would stay true.

    All addresses are physical, also after SetVirtualAddressMap. `fw_vendor`, `runtime`, `tables` and `smbios` are what a
    SETUP_EFI node passes on (arch/x86/include/asm/efi.h, struct efi_setup_data).
    """

    system_table: int
    memory_map: bytes
    """EFI_MEMORY_DESCRIPTORs, `descriptor_size` bytes each."""
    descriptor_size: int
    descriptor_version: int
    fw_vendor: int = 0
    runtime: int = 0
    tables: int = 0
    smbios: int = 0
    image_handle: int | None = None
    """What ExitBootServices has to be called with; None when that is done."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What the platform is, as the one who built it knows it. Providers tell the guest as much of it as they can."""

    memory_map: tuple[MemoryRange, ...]
    rsdp: int | None = None
    smbios: int | None = None
    framebuffer: Framebuffer | None = None
    efi: EfiFacts | None = None
    """Only for native entries of providers that run on EFI."""
    held: tuple[MemoryRange, ...] = ()
    """RAM that the machine's own EFI firmware keeps until boot services end, ascending; the last is where it lies itself."""


class GuestMemory(Protocol):
    """Guest-physical memory. `efishim.machine.memory.PhysicalMemory` is one; so is a plain fake in a test."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a physical address; raises an exception when no memory is there."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes at a physical address."""


class Arena:
    """Hands out guest RAM to what is placed before the guest runs: the lowest address that fits, or the highest."""

    def __init__(self, ranges: tuple[MemoryRange, ...], *, floor: int = PAGE) -> None:
        ram = [piece for piece in ranges if piece.kind is MemoryKind.RAM and piece.end > floor]
        self._free = sorted((max(piece.start, floor), piece.end) for piece in ram)
        self.used: list[tuple[int, int]] = []
        """(start, size) of everything that was taken, in that order."""

    def take(self, start: int, size: int) -> None:
        """Mark a range as used; parts of it that are not free RAM are ignored."""
        self.used.append((start, size))
        end, left = start + size, []
        for low, high in self._free:
            if end <= low or high <= start:
                left.append((low, high))
                continue
            left += [(a, b) for a, b in ((low, start), (end, high)) if a < b]
        self._free = left

    def fits(self, start: int, size: int) -> bool:
        """Is all of [start, start+size) free RAM?"""
        return any(low <= start and start + size <= high for low, high in self._free)

    def place(
        self, size: int, *, align: int = 16, above: int = 0, below: int = 1 << 32, high: bool = False, what: str = ""
    ) -> int:
        """An address for `size` bytes, aligned, in [above, below): the lowest, or with `high` the highest.

        Raises ProviderError when there is no room.
        """
        for low, top in reversed(self._free) if high else self._free:
            first = -(-max(low, above) // align) * align
            start = (min(top, below) - size) // align * align if high else first
            if first <= start and start + size <= min(top, below):
                self.take(start, max(size, 1))
                return start
        raise ProviderError(
            f"there is no room for {what or 'a structure'} of {size} bytes below {below:#x}",
            hint="give the guest more memory with -m",
        )


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
    """General registers, eflags and control registers by lower-case name."""
    segments: Mapping[str, Segment]
    identity_map: int = 0
    """For long mode: bytes of memory from 0 that the page tables map one to one."""
    descriptors: tuple[int, ...] = ()
    """A global descriptor table that must be loaded, as 64-bit words; empty when the specification asks for none."""


@dataclass(frozen=True, slots=True)
class Specification:
    """A document that a provider follows."""

    title: str
    link: str


@dataclass(frozen=True, slots=True)
class OptionHelp:
    """An option that `--option group.name=value` understands."""

    name: str
    help: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A door that a provider can drive."""

    name: str
    """`efi`, `pvh`, `linux64`, `linux32`, `linux16`, `multiboot`, `multiboot2`, `efi-handover` ..."""
    summary: str
    through_shim: bool
    """True when the EFI shim stands between the native structure and the image."""
    high: bool = False
    """This loader puts relocatable kernels at the top of memory below 4 GiB."""


class Provider(Protocol):
    """A producer of boot information. The first of `entries` is the one taken when the user names none."""

    @property
    def name(self) -> str:
        """What the user types."""

    @property
    def summary(self) -> str:
        """One line for lists."""

    @property
    def structure(self) -> str:
        """Name of the native structure: `hvm_start_info`, `boot_params`, `EFI system table`."""

    @property
    def specifications(self) -> tuple[Specification, ...]:
        """The documents that it follows."""

    @property
    def limits(self) -> tuple[str, ...]:
        """What it cannot say or does not do, one sentence each."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The doors that it can drive."""

    @property
    def options(self) -> tuple[OptionHelp, ...]:
        """What `--option` understands for it."""

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write the native structure into guest memory. Raises ProviderError."""

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse the native structure as an operating system would. Raises ProviderError when it is not valid."""

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """The state at a native entry. Raises ProviderError for an entry behind the shim."""


def text_at(memory: GuestMemory, address: int) -> bytes:
    """A NUL-terminated string, empty for a null pointer. Raises ProviderError when it has no end."""
    found = bytearray()
    while address and len(found) < TEXT_LIMIT:
        byte = memory.read(address + len(found), 1)
        if byte == b"\0":
            return bytes(found)
        found += byte
    if address:
        raise ProviderError(f"the string at {address:#x} does not end within {TEXT_LIMIT} bytes")
    return b""


def native_structures(provider: Provider, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
    """The pieces of the native structure, where the provider names them."""
    name = getattr(provider, "structures", None)
    return () if name is None else tuple(name(memory, handover))


def module_alignment(provider: Provider) -> int:
    """In which steps the provider's boot loader places modules, bytes: `module_alignment`, by default whole pages.

    They lie one behind the other with zeroes in between.
    """
    return int(getattr(provider, "module_alignment", PAGE))


def machine_firmware(provider: Provider, entry: str, options: Mapping[str, str]) -> MachineFirmware:
    """On what the provider's boot loader would run. A provider says so in a method `runs_on(entry, options)`; without
    one, nothing was there before it.
    """
    runs_on = getattr(provider, "runs_on", None)
    return MachineFirmware.NONE if runs_on is None else MachineFirmware(runs_on(entry, options))


def keeps_boot_services(provider: Provider, request: BootRequest) -> bool:
    """Does the provider's boot loader on EFI leave boot services to this kernel? A provider says so in a method
    `keeps_boot_services(request)`; without one they are ended before the kernel starts.
    """
    keeps = getattr(provider, "keeps_boot_services", None)
    return keeps is not None and bool(keeps(request))


def boot_information(
    provider: Provider,
    request: BootRequest,
    memory: GuestMemory,
    handover: Handover,
    firmware: MachineFirmware = MachineFirmware.NONE,
) -> BootInformation:
    """What the shim is built from: the bytes in guest memory, or the machine itself if its own firmware is EFI."""
    if handover.address is not None and firmware is not MachineFirmware.EFI:
        return provider.read_back(memory, handover)
    facts = request.facts
    return BootInformation(
        memory_map=facts.memory_map,
        command_line=request.command_line if handover.load_options is None else handover.load_options,
        modules=request.modules,
        rsdp=facts.rsdp,
        smbios=facts.smbios,
        framebuffer=facts.framebuffer,
    )


class Platform(Protocol):
    """The machine that the guest finds. `build` puts its devices on the board's buses and its tables into memory."""

    @property
    def name(self) -> str:
        """What the user types."""

    @property
    def summary(self) -> str:
        """One line for lists."""

    @property
    def options(self) -> tuple[OptionHelp, ...]:
        """What `--option` understands for it."""

    def build(self, board: Board, options: PlatformOptions) -> PlatformFacts:
        """Put the machine together. Raises UsageError for a feature that it does not have, MachineError."""


class FirmwareProtocol(Protocol):
    """An EFI protocol that the shim offers on top of its own."""

    @property
    def guid(self) -> UUID:
        """The protocol's GUID."""

    @property
    def name(self) -> str:
        """What the user types."""

    @property
    def summary(self) -> str:
        """One line for lists."""

    def install(self, shim: Any) -> None:
        """Put the interface structure and its functions into the shim, on a handle of its choice."""


class Observer(Protocol):
    """Watches a run and adds notes to its record."""

    @property
    def name(self) -> str:
        """What the user types."""

    @property
    def summary(self) -> str:
        """One line for lists."""

    def start(self, board: Board) -> None:
        """Called when the machine is built and the guest has not run."""

    def finish(self) -> list[str]:
        """Called when the run ended; gives notes for the record."""


class ReportFormat(Protocol):
    """A way to write a record: `--format NAME`."""

    @property
    def name(self) -> str:
        """What the user types."""

    @property
    def summary(self) -> str:
        """One line for lists."""

    def render(self, record: Record) -> str:
        """The whole document, with its last newline."""
