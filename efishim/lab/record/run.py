"""What was run and how it went: tool, image, route, options, milestones, outcome."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from efishim.lab.record.values import Count, Hex, Name, Part, Seconds, Seed, Sha256, Text


class Milestone(StrEnum):
    """The named points that every run is measured to, in the order in which a kernel passes them."""

    LOADER = "loader"
    ENTRY = "entry"
    EXIT_BOOT_SERVICES = "exit_boot_services"
    STARTUP_64 = "startup_64"
    START_KERNEL = "start_kernel"
    INIT = "init"
    USERSPACE = "userspace"
    SHUTDOWN = "shutdown"


class ShimPlace(StrEnum):
    """Where the EFI firmware runs that stands between a native structure and an EFI entry."""

    HOST = "host"
    """Outside of the guest, which sees its tables and its answers only."""
    GUEST = "guest"
    """In the guest, as its code (firmware_stubs/efishim_firmware_stubs/guest_shim)."""


class Reason(StrEnum):
    """Why a run ended."""

    SHUTDOWN = "shutdown"
    MILESTONE = "milestone reached"
    RESET = "reset"
    EXIT = "image exited"
    PANIC = "kernel panic"
    """The kernel called panic(), whatever it did then."""
    TRIPLE_FAULT = "triple fault"
    ENDLESS_LOOP = "endless loop"
    HALTED = "guest halted for ever"
    FIRMWARE_EXCEPTION = "firmware exception"
    WILD_JUMP = "wild jump"
    TOO_MUCH_WORK = "too much work"
    INSN_LIMIT = "insn limit"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    EMULATOR = "emulator failure"


UNREPEATABLE = frozenset({Reason.TIMEOUT, Reason.INTERRUPTED})
"""Ends that the host caused, not the guest: such a record cannot be reproduced byte for byte."""


class Tool(Part, frozen=True, kw_only=True):
    """What made the record."""

    name: Name
    """`efishim`, or `qemu` for a run of the oracle."""
    version: Name
    """Its version."""
    unicorn: Name
    """Version of the CPU emulator; its translation decides instruction counts at the margin of a fault."""


class PluginUse(Part, frozen=True, kw_only=True):
    """A plugin that took part in the run and does not come with efishim."""

    name: Name
    """Of its entry point."""
    distribution: Name
    """The package that it was installed with."""
    version: Name
    """Of that package."""
    sha256: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
    """Over the names and contents of the files of its Python package; empty when they could not be read."""


class Image(Part, frozen=True, kw_only=True):
    """The file that was booted."""

    path: Text
    """As the user named it: a path, `deb:PACKAGE`, or `embedded:probe`."""
    sha256: Sha256
    """Of the file."""
    size: Count
    """Bytes of the file."""
    format: Name
    """What it is: the first that fits of `bzImage`, `pe`, `elf`, `multiboot2` and `multiboot`."""
    version: Text = ""
    """The image's own version string, where it carries one."""
    entries: Annotated[list[Name], Meta(max_length=64)]
    """The entries that it has."""


class RouteName(Part, frozen=True, kw_only=True):
    """Who told the kernel what, through which door, on which machine."""

    provider: Name
    """Producer of the boot information."""
    entry: Name
    """Entry of the image that was used."""
    platform: Name
    """Machine that the guest found."""


class File(Part, frozen=True, kw_only=True):
    """A file that took part: an initial ramdisk or a System.map."""

    path: Text
    """As the user named it."""
    sha256: Sha256
    """Of the file."""
    size: Count
    """Bytes of the file."""
    cmdline: Text | UnsetType = UNSET
    """The command line of a module that was given one of its own."""


class SetupDataUse(Part, frozen=True, kw_only=True):
    """A node that was put behind the setup_data chain of the boot protocol."""

    type: Count
    """Its type, by arch/x86/include/uapi/asm/setup_data.h."""
    body: File
    """What it holds."""
    place: Name | UnsetType = UNSET
    """A physical address, or `kernel` for directly behind the kernel's file, when that was said."""


class DumpUse(Part, frozen=True, kw_only=True):
    """The dump that a run began with: memory and registers of another machine at the entry, in the place of a provider."""

    path: Text
    """As the user named it."""
    sha256: Sha256
    """Of the file."""
    size: Count
    """Bytes of the file."""
    form: Name
    """`ELF core of QEMU` or `memory ranges`, and how it is packed."""
    files: Annotated[list[File], Meta(max_length=256)] = field(default_factory=list)
    """The files beside it that have its memory."""
    derived: Annotated[list[Text], Meta(max_length=64)] = field(default_factory=list)
    """What the dump does not have, and where its value comes from."""


class LoaderUse(Part, frozen=True, kw_only=True):
    """The boot loader that ran in front of the image, and the disk that firmware started it from."""

    name: Name
    """The loader, or `disk` for what a disk image boots."""
    way: Name | UnsetType = UNSET
    """How it was told to start the kernel."""
    files: Annotated[dict[Text, File], Meta(max_length=64)] = field(default_factory=dict)
    """The files of the disk that was made for the run, by their paths."""
    disk: File | UnsetType = UNSET
    """The disk image, when one was given."""


class Options(Part, frozen=True, kw_only=True):
    """Everything else that decides the run."""

    cmdline: Text
    """The kernel's command line."""
    initrds: Annotated[list[File], Meta(max_length=256)]
    """Initial ramdisks in their order."""
    memory: Count
    """Guest RAM in bytes."""
    until: Milestone
    """Where the run was asked to end."""
    max_insns: Count
    """Guest instructions after which the run is given up; 0 for a run of the oracle, which does not count them."""
    timeout: Seconds
    """Seconds of host time after which the run is given up; 0 is never."""
    seed: Seed
    """Of everything random: RDRAND, the firmware's generator, the jitter of the time stamp counter."""
    epoch: Count
    """What the guest's clock shows at power-on, seconds since 1970-01-01T00:00:00Z."""
    options: dict[Name, Text]
    """`group.name` to value, as given with --option."""
    observers: bool
    """Were the views, the ledger, the coverage and the checks of the entry taken?"""
    system_map: File | None = None
    """The System.map that names the kernel's code, when one was given."""
    profile: File | UnsetType = UNSET
    """The firmware profile, when one was given."""
    without: dict[Name, Name] | UnsetType = UNSET
    """Single items of the firmware and what they answered, when any were given."""
    fail: Annotated[list[Name], Meta(max_length=64)] | UnsetType = UNSET
    """Calls that were made to fail, as `--fail` takes them, when any were."""
    setup_data: Annotated[list[SetupDataUse], Meta(max_length=64)] | UnsetType = UNSET
    """Nodes of setup_data that were added to the provider's, when any were."""
    shim: ShimPlace | UnsetType = UNSET
    """Where the firmware runs, when that was said."""
    dump: DumpUse | UnsetType = UNSET
    """The dump that the run began with, when it did."""
    loader: LoaderUse | UnsetType = UNSET
    """The boot loader that ran in front of the image, when one did."""


class CodeRef(Part, frozen=True, kw_only=True):
    """A place in the guest's code."""

    address: Hex
    """Linear address."""
    symbol: Text | None = None
    """`name+0x12` where the image's symbols allow it."""

    @property
    def shown(self) -> str:
        """The symbol, or the address where there is none."""
        return self.symbol or str(self.address)

    @property
    def function(self) -> str:
        """The symbol without the offset; empty where there is none, and in the image as it was loaded."""
        name = (self.symbol or "").rpartition("+")[0]
        return "" if name == "image" else name


class MilestonePoint(Part, frozen=True, kw_only=True):
    """A milestone that was passed."""

    name: Milestone
    """Which."""
    insns: Count
    """Guest instructions executed since the entry."""
    seconds: Seconds
    """Host time since the run began; 0 in a document."""
    virtual_ns: Count = 0
    """The guest's own clock, nanoseconds since power-on."""
    at: CodeRef | None = None
    """Where the guest was."""


class Outcome(Part, frozen=True, kw_only=True):
    """How the run ended."""

    reached: Milestone | None
    """The last milestone that was passed."""
    goal: Milestone
    """What the run was asked to reach."""
    met: bool
    """Was the goal reached?"""
    reason: Reason
    """Why the run ended."""
    details: Text = ""
    """One sentence for people."""
    at: CodeRef | None = None
    """Where the guest was."""
    insns: Count = 0
    """Guest instructions executed since the entry."""
    virtual_ns: Count = 0
    """The guest's own clock, nanoseconds since power-on."""
    seconds: Seconds = 0.0
    """Host time of the whole run; 0 in a document."""
    reproducible: bool = True
    """False when the host ended the run (`timeout`, `interrupted`)."""


def meets(reached: list[MilestonePoint], goal: Milestone) -> bool:
    """Was the goal among the milestones that were passed?"""
    return any(point.name is goal for point in reached)
