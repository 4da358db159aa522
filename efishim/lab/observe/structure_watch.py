"""Decides when each structure is watched during a run: for as long as its memory holds it.

A kernel reuses the memory of structures it has read. It has copied what a loader wrote before `start_kernel`, and reads
setup_data and the EFI memory map until it has its own. Firmware's tables stay, except that of the boot services.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.consumption import consumption
from efishim.lab.observe.legacy import legacy, legacy_areas, legacy_watches
from efishim.lab.record import Consumed
from efishim.lab.snapshot.structures import Target, acpi_targets, boot_params_target, efi_targets
from efishim.machine.access_observer import ObservedRange
from efishim.machine.machine import Machine
from efishim.provider import Structure
from efishim.wire import uefi
from efishim.wire.bootparams import BootParams
from efishim.wire.start_info import HvmStartInfo

TARGET_LIMIT = 1024
"""Most structures that are watched; a loader writes a few dozen."""
LONGER = ("setup_data", "EFI memory map")
"""How structures are called that the kernel reads after start_kernel, too (arch/x86/kernel/setup.c, e820.c)."""
GIVEN, OWN = "boot_params", "boot_params of the kernel"
OWN_START_INFO = "pvh_start_info"
"""The kernel's copy of hvm_start_info (arch/x86/platform/pvh/enlighten.c)."""


class Lasting(IntEnum):
    """The moment up to which a structure is what its name says."""

    EXIT_BOOT_SERVICES = 1
    START_KERNEL = 2
    INIT = 3
    ALWAYS = 4


@dataclass
class _Entry:
    target: Target
    lasts: Lasting
    ended: int | None = None


class StructureWatch:
    """Follows one run: call each method when the guest is there. Make it when the machine is on."""

    def __init__(self, machine: Machine, names: AddressNames) -> None:
        self._machine, self._names = machine, names
        self._observer = machine.engine.observer
        self._entries: list[_Entry] = []
        self._areas = legacy_areas(machine.memory)
        self._left_out = 0

    def at_entry(
        self,
        structures: Iterable[Structure],
        *,
        rsdp: int | None = None,
        system_table: int | None = None,
        width: int = 8,
    ) -> None:
        """The guest has not run. `structures` are the provider's, addresses are physical; `width` is that of the pointers in
        the system table, 4 or 8 bytes."""
        memory, since = self._machine.memory, self._machine.insns
        found = [
            _Entry(Target.of(one, since), Lasting.INIT if one.name.startswith(LONGER) else Lasting.START_KERNEL)
            for one in structures
        ]
        own = self._own(OWN_START_INFO)
        if own is not None:
            layout = HvmStartInfo
            found.append(_Entry(Target(OWN_START_INFO, own, layout.SIZE, layout.leaves(), since), Lasting.INIT))
        if rsdp is not None:
            found += [_Entry(target, Lasting.ALWAYS) for target in acpi_targets(memory, rsdp, since)]
        if system_table is not None:
            for target in efi_targets(memory, system_table, width=width, since=since):
                short = target.name == uefi.BootServicesTable.NAME
                found.append(_Entry(target, Lasting.EXIT_BOOT_SERVICES if short else Lasting.ALWAYS))
        self._add(found, legacy_watches(memory, self._areas))

    def at_exit_boot_services(self) -> None:
        """The memory of the boot services is free."""
        self._end(Lasting.EXIT_BOOT_SERVICES)

    def at_code32(self) -> None:
        """Real-mode setup code has made boot_params and enters protected mode: RSI points to it (boot.rst, 32-bit protocol)."""
        machine = self._machine
        at = machine.cpu.get("rsi") & 0xFFFF_FFFF
        if machine.memory.find(at, BootParams.SIZE) is not None:
            entries = BootParams.parse(machine.memory.read(at, BootParams.SIZE)).e820_entries
            self._add([_Entry(boot_params_target(GIVEN, at, entries, machine.insns), Lasting.START_KERNEL)])

    def at_startup(self) -> None:
        """RSI points to boot_params, if its address is not known yet; the kernel's copy will be where its symbol is."""
        machine = self._machine
        at, since = machine.cpu.get("rsi"), machine.insns
        if machine.memory.find(at, BootParams.SIZE) is None:
            return
        found = []
        entries = BootParams.parse(machine.memory.read(at, BootParams.SIZE)).e820_entries
        if not any(one.target.name == GIVEN and one.target.address == at for one in self._entries):
            found.append(_Entry(boot_params_target(GIVEN, at, entries, since), Lasting.START_KERNEL))
        own = self._own(GIVEN)
        if own is not None:
            found.append(_Entry(boot_params_target(OWN, own, entries, since), Lasting.INIT))
        self._add(found)

    def at_start_kernel(self) -> None:
        """What a loader wrote is copied."""
        self._end(Lasting.START_KERNEL)

    def at_init(self) -> None:
        """The kernel is up."""
        self._end(Lasting.INIT)

    def result(self) -> Consumed:
        """For the record, when the run is over and the symbols are known. Raises MachineError."""
        insns, accesses = self._machine.insns, self._observer.accesses()
        targets = [replace(one.target, until=insns if one.ended is None else one.ended) for one in self._entries]
        return Consumed(
            structures=consumption(targets, accesses, self._names),
            legacy=legacy(self._areas, accesses, self._machine.ledger.touches(), self._names),
            dropped=self._observer.dropped,
            left_out=self._left_out,
        )

    def _own(self, symbol: str) -> int | None:
        """Physical address of a variable of the kernel, as soon as it is known where that lies."""
        facts, slide = self._names.facts, self._names.physical_slide
        linked = facts.symbols.get(symbol) if facts is not None else None
        physical = facts.physical_of(linked) if facts is not None and linked is not None else None
        return None if physical is None or slide is None else physical + slide

    def _add(self, found: list[_Entry], areas: Iterable[ObservedRange] = ()) -> None:
        memory = self._machine.memory
        there = [one for one in found if one.target.size and memory.find(one.target.address, one.target.size) is not None]
        kept = there[: TARGET_LIMIT - len(self._entries)]
        self._left_out += len(there) - len(kept)
        self._entries += kept
        self._observer.watch(*(one.target.watched() for one in kept), *areas)

    def _end(self, moment: Lasting) -> None:
        """Everything that lasts no longer than this. What lies in memory that others watch stays watched for them."""
        for one in self._entries:
            if one.lasts <= moment and one.ended is None:
                one.ended = self._machine.insns
        alive = [one.target.watched() for one in self._entries if one.ended is None]
        ended = {one.target.watched() for one in self._entries if one.ended is not None}
        gone = [one for one in self._observer.watched if one in ended and one not in alive]
        if gone:
            self._observer.unwatch(*gone)
