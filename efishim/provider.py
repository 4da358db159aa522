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
    from efishim.platform.profile import PlatformFacts, PlatformOptions

PAGE = 0x1000


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


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What the platform is, as the one who built it knows it. Providers tell the guest as much of it as they can."""

    memory_map: tuple[MemoryRange, ...]
    rsdp: int | None = None
    smbios: int | None = None
    framebuffer: Framebuffer | None = None


class GuestMemory(Protocol):
    """Guest-physical memory. `efishim.machine.memory.PhysicalMemory` is one; so is a plain fake in a test."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a physical address; raises an exception when no memory is there."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes at a physical address."""


class Arena:
    """Hands out guest RAM to what is placed before the guest runs: always the lowest address that fits."""

    def __init__(self, ranges: tuple[MemoryRange, ...], *, floor: int = PAGE) -> None:
        ram = [piece for piece in ranges if piece.kind is MemoryKind.RAM and piece.end > floor]
        self._free = sorted((max(piece.start, floor), piece.end) for piece in ram)

    def take(self, start: int, size: int) -> None:
        """Mark a range as used; parts of it that are not free RAM are ignored."""
        end, left = start + size, []
        for low, high in self._free:
            if end <= low or high <= start:
                left.append((low, high))
                continue
            left += [(a, b) for a, b in ((low, start), (end, high)) if a < b]
        self._free = left

    def place(self, size: int, *, align: int = 16, above: int = 0, below: int = 1 << 32, what: str = "") -> int:
        """An address for `size` bytes, aligned, in [above, below). Raises ProviderError when there is no room."""
        for low, high in self._free:
            start = -(-max(low, above) // align) * align
            if start + size <= min(high, below):
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


@dataclass(frozen=True, slots=True)
class Handover:
    """What passes from `produce` to the reader: where the native structure is, and the magic number beside it.

    `address` is None only for a provider that is the machine's own firmware, which has nothing to read back.
    """

    address: int | None
    magic: int = 0


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


def boot_information(
    provider: Provider, request: BootRequest, memory: GuestMemory, handover: Handover
) -> BootInformation:
    """What the shim is built from: the bytes in guest memory, or the machine itself if the provider is its firmware."""
    if handover.address is not None:
        return provider.read_back(memory, handover)
    facts = request.facts
    return BootInformation(
        memory_map=facts.memory_map,
        command_line=request.command_line,
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
