"""The interfaces that plugins implement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, assert_never

from efishim.errors import UsageError
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


MOST_DIGITS, SHOWN = 32, 40
_SWITCH = {"1": True, "on": True, "yes": True, "true": True, "0": False, "off": False, "no": False, "false": False}


@dataclass(frozen=True, slots=True)
class Specification:
    """A document that a provider follows."""

    title: str
    link: str


class OptionKind(StrEnum):
    """What values an option takes."""

    TEXT = "text"
    NUMBER = "number"
    """Decimal, or hexadecimal with 0x; not negative."""
    SWITCH = "switch"
    """1, on, yes, true, or 0, off, no, false."""
    CHOICE = "choice"
    """One of `choices`."""


@dataclass(frozen=True, slots=True)
class OptionHelp:
    """An option that `--option group.name=value` can set. A value of the wrong kind is refused before the machine is built; the
    methods give a provider its value, or the default: `COUNT.number(request.options)`.
    """

    name: str
    help: str
    default: str = ""
    kind: OptionKind = OptionKind.TEXT
    choices: tuple[str, ...] = ()
    """The values of a CHOICE."""

    def text(self, options: Mapping[str, str]) -> str:
        """The value as it was typed."""
        return options.get(self.name, self.default)

    def number(self, options: Mapping[str, str]) -> int:
        """The value of a NUMBER. Raises UsageError."""
        word = self.text(options).lower()
        digits, base = (word[2:], 16) if word.startswith("0x") else (word, 10)
        try:
            # int() also takes signs, spaces, underscores and digits of other alphabets.
            if not (digits.isascii() and digits.isalnum() and len(digits) <= MOST_DIGITS):
                raise ValueError(word)
            return int(digits, base)
        except ValueError:
            raise self._wrong(word, "a number") from None

    def switch(self, options: Mapping[str, str]) -> bool:
        """The value of a SWITCH. Raises UsageError."""
        word = self.text(options).lower()
        if word not in _SWITCH:
            raise self._wrong(word, "0 or 1")
        return _SWITCH[word]

    def check(self, options: Mapping[str, str]) -> None:
        """Raises UsageError for a value that is not of this kind."""
        match self.kind:
            case OptionKind.TEXT:
                return
            case OptionKind.NUMBER:
                self.number(options)
            case OptionKind.SWITCH:
                self.switch(options)
            case OptionKind.CHOICE:
                word = self.text(options)
                if word not in self.choices:
                    raise self._wrong(word, f"one of {', '.join(self.choices)}")
            case _:
                assert_never(self.kind)

    def _wrong(self, word: str, wanted: str) -> UsageError:
        return UsageError(f"the option {self.name} takes {wanted}, not {word[:SHOWN]!r}", hint=self.help)


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
        """The processor state at a native entry. Raises ProviderError for an entry through the shim. A provider whose state
        depends on more than that has a method `entry_state(request, memory, handover)`, which is called in its place.
        """


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
