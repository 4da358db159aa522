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

    @property
    def functions(self) -> tuple[Function, ...]:
        """Its functions, as `efishim.firmware.calling.functions` declares them; may be left out when it has none."""

    @property
    def layout(self) -> type[Layout]:
        """Its structure, in which a function's place has the function's name; needed when it has functions."""

    def install(self, shim: Shim) -> None:
        """Put the interface structure and its functions into the shim, on a handle of its choice: `shim.context` builds it,
        `shim.config` says what the run has chosen. Called while the shim is being built, before any image is there.
        """


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
