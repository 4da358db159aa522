"""Definition of a platform: a name, features that can be switched individually, and a function that builds the machine.

A definition is data and a small builder function; code shared by builders is in machines/builder.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from efishim.errors import UsageError
from efishim.machine.cpu import Board
from efishim.memory_range import MemoryKind, MemoryRange
from efishim.platform.devices.cpuid import CpuidModel
from efishim.platform.devices.interrupts import PcInterrupts
from efishim.platform.devices.rtc import Rtc
from efishim.platform.devices.uart import Uart
from efishim.platform.resources import Resource

MIB, GIB = 1 << 20, 1 << 30
EBDA = "EBDA"
"""Content of the memory range that a platform keeps for the extended BIOS data area."""
_WORDS = {"on": 1, "yes": 1, "true": 1, "off": 0, "no": 0, "false": 0}


@dataclass(frozen=True, slots=True)
class Feature:
    """Something about a machine that can be switched or set alone: `--option platform.NAME=VALUE`."""

    name: str
    help: str
    default: int = 1
    maximum: int = 1

    def parse(self, text: str) -> int:
        """The value that a user wrote: a number from 0 to `maximum`, or on and off. Raises UsageError."""
        word = text.strip().lower()
        value = _WORDS.get(word)
        if value is None and word.isascii() and word.isdigit() and len(word) < 12:
            value = int(word)
        if value is None or value > self.maximum:
            choices = "0 or 1" if self.maximum == 1 else f"a number from 0 to {self.maximum}"
            raise UsageError(f"platform.{self.name} takes {choices}, not {text!r}", hint=self.help)
        return value


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """What a machine is built from. RAM in bytes, `epoch` in seconds since 1970 (the time at power-on).

    `features` overrides defaults of the profile by name. `console` gets what the guest sends over the serial port.
    """

    ram_bytes: int
    epoch: int
    features: Mapping[str, str] = field(default_factory=dict)
    console: Callable[[bytes], None] = lambda data: None


@dataclass(frozen=True)
class PlatformFacts:
    """What was built. Addresses are guest-physical; None where the machine has no such thing."""

    profile: str
    features: Mapping[str, int]
    memory_map: tuple[MemoryRange, ...]
    """Ascending, not overlapping. Holes are not listed."""
    rsdp: int | None
    smbios: int | None
    """The 64-bit entry point, or on machines of that age the 32-bit one."""
    console: Uart | None
    """Set its `sink`, call its `feed`."""
    rtc: Rtc | None
    interrupts: PcInterrupts
    cpuid: CpuidModel
    resources: tuple[Resource, ...]
    """Every device a PC may have, present here or not, with its ports, memory and MSRs: the ledger's names."""
    held: tuple[MemoryRange, ...] = ()
    """RAM that the machine's own EFI firmware keeps until boot services end, ascending; the last is where it lies itself."""

    def memory_of(self, kind: MemoryKind) -> int:
        """Bytes of one kind."""
        return sum(piece.size for piece in self.memory_map if piece.kind is kind)


Builder = Callable[[Board, PlatformOptions, Mapping[str, int]], PlatformFacts]


@dataclass(frozen=True)
class PlatformDefinition:
    """A machine that a guest can find."""

    name: str
    summary: str
    features: tuple[Feature, ...]
    builder: Builder

    def values(self, overrides: Mapping[str, str]) -> dict[str, int]:
        """All features with their values. Raises UsageError for a name that the profile does not have."""
        known = {feature.name: feature for feature in self.features}
        for name in overrides:
            if name not in known:
                raise UsageError(
                    f"platform {self.name} has no feature {name}", hint=f"its features are: {', '.join(sorted(known))}"
                )
        return {
            feature.name: feature.parse(overrides[feature.name]) if feature.name in overrides else feature.default
            for feature in self.features
        }

    def build(self, board: Board, options: PlatformOptions) -> PlatformFacts:
        """Put devices on the board's buses, RAM and tables into its memory. Raises UsageError, MachineError."""
        return self.builder(board, options, self.values(options.features))
