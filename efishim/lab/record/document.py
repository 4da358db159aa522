"""The record itself: one run as a JSON document."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from efishim.lab.record.behaviour import AbiViolation, Coverage, FirmwareCall, LedgerEntry
from efishim.lab.record.consumed import Consumed
from efishim.lab.record.last import LastMoments
from efishim.lab.record.run import Image, Milestone, MilestonePoint, Options, Outcome, PluginUse, RouteName, Tool
from efishim.lab.record.values import Count, Part, Text
from efishim.lab.record.views import BootView, EntryView, MachineView

SCHEMA = 2
"""Number of the record's schema. It grows when a field changes its meaning or goes away, not when one is added."""

WALL_CLOCK_FIELDS = ("milestones[].seconds", "outcome.seconds")
"""Seconds of host time. A run knows them and prints them; in a document they are 0, for they are nothing that the guest did,
and two runs of the same plan give the same bytes.
"""

CONSOLE_LIMIT = 1 << 20
"""Most bytes of guest console that a record keeps; `console_dropped` counts the rest."""


class Record(Part, frozen=True, kw_only=True):
    """One run."""

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)] = SCHEMA
    """Number of the schema that this document follows."""
    tool: Tool
    """What made it."""
    plugins: Annotated[list[PluginUse], Meta(max_length=256)] | UnsetType = UNSET
    """The plugins of other packages that took part: provider, platform, firmware protocols, observers. Those that come with
    efishim have its version; without others the field is not there.
    """
    image: Image
    """What was booted."""
    route: RouteName
    """By whom, through which entry, on which machine."""
    options: Options
    """What else decides the run."""
    milestones: Annotated[list[MilestonePoint], Meta(max_length=len(Milestone))]
    """Those that were passed, in order."""
    outcome: Outcome
    """How it ended."""
    firmware_calls: Annotated[list[FirmwareCall], Meta(max_length=1 << 20)]
    """Every call into firmware, in order."""
    firmware_calls_dropped: Count = 0
    """Calls after the list was full; they are counted, not kept."""
    machine: MachineView | None = None
    """The machine as the guest could find it: memory map, CPUID, MSRs, ACPI tables."""
    entry_view: EntryView | None = None
    """The processor, the native structure and the modules at the first instruction of the image."""
    abi: Annotated[list[AbiViolation], Meta(max_length=1 << 12)] | None = None
    """What is wrong at the entry; null when no checker knows it, or observers are off."""
    boot_view: BootView | None = None
    """What the kernel was told, at `startup_64` (a 32-bit kernel: `startup_32`); null when the run did not get there."""
    kernel_view: BootView | None = None
    """The same of the kernel's own copy of boot_params, taken at `start_kernel`."""
    ledger: Annotated[list[LedgerEntry], Meta(max_length=1 << 20)]
    """What was touched of the machine, in the order of the first touch."""
    ledger_dropped: Count = 0
    """Accesses of new kinds after the ledger was full; they are counted, not kept."""
    coverage: Coverage
    """Which code ran."""
    consumed: Consumed | None = None
    """What was read and written of the native structure, of boot_params, of the firmware's tables and of legacy memory; null
    when observers are off. Accesses by firmware on the host's side are not among them.
    """
    last_moments: LastMoments | UnsetType = UNSET
    """Where the guest was when the run ended; only of a run that did not reach its goal, with observers."""
    notes: Annotated[list[Text], Meta(max_length=1024)] = field(default_factory=list)
    """What is not emulated and was asked for, where the boot information came from, and the like."""
    console: str
    """What the guest wrote to its serial console; bytes that are not UTF-8 appear as escapes."""
    console_before: Count | UnsetType = UNSET
    """Characters of it that a boot loader wrote before the image began."""
    console_dropped: Count = 0
    """Bytes of it that are not kept."""
    reproduce: Text
    """The exact command that gives this record again."""
