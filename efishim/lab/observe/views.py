"""Captures the views of a run: at its entry, at `startup_64` and at `start_kernel`."""

from __future__ import annotations

from collections.abc import Iterable

from efishim.lab.abi import Violation, check_entry, checkers
from efishim.lab.boot.booted import Booted
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.record import AbiViolation, BootView, EntryView, MachineView
from efishim.lab.snapshot.boot_view import boot_view
from efishim.lab.snapshot.entry_view import entry_view
from efishim.lab.snapshot.machine_view import machine_view
from efishim.lab.snapshot.processor import capture_cpu
from efishim.machine.machine import Machine

FLOATING = ("fcw", "mxcsr")

BOOT_PARAMS = "boot_params"
"""The kernel's own copy (arch/x86/kernel/setup.c), which x86_64_start_kernel() makes."""


def recorded(found: Iterable[Violation]) -> list[AbiViolation]:
    """What a checker found, as a record has it."""
    return [AbiViolation(rule=one.rule, sentence=one.sentence, source=one.reference, found=one.found) for one in found]


class Views:
    """Takes each picture once, when it is asked to; what was not asked for stays None."""

    def __init__(self, machine: Machine, names: AddressNames, booted: Booted) -> None:
        self._machine = machine
        self._names = names
        self._booted = booted
        self.machine: MachineView | None = None
        self.entry: EntryView | None = None
        self.abi: list[AbiViolation] | None = None
        self.startup: BootView | None = None
        self.start_kernel: BootView | None = None

    def at_entry(self, entry: str) -> None:
        """The guest has not run yet."""
        machine, booted = self._machine, self._booted
        if booted.platform is not None:
            self.machine = machine_view(machine, booted.platform)
        state = capture_cpu(machine.cpu, machine.memory)
        abi, known = booted.abi(entry), checkers(() if booted.kind is None else (booted.kind,))
        if abi in known:
            floating = {name: machine.cpu.get(name) for name in FLOATING}
            memory, pieces = machine.memory, booted.pieces
            found = check_entry(abi, state, memory, booted.loaded, floating=floating, pieces=pieces, known=known)
            self.abi = recorded(found)
        booted.pieces = ()  # they keep the unpacked image alive
        self.entry = entry_view(machine.memory, state, booted.structures, booted.modules)

    def at_startup(self) -> None:
        """RSI or ESI points to boot_params (arch/x86/kernel/head_64.S and head_32.S)."""
        self.startup = self._view(self._machine.cpu.get("rsi"))

    def kernel_copy(self) -> int | None:
        """Physical address of the kernel's own boot_params."""
        facts, slide = self._names.facts, self._names.physical_slide
        symbol = facts.symbols.get(BOOT_PARAMS) if facts is not None else None
        linked = facts.physical_of(symbol) if facts is not None and symbol is not None else None
        return linked + slide if linked is not None and slide is not None else None

    def at_start_kernel(self) -> None:
        """The kernel works on its own copy from here on."""
        copy = self.kernel_copy()
        if copy is not None:
            self.start_kernel = self._view(copy)

    def _view(self, boot_params: int) -> BootView:
        machine = self._machine
        state = capture_cpu(machine.cpu, machine.memory)
        return boot_view(machine.memory, boot_params=boot_params, cpu=state)
