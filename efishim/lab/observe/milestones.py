"""Detects milestones, the named points of a run, at addresses derived from the image."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from efishim.lab.observe.address_names import KERNEL_HALF, AddressNames
from efishim.lab.record import Milestone, MilestonePoint
from efishim.machine.cpu import GuestFault
from efishim.machine.memory import BusError

if TYPE_CHECKING:
    from efishim.machine.machine import Machine

PLACEMENT = 0x20_0000
"""KASLR moves the kernel in steps of CONFIG_PHYSICAL_ALIGN, which on x86-64 is at least 2 MiB."""
PLACEMENT_32 = 0x2000
"""The least CONFIG_PHYSICAL_ALIGN of a 32-bit kernel (arch/x86/Kconfig)."""
ENTRY_BYTES, OPCODE_BYTES = 16, 2
INIT_SYMBOLS = ("run_init_process", "kernel_execve")
"""Where the kernel turns to its first program (init/main.c, fs/exec.c); the first one that the image has."""
ADDRESS_BYTES = 4
ADDRESS_BITS = 0xFFFF_FFFF_FFFF_FFFF


class Moment(Enum):
    """A point in the guest's execution at which it is inspected."""

    KERNEL = auto()
    """The kernel proper begins: at `startup_64`, of a 32-bit kernel at `startup_32`."""
    BOOT_PARAMS = auto()
    """The same moment, after the milestone: RSI or ESI points to boot_params."""
    ADDRESSES = auto()
    """It is known where the kernel's own addresses are."""
    START_KERNEL = auto()
    INIT = auto()


class Milestones:
    """Notes when a run passes its milestones, in order, each once; ends the run at the one it was asked to reach."""

    def __init__(self, machine: Machine, names: AddressNames, goal: Milestone, seconds: Callable[[], float]) -> None:
        self._machine = machine
        self._names = names
        self._goal = goal
        self._seconds = seconds
        self.points: list[MilestonePoint] = []
        self._on_point: list[Callable[[MilestonePoint], None]] = []
        self._at: dict[Moment, list[Callable[[], None]]] = {moment: [] for moment in Moment}

    def on_point(self, callback: Callable[[MilestonePoint], None]) -> None:
        """Call back at each milestone; subscribers are called in the order in which they came."""
        self._on_point.append(callback)

    def at(self, moment: Moment, callback: Callable[[], None]) -> None:
        """Call back at a moment; subscribers are called in the order in which they came."""
        self._at[moment].append(callback)

    def _now(self, moment: Moment) -> None:
        for callback in self._at[moment]:
            callback()

    def arm(self) -> None:
        """Watch for what can be watched for before the guest runs."""
        machine, facts = self._machine, self._names.facts
        # Other systems come as 64-bit ELF files too, and what they begin with is not startup_64.
        if facts is not None and facts.linux and len(facts.entry_code) >= ENTRY_BYTES:
            if facts.wide:
                low = facts.entry & (PLACEMENT - 1)
                machine.watches.add_code(PLACEMENT - 1, low, facts.entry_code[:ENTRY_BYTES], self._startup_64)
            else:
                self._watch_for_startup_32()
        machine.watches.on_ring3 = lambda: self.reach(Milestone.USERSPACE)

    def reach(self, name: Milestone, at: int | None = None) -> None:
        """The guest is there now."""
        if any(point.name is name for point in self.points):
            return
        machine = self._machine
        address = machine.cpu.get("rip") if at is None else at
        point = MilestonePoint(
            name=name,
            insns=machine.insns,
            seconds=self._seconds(),
            virtual_ns=machine.now(),
            at=self._names.ref(address),
        )
        self.points.append(point)
        for callback in self._on_point:
            callback(point)
        if name is self._goal and name is not Milestone.SHUTDOWN:
            machine.stop("milestone reached")

    def _startup_64(self, address: int) -> None:
        facts, machine = self._names.facts, self._machine
        assert facts is not None
        if self._names.physical_slide is None:  # the kernel's address was not known before
            self._names.kernel_runs_from = machine.insns
        self._names.physical_slide = address - facts.entry
        self._now(Moment.KERNEL)
        self.reach(Milestone.STARTUP_64)
        self._now(Moment.BOOT_PARAMS)
        machine.watches.add_code(KERNEL_HALF, KERNEL_HALF, b"", self._high_code)

    def _watch_for_startup_32(self) -> None:
        """A 32-bit kernel is relocated by as much as it is moved, its first instructions too: only their opcode stays."""
        facts = self._names.facts
        assert facts is not None
        low, opcode = facts.entry & (PLACEMENT_32 - 1), facts.entry_code[:OPCODE_BYTES]
        self._machine.watches.add_code(PLACEMENT_32 - 1, low, opcode, self._startup_32)

    def _startup_32(self, address: int) -> None:
        """`startup_32` of a 32-bit kernel proper is none of the milestones, but tells where the kernel is."""
        facts, machine, names = self._names.facts, self._machine, self._names
        assert facts is not None
        slide = address - facts.entry
        try:
            there = machine.memory.read(address, len(facts.entry_code))
        except BusError:
            there = b""
        if not relocated(facts.entry_code, there, slide):
            self._watch_for_startup_32()
            return
        if names.physical_slide is None:
            names.kernel_runs_from = machine.insns
        names.physical_slide = names.virtual_slide = slide
        self._now(Moment.KERNEL)
        self._now(Moment.BOOT_PARAMS)
        self._watch_kernel()

    def _high_code(self, address: int) -> None:
        """The first block at the kernel's own addresses tells the virtual slide."""
        facts, machine, names = self._names.facts, self._machine, self._names
        assert facts is not None
        try:
            physical = machine.cpu.translate(address)
        except GuestFault:
            return
        linked = facts.virtual_of(physical - (names.physical_slide or 0))
        if linked is None:
            return
        names.virtual_slide = address - linked
        self._watch_kernel()

    def _watch_kernel(self) -> None:
        """The slide is known: the milestones within the kernel proper."""
        self._now(Moment.ADDRESSES)
        self._watch_symbol("start_kernel", Milestone.START_KERNEL, Moment.START_KERNEL)
        for name in INIT_SYMBOLS:
            if self._watch_symbol(name, Milestone.INIT, Moment.INIT):
                break

    def _watch_symbol(self, name: str, milestone: Milestone, moment: Moment) -> bool:
        facts, slide = self._names.facts, self._names.virtual_slide
        address = facts.symbols.get(name) if facts else None
        if address is None and self._names.symbols is not None:
            address = self._names.symbols.address_of(name)
        if address is None or slide is None:
            return False

        def reached() -> None:
            self.reach(milestone)
            self._now(moment)

        self._machine.watches.add((address + slide) & ADDRESS_BITS, reached)
        return True


def relocated(linked: bytes, there: bytes, slide: int) -> bool:
    """Is it the code that was linked, with 32-bit addresses in it that are `slide` higher? An address that begins in the last
    three bytes cannot be told from anything else.
    """
    at = 0
    while at < len(linked):
        if there[at : at + 1] == linked[at : at + 1]:
            at += 1
            continue
        # The lowest byte of an address need not change: the slide is a multiple of pages.
        for start in range(max(0, at - ADDRESS_BYTES + 1), at + 1):
            word, now = (code[start : start + ADDRESS_BYTES] for code in (linked, there))
            wanted = (int.from_bytes(word, "little") + slide) & 0xFFFF_FFFF
            if len(now) == ADDRESS_BYTES and int.from_bytes(now, "little") == wanted:
                at = start + ADDRESS_BYTES
                break
        else:
            return at > len(linked) - ADDRESS_BYTES and len(there) == len(linked)
    return True
