"""The interfaces that plugins implement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from efishim.provider.arena import Arena, GuestMemory
from efishim.provider.handover import BootRequest, CpuState, Handover, Loaded
from efishim.provider.information import BootInformation

if TYPE_CHECKING:
    from uuid import UUID

    from efishim.firmware.calling.functions import Function
    from efishim.firmware.shim import Shim
    from efishim.lab.record import Record
    from efishim.machine.cpu import Board
    from efishim.platform.definition import PlatformFacts, PlatformOptions
    from efishim.wire.layout import Layout


@dataclass(frozen=True, slots=True)
class Specification:
    """A document that a provider follows."""

    title: str
    link: str


@dataclass(frozen=True, slots=True)
class OptionHelp:
    """An option that `--option group.name=value` can set."""

    name: str
    help: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that a provider can start a kernel at."""

    name: str
    """`efi`, `pvh`, `linux64`, `linux32`, `linux16`, `multiboot`, `multiboot2`, `efi-handover` ..."""
    summary: str
    through_shim: bool
    """True if the kernel boots on the EFI shim, which is built from the native structure."""
    high: bool = False
    """This loader puts relocatable kernels at the top of memory below 4 GiB."""


class Provider(Protocol):
    """A producer of boot information. The first of its `entries` is the default."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    @property
    def structure(self) -> str:
        """Name of the native structure: `hvm_start_info`, `boot_params`, `EFI system table`."""

    @property
    def specifications(self) -> tuple[Specification, ...]:
        """The documents that it implements."""

    @property
    def limits(self) -> tuple[str, ...]:
        """What it cannot express or does not implement, one sentence each."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries that it can start a kernel at."""

    @property
    def options(self) -> tuple[OptionHelp, ...]:
        """The options that `--option` can set."""

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write the native structure into guest memory. Raises ProviderError."""

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse the native structure as an operating system would. Raises ProviderError if it is invalid."""

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """The processor state at a native entry. Raises ProviderError for an entry through the shim."""


class Platform(Protocol):
    """A machine to emulate. `build` attaches its devices to the board's buses and writes its tables to memory."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    @property
    def options(self) -> tuple[OptionHelp, ...]:
        """The options that `--option` can set."""

    def build(self, board: Board, options: PlatformOptions) -> PlatformFacts:
        """Build the machine. Raises UsageError for an unknown feature, and MachineError."""


class FirmwareProtocol(Protocol):
    """An EFI protocol that the shim offers in addition to its own."""

    @property
    def guid(self) -> UUID:
        """The protocol's GUID."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    @property
    def functions(self) -> tuple[Function, ...]:
        """Its functions, declared as in `efishim.firmware.calling.functions`; optional if there are none."""

    @property
    def layout(self) -> type[Layout]:
        """Its structure, with a field named after each function; required if there are functions."""

    def install(self, shim: Shim) -> None:
        """Install the interface structure and its functions on a handle of the shim. `shim.context` builds the structure,
        `shim.config` has the options of the run. Called while the shim is being built, before any image is loaded.
        """


class Observer(Protocol):
    """Watches a run and adds notes to its record."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    def start(self, board: Board) -> None:
        """Called once the machine is built, before the guest runs."""

    def finish(self) -> list[str]:
        """Called when the run has ended; returns notes for the record."""


class ReportFormat(Protocol):
    """An output format of a record: `--format NAME`."""

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    def render(self, record: Record) -> str:
        """The complete document, including the final newline."""
