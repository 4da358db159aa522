"""Boots a kernel with a corrupted handover on QEMU and in efishim, and reduces each run to a comparable outcome.

A run ends as soon as its outcome is known: the first program prints, the kernel panics, the decompressor gives up, the
image returns to its firmware, the processor shuts down, or the guest can make no further progress.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points

import efishim_firmware_stubs

from efishim.debug.registers import REGISTERS
from efishim.errors import EfishimError, MachineError
from efishim.firmware.calling.status import Status
from efishim.hookspecs import hookimpl
from efishim.image.opened import Image
from efishim.lab import kernel_log
from efishim.lab.plan.plan import DEFAULT_EPOCH, Blob, Plan
from efishim.lab.record import Reason, Record
from efishim.lab.run import run_plan
from efishim.machine.machine import Machine
from efishim.oracle.boot_flows import Prepared, Wanted, find_boot_flow
from efishim.oracle.channels import OracleError, OracleTimeout
from efishim.oracle.dump import CAUSES
from efishim.oracle.efi_entry_point import EfiEntryPoint
from efishim.oracle.faults import Fault
from efishim.oracle.qemu import Qemu, started
from efishim.oracle.ram import FOUR_GIB, SharedRam
from efishim.oracle.scratch import scratch
from efishim.oracle.session import Session
from efishim.plugins import GROUP, Registry
from efishim.provider import Observer
from efishim.wire.x86 import EFLAGS_IF

CMDLINE = b"console=ttyS0 earlyprintk=serial,ttyS0 nokaslr panic=-1"
"""The kernel speaks from its first line on, its addresses are known, and it ends with its first panic."""

TIMEOUT = 120.0
"""Host seconds for one boot."""
LOOK = 0.25
"""Host seconds between two looks at whether the guest still does something."""
SAME_PLACE = 16
"""A processor with interrupts off that is found so often within a few bytes goes nowhere."""
NEARBY = 64
ASK_FOR_REGISTERS = "qXfer:features:read:target.xml:0,ffb"
"""QEMU's stub changes single registers only for who asked for their description (gdbstub.c, gdb_has_xml)."""
PLATFORM = "pc"
RETURNED = "image returned"
"""Words of the shim for an image that went back to its firmware."""


class Ending(StrEnum):
    """What became of the kernel."""

    USERSPACE = "the first program ran"
    PANIC = "kernel panic"
    GAVE_UP = "the decompressor gave up"
    RETURNED = "the image went back to its firmware"
    REFUSED = "the loader refused the image"
    TRIPLE_FAULT = "triple fault"
    RESET = "reset"
    SHUTDOWN = "power off"
    HUNG = "hung"
    OTHER = "something else"


_STOPS = (
    # efishim_firmware_stubs/init, then arch/x86/boot/compressed/error.c, kernel/panic.c, arch/x86/mm/extable.c. CR2 is what
    # the last page fault left, and no part of what happened.
    (Ending.USERSPACE, re.compile(rb"^efishim-init: (begin)\r?\n", re.MULTILINE)),
    (Ending.GAVE_UP, re.compile(rb"([^\r\n]+)[\r\n]+ -- System halted")),
    (Ending.PANIC, re.compile(rb"Kernel panic - not syncing: ([^\r\n]+)[\r\n]")),
    (Ending.PANIC, re.compile(rb"PANIC: (early exception .{1,100} error [0-9a-f]+) cr2 ")),
)
_OF_THE_HOST = re.compile(rb"^[^\r\n]*\.\.MP-BIOS bug: 8254 timer not connected to IO-APIC\r?\n", re.MULTILINE)
"""What a kernel says on QEMU when the host was too busy for its timer (arch/x86/kernel/apic/io_apic.c, check_timer())."""
_OOPS = (r"^#PF: (.*)", r"^RIP: \w+:(?!0x)(\S+)")
"""What an Oops says that is the same wherever things lie (arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c)."""
_REASONS = {
    Reason.SHUTDOWN: Ending.SHUTDOWN,
    Reason.RESET: Ending.RESET,
    Reason.PANIC: Ending.PANIC,
    Reason.TRIPLE_FAULT: Ending.TRIPLE_FAULT,
    Reason.EXIT: Ending.RETURNED,
    Reason.ENDLESS_LOOP: Ending.HUNG,
    Reason.HALTED: Ending.HUNG,
}


@dataclass(frozen=True)
class Outcome:
    """How a boot ended. `message` is the kernel's own word for it, where the processor shut down, the status that the image
    went back with, or what the loader said; `telling` are the lines that the fault asks for and what an Oops says;
    `complaints` what else the kernel complained of, by kind and without what differs from boot to boot.
    """

    ending: Ending
    message: str = ""
    telling: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    console: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        return f"{self.ending}: {self.message}" if self.message else str(self.ending)


def agree(one: Outcome, other: Outcome) -> bool:
    """Did the same come of a fault? Each loader refuses in words of its own."""
    return one == other or one.ending is other.ending is Ending.REFUSED


@dataclass(frozen=True)
class Subject:
    """The kernel that is mistreated, as a bzImage."""

    image: Image
    blob: Blob
    cmdline: bytes = CMDLINE


# The console


def sign_of(console: bytes) -> tuple[Ending, str, int] | None:
    """The first sign of an outcome on a console: ending, message, and where it ends."""
    found = [(match.end(), ending, match[1]) for ending, pattern in _STOPS if (match := pattern.search(console))]
    if not found:
        return None
    end, ending, message = min(found)
    text = message.decode("utf-8", "replace").strip()
    return ending, "" if ending is Ending.USERSPACE else text, end


def _outcome(fault: Fault, console: bytes, ending: Ending, message: str, started_at: float) -> Outcome:
    """What the console says counts before how the machine ended."""
    sign = sign_of(console)
    if sign is not None:
        ending, message, end = sign
        console = console[:end]
    text = console.decode("utf-8", "replace")
    lines = kernel_log.messages(text)
    telling = [
        " ".join(found.groups()) for one in (*fault.telling, *_OOPS) for line in lines if (found := re.search(one, line))
    ]
    worst = {f"{one.kind}: {one.normal}" for one in kernel_log.findings(text) if one.kind in kernel_log.GRAVE}
    return Outcome(ending, message, tuple(telling), tuple(sorted(worst)), text, round(time.monotonic() - started_at, 3))


# QEMU


class _Enough(Exception):
    """The outcome shows."""


class QemuGuest:
    """A stopped QEMU that is written to."""

    def __init__(self, session: Session, image: Image) -> None:
        self._session = session
        self.image = image

    def get(self, register: str) -> int:
        """See Guest."""
        return self._session.registers[register]

    def set(self, register: str, value: int) -> None:
        """See Guest."""
        number, size = next((n, size) for n, (name, size) in enumerate(REGISTERS) if name == register)
        raw = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        gdb = self._session.qemu.gdb
        gdb.command(ASK_FOR_REGISTERS)
        answer = gdb.command(f"P{number:x}={raw.hex()}")
        if answer != "OK":
            raise OracleError(f"QEMU's debug stub answered {answer!r} to a new value of {register}")
        self._session.registers[register] = value

    def read(self, address: int, size: int) -> bytes:
        """See Guest."""
        return self._session.qemu.ram.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """See Guest. It goes past QEMU into the memory that it shares."""
        ram = self._session.qemu.ram
        if len(ram.read(address, len(data))) != len(data):
            raise OracleError(f"there is no RAM at {address:#x}")
        os.pwrite(ram.descriptor, data, _file_offset(ram, address))

    def once(self, linear: int, handler: Callable[[], None]) -> None:
        """See Guest."""

        def hit() -> None:
            self._session.off(linear)
            handler()

        self._session.on(linear, hit)


def _file_offset(ram: SharedRam, address: int) -> int:
    """Where a physical address lies in the file that is the machine's RAM."""
    return address if address < FOUR_GIB else address - FOUR_GIB + max(region.end for region in ram if region.start < FOUR_GIB)


@dataclass
class _OnQemu:
    """One boot on QEMU, from the kernel's entry until its outcome shows."""

    subject: Subject
    fault: Fault
    prepared: Prepared
    qemu: Qemu
    console: bytearray = field(default_factory=bytearray)
    ending: Ending = Ending.OTHER
    message: str = ""
    entered: bool = False
    places: list[int] = field(default_factory=list)
    looked: float = field(default_factory=time.monotonic)

    def run(self) -> tuple[Ending, str]:
        """Until then, or until the time is over."""
        session = Session(self.qemu)
        self.session = session
        self.qemu.channels.console = self._hear
        self.prepared.entry_point.arm(session, self._at_entry)
        try:
            cause = session.run()
        except _Enough:
            return self.ending, self.message
        except OracleTimeout:
            return Ending.OTHER, "the time was over" if self.entered else "the kernel's entry was not seen"
        self.qemu.channels.drain()
        reason = CAUSES.get(cause, Reason.EMULATOR)
        if reason is Reason.RESET and self.qemu.triple_fault():
            reason = Reason.TRIPLE_FAULT
        if reason is Reason.TRIPLE_FAULT:
            return Ending.TRIPLE_FAULT, f"at {session.registers['rip']:#x}"
        return _REASONS.get(reason, Ending.OTHER), "" if reason in _REASONS else cause

    def _hear(self, data: bytes) -> None:
        self.console += data

    def _at_entry(self) -> None:
        self.console.clear()
        self.entered = True
        guest = QemuGuest(self.session, self.subject.image)
        entry_point = self.prepared.entry_point
        if isinstance(entry_point, EfiEntryPoint):
            guest.once(entry_point.back, lambda: self._returned(guest.get("rax")))
        self.fault.spoil(guest)
        self.session.expect(self._sight, self._look)

    def _returned(self, status: int) -> None:
        self.ending, self.message = Ending.RETURNED, f"{RETURNED} {Status.describe(status)}"
        raise _Enough

    def _sight(self) -> bool:
        return time.monotonic() - self.looked > LOOK or sign_of(bytes(self.console)) is not None

    def _look(self) -> None:
        """The guest is stopped: has it said how it ended, or will it never do anything again?"""
        self.looked = time.monotonic()
        if sign_of(bytes(self.console)) is not None:
            raise _Enough
        registers = self.session.registers
        if registers["eflags"] & EFLAGS_IF:
            self.places.clear()
        else:
            self.places = [*self.places[-SAME_PLACE:], registers["rip"]]
            if len(self.places) > SAME_PLACE and max(self.places) - min(self.places) < NEARBY:
                self.ending = Ending.HUNG
                raise _Enough
        self.session.expect(self._sight, self._look)


def on_qemu(subject: Subject, fault: Fault, *, timeout: float = TIMEOUT) -> Outcome:
    """The fault on real firmware and with real loaders. Raises MissingTool, RouteError, OracleError."""
    begun = time.monotonic()
    flow = find_boot_flow(fault.flow)
    wanted = Wanted(subject.image, subject.cmdline, efishim_firmware_stubs.reporting_initrd(), fault.memory)
    with scratch() as folder:
        prepared = flow.prepare(wanted, folder)
        if fault.kernel is not None and prepared.boot.kernel is not None:
            prepared.boot.kernel.write_bytes(fault.kernel(prepared.boot.kernel.read_bytes()))
        try:
            with started(prepared.boot, timeout=timeout, epoch=DEFAULT_EPOCH) as qemu:
                run = _OnQemu(subject, fault, prepared, qemu)
                ending, message = run.run()
        except OracleError as error:
            if fault.kernel is None:
                raise
            return _outcome(fault, b"", Ending.REFUSED, error.sentence, begun)
    return _outcome(fault, _OF_THE_HOST.sub(b"", bytes(run.console)), ending, message, begun)


# efishim


class MachineGuest:
    """A guest of efishim that is written to."""

    def __init__(self, machine: Machine, image: Image) -> None:
        self._machine = machine
        self.image = image

    def get(self, register: str) -> int:
        """See Guest."""
        return self._machine.cpu.get(register)

    def set(self, register: str, value: int) -> None:
        """See Guest."""
        self._machine.cpu.set(register, value)

    def read(self, address: int, size: int) -> bytes:
        """See Guest."""
        return self._machine.memory.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """See Guest."""
        self._machine.memory.write(address, data)
        self._machine.flush_code(address, len(data))

    def once(self, linear: int, handler: Callable[[], None]) -> None:
        """See Guest."""
        self._machine.watches.add(linear, handler)


@dataclass
class _Spoiler:
    """An observer that does more than it should: it has its hands on the guest at the entry."""

    fault: Fault
    image: Image
    name: str = "spoiler"
    summary: str = "spoils what the kernel is told"
    done: bool = False
    heard: bytearray = field(default_factory=bytearray)

    def start(self, board: object) -> None:
        """At the entry."""
        assert isinstance(board, Machine)
        self.fault.spoil(MachineGuest(board, self.image))
        self.done = True

    def finish(self) -> list[str]:
        """Nothing to say: what was not done is an error and no note."""
        return []

    def hear(self, data: bytes) -> None:
        """The guest's console."""
        self.heard += data

    def is_set(self) -> bool:
        """Is the outcome on the console?"""
        return sign_of(bytes(self.heard)) is not None


@dataclass(frozen=True)
class _Plugin:
    observer: _Spoiler
    name: str = "spoiler"

    def load(self) -> _Plugin:
        """As of an entry point."""
        return self

    @hookimpl
    def efishim_observers(self) -> list[Observer]:
        """The one observer."""
        return [self.observer]


def in_efishim(subject: Subject, fault: Fault, *, timeout: float = TIMEOUT, platform: str = PLATFORM) -> Outcome:
    """The fault in efishim, at the same door. Raises what a run raises."""
    begun = time.monotonic()
    flow = find_boot_flow(fault.flow)
    spoiler = _Spoiler(fault, subject.image)
    blob = subject.blob
    if fault.kernel is not None:
        blob = Blob.embedded("embedded:spoilt", fault.kernel(subject.image.source.unpack()))
    initrd = Blob.embedded("embedded:init", efishim_firmware_stubs.reporting_initrd())
    plan = Plan(
        image=blob,
        provider=flow.provider,
        entry=flow.entry.value,
        platform=platform,
        cmdline=subject.cmdline,
        initrds=(initrd,),
        memory=fault.memory,
        timeout=timeout,
        options=flow.options,
    )
    registry = Registry([*entry_points(group=GROUP), _Plugin(spoiler)])
    try:
        record = run_plan(plan, console=spoiler.hear, interrupt=spoiler, registry=registry)
    except EfishimError as error:
        if fault.kernel is None:
            raise
        return _outcome(fault, b"", Ending.REFUSED, error.sentence, begun)
    if not spoiler.done:
        raise MachineError(f"{fault.name} could not be done: {'; '.join(record.notes)}")
    ending, message = _ending(record)
    return _outcome(fault, bytes(spoiler.heard), ending, message, begun)


def _ending(record: Record) -> tuple[Ending, str]:
    outcome = record.outcome
    ending = _REASONS.get(outcome.reason, Ending.OTHER)
    if ending is Ending.OTHER:
        return ending, f"{outcome.reason}: {outcome.details}"
    return ending, outcome.details if ending in {Ending.RETURNED, Ending.TRIPLE_FAULT} else ""
