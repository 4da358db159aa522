"""Dispatches the OUT of a stub to its service, and calls from services into the guest.

A service is a Python function of the call's arguments. One that must call the guest (notify functions, images, driver
bindings) is a generator: it yields `Call` and is resumed with RAX when the guest returns. Suspended services wait on a
stack, as their frames would in compiled firmware.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from efishim.firmware.calling import stubs
from efishim.firmware.calling.architecture import convention_of
from efishim.firmware.calling.call_log import CallLog
from efishim.firmware.calling.functions import Function, Returns
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.overrides import Overrides
from efishim.firmware.calling.status import EfiError, Status
from efishim.injection import Injections
from efishim.machine.cpu import Board, GuestFault
from efishim.machine.memory import BusError
from efishim.wire.x86 import EFLAGS_IF

DEPTH_LIMIT = 64
"""Most services inside each other; a deeper call answers EFI_OUT_OF_RESOURCES."""

RED_ZONE = 128

GENERAL_REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    *("rip", "eflags"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function of the guest. `catch` names what BootServices.Exit may unwind to."""

    address: int
    arguments: tuple[int, ...]
    catch: object = None


@dataclass(frozen=True, slots=True)
class Idle:
    """Let time pass: to the next thing that the clock has planned, at most to `until` (ns, None: no limit)."""

    until: int | None = None


Steps = Generator[Call | Idle, int, int]
Handler = Callable[..., "int | Steps"]
Rest = Callable[[int], int]
"""Variadic services get one of these as last argument: the value of argument number n."""


class Services(Protocol):
    """A part of the firmware that fills places in a table."""

    def services(self) -> dict[str, Handler]:
        """Handlers by the name in the table."""


class Unwind(Exception):
    """Leave all services and guest functions inside the Call with this `catch`, which gives `value`."""

    def __init__(self, catch: object, value: int) -> None:
        super().__init__("unwind")
        self.catch = catch
        self.value = value


@dataclass(slots=True)
class _Frame:
    """A suspended service (or, with `registers`, an event that interrupted the guest)."""

    steps: Steps
    rsp: int
    rip: int
    function: Function | None = None
    values: tuple[int, ...] = ()
    number: int | None = None
    waiting: Call | Idle | None = None
    result: int | None = None
    registers: dict[str, int] | None = None
    overridden: bool = False
    injected: bool = False
    on_finish: Callable[[int], None] | None = None


def _answer(value: int) -> Steps:
    """A service that is done at once."""
    return value
    yield Idle()  # makes this a generator


def call_once(address: int, arguments: tuple[int, ...]) -> Steps:
    """Nothing but a call of the guest's."""
    return (yield Call(address, arguments))


@dataclass
class StubArea:
    """Where stubs are put: whole pages of guest memory, filled from the start."""

    start: int
    size: int
    used: int = field(default=0)

    def take(self, size: int = stubs.STUB_SIZE) -> int:
        """Room for one stub, aligned to 16. Raises ValueError when the pages are full."""
        address = self.start + self.used
        self.used += -(-size // stubs.STUB_SIZE) * stubs.STUB_SIZE
        if self.used > self.size:
            raise ValueError("the page for firmware stubs is full")
        return address


class Dispatcher:
    """Owns the trap port. `area` lies in EfiRuntimeServicesCode, so that stubs work after ExitBootServices. The width of the
    guest's pointers decides how functions are called.
    """

    def __init__(self, board: Board, guest: Guest, log: CallLog, overrides: Overrides, area: StubArea) -> None:
        self.board = board
        self.guest = guest
        self.convention = convention_of(guest)
        self.log = log
        self.overrides = overrides
        self.gate: Callable[[Function], Status | None] = lambda function: None
        """Says which functions may not be called now, and what they answer."""
        self.injections = Injections()
        self.epilogue: Callable[[], Steps | None] = lambda: None
        """What there is to do before a service returns: notifications that became due."""
        self._frames: list[_Frame] = []
        self._sites: dict[int, Callable[[], None]] = {}
        self._numbers = count(1)
        self._busy = False
        self.served = 0
        """Calls so far."""
        self._return_to = self.place(area, stubs.RETURN, self._returned)
        self._idle = self.place(area, stubs.IDLE, self._idled)
        self._async_entry = self.place(area, stubs.interrupt_entry(guest.width), self._interrupted)
        self._async_exit = self.place(area, stubs.interrupt_exit(guest.width), self._resumed)
        board.trap(stubs.TRAP_PORT, self._trap)

    # -- building -----------------------------------------------------------------------------------------------

    def place(self, area: StubArea, code: bytes, handler: Callable[[], None]) -> int:
        """Put code into an area; `handler` runs when its OUT is reached. Gives its address."""
        address = area.take(len(code))
        self.board.memory.write(address, code.ljust(stubs.STUB_SIZE, stubs.INT3))
        self._sites[address + code.index(stubs.OUT) + len(stubs.OUT)] = handler
        return address

    def define(self, area: StubArea, function: Function, handler: Handler) -> int:
        """Make a service callable. Gives the address for its table."""
        code = stubs.service(next(self._numbers))
        return self.place(area, code, lambda: self._service(function, handler))

    # -- starting from the host's side --------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many services are suspended."""
        return len(self._frames)

    @property
    def busy(self) -> bool:
        """Is a service at work at this moment? Then due notifications wait for its end."""
        return self._busy

    def start(self, steps: Steps, rsp: int, on_finish: Callable[[int], None]) -> None:
        """Begin with nothing running: the firmware's own main program, on a stack that ends at `rsp`."""
        frame = _Frame(steps, rsp, self._idle, on_finish=on_finish)
        self._frames.append(frame)
        self._advance(frame)

    def interrupt(self, steps: Steps) -> bool:
        """Make the running guest do `steps` before it goes on. False when it cannot be interrupted now."""
        cpu = self.board.cpu
        if self._busy or not cpu.get("eflags") & EFLAGS_IF or len(self._frames) >= DEPTH_LIMIT or self._foreign_mode():
            return False
        registers = {name: cpu.get(name) for name in GENERAL_REGISTERS}
        rsp = (self.convention.stack - RED_ZONE - stubs.FXSAVE_SIZE) & ~0xF
        self._frames.append(_Frame(steps, rsp, self._async_exit, registers=registers))
        cpu.set("rsp", rsp)
        cpu.set("rip", self._async_entry)
        return True

    # -- traps --------------------------------------------------------------------------------------------------

    def _trap(self, _value: int) -> None:
        """An OUT to the trap port. One that is not in a stub goes nowhere, as on a machine without such a device."""
        try:
            site = self.board.cpu.translate(self.board.cpu.get("rip") - 1) + 1
        except (GuestFault, BusError):
            return
        handler = self._sites.get(site)
        if handler is None:
            return
        if self._foreign_mode():
            self.board.stop(f"firmware exception: code that is not {self.convention.bits}-bit called the firmware, which is")
        else:
            self._busy = True
            try:
                handler()
            finally:
                self._busy = False

    def _foreign_mode(self) -> bool:
        """Does the processor execute in another mode than the firmware's? A 64-bit kernel on 32-bit firmware leaves long mode
        for each call, and what goes on in it meanwhile is not to be disturbed by 32-bit code.
        """
        return self.board.cpu.mode != self.convention.bits

    def _service(self, function: Function, handler: Handler) -> None:
        convention = self.convention
        rsp, rip = convention.stack, self.board.cpu.get("rip")
        try:
            caller = convention.return_address(rsp)
            values = convention.arguments(rsp, function)
        except EfiError as error:
            convention.give(error.status, status=True)
            return
        self.served += 1
        number = self.log.begin(function, values, caller, len(self._frames))
        frame = _Frame(_answer(0), rsp, rip, function, values, number)
        self._frames.append(frame)
        try:
            forced = self._injected(function)
            frame.injected = forced is not None
            if forced is None:
                forced = self._forced(function, values)
            frame.overridden = forced is not None
            if forced is None and len(self._frames) > DEPTH_LIMIT:
                forced = Status.OUT_OF_RESOURCES
            if forced is None:
                rest: tuple[Rest, ...] = ((lambda n: convention.more(rsp, n)),) if function.variadic else ()
                outcome = handler(*values, *rest)
            else:
                outcome = int(forced)
            frame.steps = _answer(outcome) if isinstance(outcome, int) else outcome
        except EfiError as error:
            frame.steps = _answer(error.status)
        except Unwind as unwind:
            self._unwind(unwind)
            return
        except GuestFault as fault:
            self._faulted(frame, fault)
            return
        self._advance(frame)

    def _faulted(self, frame: _Frame, fault: GuestFault) -> None:
        """The firmware's own memory is not mapped. Who handles the page fault and comes back calls the service again."""
        self._frames.remove(frame)
        self.board.cpu.set("rip", frame.rip - len(stubs.OUT))
        self.board.page_fault(fault.address, error=fault.error)

    def _injected(self, function: Function) -> int | None:
        """The status of a call that is to fail, whatever the firmware would do."""
        return self.injections.strike(function.full_name) if function.returns is Returns.STATUS else None

    def _forced(self, function: Function, values: Sequence[int]) -> int | None:
        refused = self.gate(function)
        if refused is not None:
            return refused
        if not self.overrides.watches_calls or function.returns is not Returns.STATUS:
            return None
        return self.overrides.answer(function.full_name, self.log.arguments(function, values))

    def _returned(self) -> None:
        """A function of the guest came back."""
        if self._frames and isinstance(self._frames[-1].waiting, Call):
            self._advance(self._frames[-1], self.convention.result())
        else:
            self.board.stop("firmware exception: a return that no call is waiting for")

    def _idled(self) -> None:
        frame = self._frames[-1] if self._frames else None
        if frame is None or not isinstance(frame.waiting, Idle):
            self.board.stop("firmware exception: idle code reached by a jump")
            return
        clock, until = self.board.clock, frame.waiting.until
        self.board.now()
        due = clock.next_deadline()
        target = until if due is None else due if until is None else min(due, until)
        if target is None:
            self.board.stop("halted")  # nothing is planned that could signal an event
            return
        self.board.skip_to(target)
        clock.fire()
        self._advance(frame, 0)

    def _interrupted(self) -> None:
        if self._frames and self._frames[-1].registers is not None:
            self._advance(self._frames[-1])

    def _resumed(self) -> None:
        frame = self._frames.pop() if self._frames else None
        if frame is None or frame.registers is None:
            self.board.stop("firmware exception: interrupt exit reached by a jump")
            return
        for name, value in frame.registers.items():
            self.board.cpu.set(name, value)

    # -- running services ---------------------------------------------------------------------------------------

    def _advance(self, frame: _Frame, value: int | None = None) -> None:
        """Run the topmost service to its next Call, or to its end."""
        while True:
            frame.waiting = None
            try:
                # A generator that has not started takes only None; mypy's Generator has no way to say so.
                step = next(frame.steps) if value is None else frame.steps.send(value)
            except StopIteration as stop:
                result = stop.value if frame.result is None else frame.result
            except EfiError as error:
                result = int(error.status) if frame.result is None else frame.result
            except Unwind as unwind:
                self._unwind(unwind)
                return
            else:
                frame.waiting = step
                if self._enter(frame, step):
                    return
                frame.steps.close()
                result = int(Status.INVALID_PARAMETER)
            more = self.epilogue() if frame.function is not None else None
            if more is None:
                self._finish(frame, result)
                return
            frame.result, frame.steps, value = result, more, None

    def _enter(self, frame: _Frame, step: Call | Idle) -> bool:
        """Point the processor at what a service asked for. False when the stack cannot take the call."""
        cpu = self.board.cpu
        if isinstance(step, Idle):
            cpu.set("rsp", frame.rsp)
            cpu.set("rip", self._idle)
            return True
        try:
            self.convention.enter(frame.rsp, self._return_to, step.arguments)
        except EfiError:
            return False
        cpu.set("rip", step.address)
        return True

    def _finish(self, frame: _Frame, result: int) -> None:
        if self._frames and self._frames[-1] is frame and frame.registers is None:
            self._frames.pop()
        cpu = self.board.cpu
        cpu.set("rsp", frame.rsp)
        cpu.set("rip", frame.rip)
        if frame.on_finish is not None:
            frame.on_finish(result)
        if frame.function is None:
            return
        if self.overrides.watches_calls and frame.function.returns is Returns.STATUS and not frame.overridden:
            amended = self.overrides.amend(frame.function.full_name, self.log.arguments(frame.function, frame.values), result)
            frame.overridden, result = amended != result, amended
        self.convention.give(result, status=frame.function.returns is Returns.STATUS)
        self.log.end(frame.number, frame.function, frame.values, result, overridden=frame.overridden, injected=frame.injected)

    def _unwind(self, unwind: Unwind) -> None:
        places = [i for i, f in enumerate(self._frames) if isinstance(f.waiting, Call) and f.waiting.catch is unwind.catch]
        if not places:
            self.board.stop("firmware exception: an image called Exit that was not started")
            return
        for frame in reversed(self._frames[places[-1] + 1 :]):
            frame.steps.close()
        del self._frames[places[-1] + 1 :]
        self._advance(self._frames[-1], unwind.value)
