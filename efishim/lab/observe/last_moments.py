"""Watches for exceptions and for the kernel's panic(), and shows the last moments of a run that did not reach its goal."""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from efishim.image.symbols import Symbols
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.milestones import ADDRESS_BITS, Milestones, Moment
from efishim.lab.record import CodeLine, GuestException, Hex, LastMoments, ProcessorState
from efishim.lab.snapshot.backtrace import return_addresses
from efishim.lab.snapshot.printk import Kernel, log_tail
from efishim.lab.snapshot.processor import capture_cpu
from efishim.machine.cpu import GuestFault
from efishim.machine.delivery import Exception_
from efishim.machine.disassembly import shown
from efishim.machine.machine import Machine, Stop
from efishim.machine.memory import PAGE, BusError

EXCEPTIONS, CODE, NEW_CODE, FRAMES, LOG = 4, 8, 16, 24, 40
"""How many of each are kept."""
SPECIFIER = re.compile(r"%[-+ #]*(?P<zeros>0?)(?P<width>\d{0,2})(?:\.\d+)?(?P<size>ll|l|z|h)?(?P<form>[sduixp])")
WORDS = 500
"""Characters of what a panic says."""
CODE_BYTES = 64
STACK_BYTES = 16 << 10
"""THREAD_SIZE of x86-64 (arch/x86/include/asm/page_64_types.h)."""
PANIC = "panic"
"""kernel/panic.c: it does not return."""
PANICKED = "kernel panic"
AFTER_A_PANIC = frozenset({PANICKED, "reset", "endless loop", "halted", "triple fault"})
"""Reasons for the end of a run that panic() leads to."""
GIVES_UP = frozenset({"firmware exception", "triple fault", "halted", "endless loop", "wild jump"})
GIVING_UP = 100_000
"""Instructions that a handler needs at most for its last message."""
ENCODED = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
PANIC_SAYS = "Kernel panic - not syncing: "
AFTERWARDS_NS = 1_000_000_000
"""Of the guest's time after panic() was called, for its messages and for `panic=` on the command line to restart it."""
MNEMONICS = {
    0: "#DE",
    1: "#DB",
    2: "NMI",
    3: "#BP",
    4: "#OF",
    5: "#BR",
    6: "#UD",
    7: "#NM",
    8: "#DF",
    10: "#TS",
    11: "#NP",
    12: "#SS",
    13: "#GP",
    14: "#PF",
    16: "#MF",
    17: "#AC",
    18: "#MC",
    19: "#XM",
    20: "#VE",
    21: "#CP",
}
"""SDM volume 3, table 6-1."""


@dataclass(frozen=True, slots=True)
class _State:
    """The processor and what it stands on, as they were; names come later."""

    cpu: ProcessorState
    code: bytes
    bits: int
    stack: bytes
    insns: int
    at: int
    """Linear address of the instruction."""
    blocks: int
    """How many different blocks had run."""


@dataclass(frozen=True, slots=True)
class _Event:
    event: Exception_
    pc: int
    insns: int
    registers: tuple[int, ...]
    """In the order in which instructions encode them (SDM volume 2, table 2-2)."""
    eflags: int
    eip: int
    """Offset in the code segment; `pc` is the linear address."""


def expanded(text: str, arguments: Iterable[int], string: Callable[[int], str]) -> str:
    """A format of printf with its arguments, the texts among which `string` reads; without one, a specifier stays."""
    left = iter(arguments)

    def expand(match: re.Match[str]) -> str:
        value = next(left, None)
        if value is None:
            return match[0]
        if match["form"] == "s":
            return string(value)
        if match["form"] != "p" and match["size"] not in ("l", "ll", "z"):  # an int, in the lower half of its place
            value &= 0xFFFF_FFFF
            if match["form"] in "di" and value >> 31:
                value -= 1 << 32
        text = f"{value:x}" if match["form"] in "xp" else str(value)
        return text.zfill(int(match["width"] or 0)) if match["zeros"] else text

    return SPECIFIER.sub(expand, text).strip()


class LastWords:
    """Follows a run. `result` is asked when it is over, and the guest's memory still there."""

    def __init__(self, machine: Machine, names: AddressNames, milestones: Milestones) -> None:
        self._machine = machine
        self._names = names
        self._events: deque[_Event] = deque(maxlen=EXCEPTIONS)
        self._at_panic: _State | None = None
        self._text = ""
        self._lines: list[str] | None = None
        machine.on_exception = self._exception
        milestones.at(Moment.ADDRESSES, self._watch_for_panic)

    @property
    def panicked(self) -> bool:
        """Did the kernel call panic()?"""
        return self._at_panic is not None

    def ending(self, stop: Stop, console: bytes) -> Stop:
        """How the run ended: a panic, whatever the kernel did after it, unless the run was ended from outside."""
        if not self.panicked or stop.reason.partition(":")[0] not in AFTER_A_PANIC:
            return stop
        then = "" if stop.reason == PANICKED else f"; then: {stop.reason}"
        return Stop(PANICKED, f"{self.words(console)}{then}")

    @property
    def at(self) -> int:
        """Where the guest was: of a panic, who called it."""
        if self._at_panic is None:
            return self._machine.cpu.get("rip")
        return int.from_bytes(self._at_panic.stack[: 8 if self._wide else 4], "little")

    def words(self, console: bytes) -> str:
        """What the panic said: from the log, from the console, or as the format that it was called with."""
        said = [line.partition(PANIC_SAYS)[2] for line in self._log() if PANIC_SAYS in line]
        text = console.decode("utf-8", "backslashreplace")
        said += [line.partition(PANIC_SAYS)[2] for line in text.splitlines() if PANIC_SAYS in line]
        return next((words.strip() for words in said if words.strip()), self._text)[:WORDS]

    def _exception(self, event: Exception_, pc: int) -> None:
        if not event.external and not event.software:
            machine = self._machine
            registers = tuple(machine.engine.env.regs[: len(ENCODED)])
            eip = machine.engine.env.eip
            self._events.append(_Event(event, pc, machine.insns, registers, machine.cpu.get("eflags"), eip))

    def _watch_for_panic(self) -> None:
        facts, slide = self._names.facts, self._names.virtual_slide
        address = facts.symbols.get(PANIC) if facts is not None else None
        if address is None and self._names.symbols is not None:
            address = self._names.symbols.address_of(PANIC)
        if address is not None and slide is not None:
            self._machine.watches.add((address + slide) & ADDRESS_BITS, self._panic)

    def _panic(self) -> None:
        machine = self._machine
        self._at_panic = self._state()
        self._text = self._expanded(self._at_panic)
        machine.clock.at(machine.now() + AFTERWARDS_NS, lambda: machine.stop(PANICKED))

    def _expanded(self, state: _State) -> str:
        """The format that panic() was called with, and of its arguments the texts and numbers."""
        if self._wide:  # System V ABI for AMD64, 3.2.3
            registers = state.cpu.registers
            arguments = [int(registers.named(name)) for name in ("rdi", "rsi", "rdx", "rcx", "r8", "r9")]
        else:  # a function with variable arguments takes them all from the stack
            arguments = list(struct.unpack("<6I", state.stack[4:28].ljust(24, b"\0")))
        return expanded(self._string(arguments[0]), arguments[1:], self._string)

    def _string(self, address: int) -> str:
        return self._read(address, 256).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def result(self, stop: Stop, console: bytes) -> LastMoments:
        """What is known of the end."""
        fatal = self._fatal(stop)
        state = self._at_panic or self._state(fatal)
        self._find_kernel(state.at)
        names, insns = self._names, state.insns
        rip = state.at
        frames = return_addresses(state.stack, 8 if self._wide else 4, self._is_code, self._read, FRAMES)
        blocks = self._machine.engine.native.blocks()[: state.blocks][-NEW_CODE:]
        return LastMoments(
            moment="panic" if self.panicked else "exception" if fatal is not None else "end",
            insns=insns,
            panic=self.words(console) if self.panicked else "",
            exceptions=[self._shown(one) for one in self._events],
            mode=state.cpu.mode,
            registers=state.cpu.registers,
            control=state.cpu.control,
            code=[
                CodeLine(at=names.ref(at, insns), code=state.code[at - rip : at - rip + size].hex(), text=text)
                for at, size, text in shown(state.code, rip, state.bits)[:CODE]
            ],
            new_code=[names.ref(pc, insns) for pc, _size, _insns in blocks],
            backtrace=[names.ref(one, insns) for one in frames],
            log=self._log(),
        )

    def _fatal(self, stop: Stop) -> _Event | None:
        """The exception that the run ended with: its handler did nothing more than to give up."""
        last = self._events[-1] if self._events else None
        if last is None or stop.reason.partition(":")[0] not in GIVES_UP:
            return None
        return last if self._machine.insns - last.insns <= GIVING_UP else None

    def _find_kernel(self, rip: int) -> None:
        """A kernel that came to its own addresses and no further: the page tables say where it lies."""
        names, facts = self._names, self._names.facts
        if names.virtual_slide is not None or names.physical_slide is None or facts is None or rip < names.kernel_half:
            return
        try:
            linked = facts.virtual_of(self._machine.cpu.translate(rip) - names.physical_slide)
        except GuestFault:
            return
        if linked is not None:
            names.virtual_slide = rip - linked

    def _shown(self, one: _Event) -> GuestException:
        event = one.event
        return GuestException(
            vector=event.vector,
            name=MNEMONICS.get(event.vector, f"#{event.vector}"),
            error=None if event.error is None else Hex(event.error),
            address=None if event.cr2 is None else Hex(event.cr2),
            at=self._names.ref(one.pc, one.insns),
            insns=one.insns,
        )

    def _state(self, event: _Event | None = None) -> _State:
        """As it is, or with the registers that an exception found; what was on the stack then is still there."""
        machine = self._machine
        cpu, insns = capture_cpu(machine.cpu, machine.memory), machine.insns
        if event is not None:
            names = dict(zip(ENCODED, map(Hex, event.registers), strict=True))
            registers = msgspec.structs.replace(cpu.registers, rip=Hex(event.eip), eflags=Hex(event.eflags), **names)
            cpu, insns = msgspec.structs.replace(cpu, registers=registers), event.insns
        at = machine.engine.env.linear if event is None else event.pc
        code = self._read(at, CODE_BYTES)
        stack = self._read(
            int(cpu.registers.rsp) + (0 if cpu.mode.startswith("long") else int(cpu.segments.ss.base)), STACK_BYTES
        )
        return _State(cpu, code, machine.cpu.mode, stack, insns, at, machine.engine.state.log_used)

    @property
    def _wide(self) -> bool:
        facts = self._names.facts
        return facts is None or facts.wide

    def _is_code(self, address: int) -> bool:
        """In the image as it was loaded, or in the kernel's own code."""
        names, facts = self._names, self._names.facts
        if names.image_base <= address < names.image_base + names.image_size:
            return True
        linked = names.linked(address)
        if linked is None or facts is None:
            return False
        symbols = facts.symbols
        early = symbols.get("_sinittext", 0) <= linked < symbols.get("_einittext", 0)
        return early or symbols.get("_stext", 0) <= linked < symbols.get("_etext", 0)

    def _log(self) -> list[str]:
        """The end of the kernel's log; it is searched for once."""
        symbols, slide = self._names.symbols, self._names.virtual_slide
        if symbols is None or slide is None:
            return []
        if self._lines is None:
            self._lines = self._read_log(symbols, slide)
        return self._lines

    def _read_log(self, symbols: Symbols, slide: int) -> list[str]:
        names = self._names

        def address_of(name: str) -> int | None:
            linked = symbols.address_of(name)
            return None if linked is None else (linked + slide) & ADDRESS_BITS

        segments = names.facts.segments if names.facts is not None else ()
        areas = tuple((one.virtual + slide, one.memory_size) for one in segments if one.virtual >= names.kernel_half)
        return log_tail(Kernel(self._read, address_of, 8 if self._wide else 4, areas), LOG)

    def _read(self, address: int, size: int) -> bytes:
        """As much as there is at a linear address: by the guest's page tables, or where the kernel's image lies."""
        out = bytearray()
        while len(out) < size:
            at = address + len(out)
            step = min(size - len(out), PAGE - at % PAGE)
            piece = self._piece(at, step)
            if not piece:
                break
            out += piece
        return bytes(out)

    def _piece(self, at: int, size: int) -> bytes:
        machine = self._machine
        try:
            return machine.cpu.read(at, size)
        except (GuestFault, BusError, ValueError):
            pass
        facts, names = self._names.facts, self._names
        linked = names.linked(at) if at >= names.kernel_half else None
        physical = facts.physical_of(linked) if facts is not None and linked is not None else None
        if physical is None or names.physical_slide is None:
            return b""
        try:
            return machine.memory.read(physical + names.physical_slide, size)
        except BusError:
            return b""
