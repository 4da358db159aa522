"""The machine: memory, buses, clock and processor, and the loop that runs a guest until there is a reason to stop.

Implements the protocol `Board` (cpu.py). One instance boots one guest once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from efishim.errors import MachineError
from efishim.machine import delivery
from efishim.machine.blocks import BlockIndex
from efishim.machine.budget import Budget
from efishim.machine.bus import Bus
from efishim.machine.callbacks import error_text
from efishim.machine.clock import Clock
from efishim.machine.code_watches import CodeWatches
from efishim.machine.counting import InstructionCount
from efishim.machine.cpu import BoardCpu, CpuidResult, InterruptController, MsrModel
from efishim.machine.debugging import Debugger, Debugging
from efishim.machine.delivery import Delivery, Exception_, TripleFault
from efishim.machine.engine import PHYSICAL_LIMIT, Engine
from efishim.machine.entropy import Entropy
from efishim.machine.env import HF2_NMI_MASK, HF_INHIBIT_IRQ, NO_EXCEPTION
from efishim.machine.host_work import Overdue, TooMuchWork
from efishim.machine.instructions import Instructions
from efishim.machine.intercepts import IN_DX, TRAP_PORT, Intercept, Op
from efishim.machine.ledger import Kind, Ledger
from efishim.machine.memory import PhysicalMemory
from efishim.machine.native import NEVER, BlockFlag, Cause
from efishim.machine.processor import NoProcessor
from efishim.machine.timekeeper import INSNS_PER_US, Timekeeper
from efishim.machine.watchdog import watched
from efishim.wire.x86 import EFLAGS_IF

SLICE = 40_000_000
"""Instructions after which control comes back even if nothing is due, so that limits are seen."""
UC_ERR_INSN_INVALID, UC_ERR_WRITE_PROT, UC_ERR_FETCH_PROT = 10, 12, 14
SPURIOUS_WAKEUPS = 1_000_000
STANDSTILL = 20_000
"""Times that the emulation may stop without an instruction in between. A processor whose exception handler cannot be fetched
goes round like that for ever; everything else needs a handful."""


@dataclass(frozen=True)
class Stop:
    """Why a run ended: a short reason for the record, and a sentence with the circumstances."""

    reason: str
    detail: str = ""


class Machine:
    """Memory, buses, clock, processor. Attach devices and RAM first, then `power_on`, set the entry state, `run`."""

    def __init__(self, *, seed: int = 0, tsc_hz: int = 2_100_000_000, insns_per_us: int = INSNS_PER_US) -> None:
        self.memory = PhysicalMemory()
        self.ports = Bus("port", 0x10000)
        self.mmio = Bus("mmio", PHYSICAL_LIMIT)
        self.clock = Clock()
        self.ledger = Ledger()
        self.cpu: BoardCpu = NoProcessor()
        self.interrupts: InterruptController | None = None
        self.msrs: MsrModel | None = None
        self.cpuid: Callable[[int, int], CpuidResult] | None = None
        self.hypercall: Callable[[], int] | None = None
        self.dead_halt = "halted"
        self.on_fetch_fault: Callable[[int], bool] = lambda _address: False
        self.halt_ends: Callable[[], int | None] = lambda: None
        """When an interrupt that no controller knows of ends HLT (ns): firmware has a timer of its own."""
        self.on_exception: Callable[[Exception_, int], None] | None = None
        self.tsc_hz = tsc_hz
        self._insns_per_us = insns_per_us
        self.halts = 0
        """How often the guest halted, or firmware waited for it."""
        self.exceptions, self.max_exceptions = 0, NEVER
        """How many exceptions were delivered, and after how many the run ends. Interrupts and INT n are none."""
        self.seed = seed
        self.entropy = Entropy.of(seed, "cpu")
        self._on_trap: Callable[[int], None] | None = None
        self._trap_after: int | None = None
        self._hypercall_at: Intercept | None = None
        self._afterwards: list[Callable[[], None]] = []
        self._event: Exception_ | None = None
        self._syscall: bool | None = None
        self._nmi = False
        self._stop: Stop | None = None
        self._budget: Budget | None = None
        self._left = self._barked = False
        self._poll: Callable[[], Stop | None] = lambda: None
        self.debugging: Debugging | None = None
        self._only_debugging = False
        """The guest was stopped for a debugger and nothing else was due."""
        self._was_debugging, self._resumed = False, 0
        self.watches = CodeWatches()
        self._engine: Engine | None = None
        self.clock.on_change = self._deadline_changed
        self.clock.interrupted = lambda: self._barked

    # Assembly

    def power_on(self) -> None:
        """Create the processor over the memory attached so far. RAM cannot be added afterwards."""
        if self._engine is not None:
            raise MachineError("the machine is on already")
        self._engine = Engine(self.memory, self)
        self._pages = self.memory.pages
        self.cpu = self._engine.processor
        pace = self._insns_per_us
        self.time = Timekeeper(self.clock, self._engine.state, tsc_hz=self.tsc_hz, seed=self.seed, insns_per_us=pace)
        self._delivery = Delivery(self._engine.processor, self.memory)
        self._instructions = Instructions(self, self._engine, self.time)
        self._blocks = BlockIndex(self._engine.processor)
        self._count = InstructionCount(self._engine, self._blocks)
        self.watches.connect(self._engine)

    def debug(self, debugger: Debugger) -> Debugging:
        """Attach a debugger to the guest while it runs. The machine is on."""
        if self.debugging is None:
            self.debugging = Debugging(self.engine, self._blocks, self.watches)
        self.debugging.attach(debugger)
        return self.debugging

    @property
    def engine(self) -> Engine:
        """The engine. Raises MachineError before `power_on`."""
        if self._engine is None:
            raise MachineError("the machine is not on")
        return self._engine

    @property
    def insns(self) -> int:
        """Instructions executed so far."""
        return self._engine.state.insns if self._engine else 0

    def trap(self, port: int, handler: Callable[[int], None]) -> None:
        """See `Board.trap`. The only port is `intercepts.TRAP_PORT`: the instruction is found in the code, before it runs."""
        if port != TRAP_PORT or self._on_trap is not None:
            raise MachineError(f"the trap is at port {TRAP_PORT:#x}, once, not at {port:#x}")
        self._on_trap = handler

    def stop(self, reason: str, detail: str = "") -> None:
        """See `Board.stop`. The first reason counts."""
        if self._stop is None:
            self._stop = Stop(reason, detail)
        if self._engine:
            self._engine.state.deadline = self._engine.state.limit = 0

    def begin(self, insns: int, when: int) -> None:
        """Go on from where the guest was stopped as if `insns` instructions had run so far and it were `when` (ns), which must
        not be in the past: what is due until then happens. Nothing that was counted, observed or drawn before is left.
        """
        while (due := self.clock.next_deadline()) is not None and due <= when:
            self.time.skip_to(due)
            self.clock.fire()
        self.time.skip_to(when)
        engine = self.engine
        engine.processor.sync()
        engine.drop_all()
        engine.flush_soft_tlb()
        engine.native.reset()
        engine.pending.error_code = engine.pending.exception_next_eip = 0
        self.time.begin(insns, when, self.seed)
        self.entropy = Entropy.of(self.seed, "cpu")
        self.ledger.clear()
        self.halts = self.exceptions = 0
        self._stop = None

    def now(self) -> int:
        """See `Board.now`."""
        return self.time.now() if self._engine else self.clock.now

    def device_access(self, ns: int) -> None:
        """See `Board.device_access`."""
        if self._engine:
            self.time.device_access(ns)

    def tsc(self) -> int:
        """See `Board.tsc`."""
        return self.time.tsc() if self._engine else 0

    def afterwards(self, action: Callable[[], None]) -> None:
        """See `Board.afterwards`."""
        self._afterwards.append(action)
        if self._engine:
            self._engine.state.deadline = self._engine.state.limit = 0

    def page_fault(self, address: int, *, error: int) -> None:
        """See `Board.page_fault`."""
        self._deliver(Exception_(delivery.PF, error, address))

    def wait_for_interrupt(self) -> None:
        """See `Board.wait_for_interrupt`."""
        self._idle(self.engine.env.linear)

    def skip_to(self, when: int) -> None:
        """See `Board.skip_to`."""
        self.halts += 1
        self.time.skip_to(when)

    def flush_code(self, address: int, size: int) -> None:
        """See `Board.flush_code`."""
        if self._engine:
            self._engine.flush_physical(address, size)

    def interrupt_changed(self) -> None:
        """See `Board.interrupt_changed`."""
        if self._engine and self.interrupts and self.interrupts.pending():
            self._engine.state.attention = 1
            self._engine.state.deadline = 0

    def non_maskable_interrupt(self) -> None:
        """See `Board.non_maskable_interrupt`."""
        self._nmi = True
        if self._engine:
            self._engine.state.deadline = self._engine.state.limit = 0

    def _deadline_changed(self) -> None:
        if self._engine:
            self.time.plan(self.clock.next_deadline())

    # Called by the engine while the guest runs

    def port_read(self, port: int, size: int) -> int:
        """IN."""
        self.time.port_access()
        value = self.ports.read(port, size)
        self.ledger.note(Kind.PORT, port, False, self.engine.env.linear, self.insns, value)
        return value

    def port_write(self, port: int, size: int, value: int) -> None:
        """OUT."""
        engine = self.engine
        self.time.port_access()
        value &= (1 << (8 * size)) - 1
        self.ledger.note(Kind.PORT, port, True, engine.env.linear, self.insns, value)
        self.ports.write(port, size, value)

    def _check_port(self, site: Intercept) -> None:
        """Before IN, OUT, INS, OUTS in ring 3. Raises #GP in the guest when denied."""
        cpu = self.engine.processor
        port = cpu.env.regs[2] & 0xFFFF if site.register == IN_DX else site.register
        if not cpu.may_access_port(port, site.bits // 8):
            self.raise_exception(Exception_(delivery.GP, 0))

    def mmio_read(self, address: int, size: int) -> int:
        """A load where no memory is."""
        self.now()
        value = self.mmio.read(address, size)
        self.ledger.note(Kind.MMIO, address, False, self._block(), self.insns, value)
        return value

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """A store where no memory is."""
        self.now()
        value &= (1 << (8 * size)) - 1
        self.ledger.note(Kind.MMIO, address, True, self._block(), self.insns, value)
        self.mmio.write(address, size, value)

    def _block(self) -> int:
        """Linear address of the block that runs."""
        engine = self.engine
        return engine.env.linear_of(engine.state.last_pc)

    def cpuid_hook(self) -> bool:
        """CPUID through the platform's model, or the engine's own when there is none."""
        env = self.engine.env
        leaf, subleaf = env.regs[0] & 0xFFFFFFFF, env.regs[1] & 0xFFFFFFFF
        self.ledger.note(Kind.CPUID, leaf << 32 | subleaf, False, env.linear, self.insns, 0)
        if self.cpuid is None:
            return False
        eax, ebx, ecx, edx = self.cpuid(leaf, subleaf)
        env.regs[0], env.regs[3], env.regs[1], env.regs[2] = eax, ebx, ecx, edx
        return True

    def syscall(self, sysenter: bool) -> None:
        """SYSCALL or SYSENTER: completed outside of the emulation."""
        self._syscall = sysenter
        self.engine.stop()

    def exception(self, vector: int) -> None:
        """An exception or INT n that Unicorn noticed."""
        pending, env = self.engine.pending, self.engine.env
        software = bool(pending.exception_is_int)
        cr2 = env.cr[2] if vector == delivery.PF and not software else None
        self._event = Exception_(vector, None if software else pending.error_code & 0xFFFFFFFF, cr2, software)
        pending.old_exception = NO_EXCEPTION
        self.engine.stop()

    def raise_exception(self, event: Exception_) -> None:
        """From a hook: the current instruction faults instead of completing."""
        self._event = event
        self.engine.stop()

    def site(self, site: Intercept) -> None:
        """An instruction that we execute ourselves."""
        if site.op is Op.PORT:
            self._check_port(site)
            return
        if site.op is Op.TRAP:
            if self._on_trap is not None and self.engine.processor.cpl == 0:
                self._trap_after = site.address + site.length
                self.count_back(site.address, site.length)
                self.engine.stop()
            return
        if site.op is Op.VMCALL or site.op is Op.VMMCALL:
            if self.hypercall is None:
                self.raise_exception(Exception_(delivery.UD))
                return
            self._hypercall_at = site
            self.count_back(site.address, site.length)
            self.engine.stop()
            return
        self._instructions.execute(site)

    def breakpoint(self, address: int) -> bool:
        """The run may have to end here, or a debugger wants to look."""
        if self._budget is not None and self._budget.used_up(address):
            self.engine.stop()
        elif self.debugging is not None and self.debugging.within(address):
            self._only_debugging = True
        else:
            return False
        self._left = True
        return True

    def block(self, pc: int, size: int, icount: int, code: bytes) -> int:
        """A block was translated."""
        del icount
        flags = self.watches.judge(pc, code)
        if self.debugging is not None and self.debugging.wanted(pc, size):
            flags |= BlockFlag.WATCHED
        return flags

    # The loop

    def run(
        self,
        *,
        max_insns: int | None = None,
        poll: Callable[[], Stop | None] = lambda: None,
        overdue: Callable[[], bool] | None = None,
    ) -> Stop:
        """Run until a reason to stop. `poll` is asked between slices and may end the run; `overdue` is asked from a thread of
        its own, whatever the guest does, and says whether `poll` will end it for a reason of the host's (timeout, Ctrl-C).
        """
        self._poll = poll
        with watched(overdue, self._look_up):
            try:
                return self._run(max_insns)
            except TooMuchWork as error:
                return Stop("too much work", f"{error.sentence}, before {self.engine.env.linear:#x}")
            except Overdue as error:
                return poll() or Stop("interrupted", error.sentence)
            except TripleFault:
                return Stop("triple fault", f"at {self.engine.env.linear:#x}")

    def _look_up(self, overdue: bool) -> None:
        """From another thread: have `poll` asked soon."""
        self._barked = True
        if overdue:
            self.memory.work.hurry()
        self.engine.stop()

    def _run(self, max_insns: int | None) -> Stop:
        engine = self.engine
        self._budget = None if max_insns is None else Budget(engine, self._blocks, max_insns)
        insns, still = -1, 0
        while self._stop is None:
            only_debugging, self._only_debugging = self._only_debugging, False
            if only_debugging:
                self._replan()
            else:
                still = still + 1 if insns == self.insns else 0
                insns = self.insns
                if still > STANDSTILL:
                    return Stop("endless loop", f"exceptions without an instruction in between at {engine.env.linear:#x}")
                asked = self._poll()
                if asked is not None:
                    return asked
                self.now()
                while self._afterwards:
                    self._afterwards.pop(0)()
                self.clock.fire()
                if self._stop is not None:
                    break
                if max_insns is not None and self.insns >= max_insns:
                    return Stop("insn limit", f"{self.insns} instructions were executed")
                self._take_interrupt()
                self._set_limit()
            if self.debugging is not None and not self._debugged(self.debugging):
                continue
            self._was_debugging = only_debugging
            error = engine.run()
            if engine.failure is not None:
                failure, engine.failure = engine.failure, None
                raise failure
            barked, self._barked = self._barked, False
            if barked and (asked := self._poll()) is not None:
                return asked
            self._after(error, barked)
        return self._stop

    def _debugged(self, debugging: Debugging) -> bool:
        """Let debuggers look, and False when the run may end."""
        if not debugging.ended:
            debugging.between()
        if debugging.ended:
            self._stop = Stop("interrupted", "the debugger ended the run")
        if self._stop is not None or debugging.over():
            return False
        debugging.bound()
        self._resumed = self.insns
        return True

    def _replan(self) -> None:
        """After a stop for a debugger: what was due before is due, and nothing else."""
        if self.debugging is not None:
            self.debugging.unbound()
            self.time.plan(self.clock.next_deadline())

    def _nothing_due(self) -> bool:
        """Would the guest have gone on here without a debugger?"""
        if self.debugging is None:
            return False
        self._replan()
        state, env = self.engine.state, self.engine.env
        interrupted = state.attention and env.eflags & EFLAGS_IF and not env.hflags & HF_INHIBIT_IRQ
        return state.insns < state.limit and not (interrupted or self._afterwards or self._nmi)

    def _set_limit(self) -> None:
        state = self.engine.state
        limit = state.insns + SLICE
        if self._budget is not None:
            limit = min(limit, self._budget.limit())
        if self._nmi:
            limit = min(limit, state.insns + 1)  # it waits for an IRET, so look again behind every block
        state.limit = limit
        waiting = self.interrupts is not None and self.interrupts.pending()
        state.attention = int(waiting)
        state.deadline = 0 if waiting else limit
        self.time.plan(self.clock.next_deadline())

    def _take_interrupt(self) -> None:
        interrupts, env = self.interrupts, self.engine.env
        if self._nmi and not env.hflags2 & HF2_NMI_MASK and not env.hflags & HF_INHIBIT_IRQ:
            self._nmi = False
            env.hflags2 |= HF2_NMI_MASK
            self._deliver(Exception_(delivery.NMI, external=True))
        if interrupts is None:
            return
        while interrupts.pending() and env.eflags & EFLAGS_IF and not env.hflags & HF_INHIBIT_IRQ:
            vector = interrupts.acknowledge()
            self._deliver(Exception_(vector, external=True))

    def deliver_now(self, event: Exception_) -> None:
        """Deliver while the guest is stopped. Raises TripleFault."""
        self._deliver(event)

    def _deliver(self, event: Exception_) -> None:
        if self.on_exception is not None:
            self.on_exception(event, self.engine.env.linear)
        if not event.software:  # INT n is a call: its handler follows from the code that has it
            self.engine.native.interrupted(self.engine.env.pc, event.vector)
            self.exceptions += not event.external
            if self.exceptions > self.max_exceptions:
                self.stop("endless loop", f"{self.exceptions:,} exceptions, the last one at {self.engine.env.linear:#x}")
        self._delivery.deliver(event)

    def _after(self, error: int, barked: bool) -> None:
        """Something ended the emulation: find out what, and do it. It may have been the watchdog, for nothing."""
        engine = self.engine
        state, env = engine.state, engine.env
        cause = state.cause
        if self._left:
            self._left = False
        elif self._event is not None:
            event, self._event = self._event, None
            self._count.stopped(faulted=True)
            if self._opened(event):
                engine.processor.set("cr2", self._delivery.cr2)  # for the guest nothing happened
                return
            self._deliver(event)
        elif self._syscall is not None:
            sysenter, self._syscall = self._syscall, None
            self._instructions.enter_kernel(sysenter)
        elif self._trap_after is not None or self._hypercall_at is not None:
            with self.memory.work.bounded(self._pages):
                self._called()
        elif cause == Cause.FLAGGED:
            self._flagged(env.pc)
        elif cause == Cause.UNKNOWN:
            self._unknown(env.pc)
        elif cause in (Cause.DEADLINE, Cause.INTERRUPT):
            self._only_debugging = cause == Cause.DEADLINE and self._nothing_due()
            if cause == Cause.DEADLINE and self._budget is not None and not self._only_debugging:
                self._budget.look()
        elif cause == Cause.FULL:
            engine.drop_all()
        elif error in (UC_ERR_INSN_INVALID, UC_ERR_FETCH_PROT):
            # A fetch where no memory is reads all ones, and FF FF is no instruction.
            software = error == UC_ERR_INSN_INVALID and bool(engine.pending.exception_is_int)
            if software:  # INT 6: Unicorn takes it for an invalid instruction, too
                env.eip = engine.pending.exception_next_eip
            self._count.stopped(faulted=not software)
            self._deliver(Exception_(delivery.UD, software=software))
        elif error == UC_ERR_WRITE_PROT:
            if self._count.store_lost():
                self._halt()
        elif error:
            self._stop = Stop("emulator error", f"{error_text(error)} at {env.linear:#x}")
        elif self._stop is None and not env.pc:
            self._stop = Stop("wild jump", "the guest jumped to address zero")
        elif self._stop is None and (not barked or self._count.halted()):
            self._halt()

    def _called(self) -> None:
        """The guest called the host, by a trap or a hypercall, and goes on behind that."""
        env = self.engine.env
        after, self._trap_after = self._trap_after, None
        call, self._hypercall_at = self._hypercall_at, None
        if after is not None and self._on_trap is not None:
            env.pc = after
            self.now()
            self._on_trap(env.regs[0] & 0xFF)
        elif call is not None and self.hypercall is not None:
            env.pc = call.address + call.length
            self.now()
            name = self.hypercall()
            self.ledger.note(Kind.HYPERCALL, name, True, env.linear_of(call.address), self.insns, env.regs[0])

    def _opened(self, event: Exception_) -> bool:
        """A fetch from a page that its owner (firmware, for its own tables) opens for execution now."""
        fetch = event.vector == delivery.PF and bool((event.error or 0) & 0x10)
        return fetch and event.cr2 is not None and self.on_fetch_fault(event.cr2)

    def count_back(self, address: int, length: int) -> None:
        """A site's hook leaves the block after the instruction at `address`: take back the rest of the block."""
        self._count.stopped_at(address + length, faulted=False)

    def _flagged(self, pc: int) -> None:
        engine = self.engine
        debugging = self.debugging is not None and not engine.native.flags(pc) & BlockFlag.RETRANSLATE
        callbacks = self.watches.meet(pc)
        engine.native.unmark(pc, BlockFlag.WATCHED)
        if self.debugging is None or not self.debugging.hook(pc):
            engine.instrument(pc)
        for callback in callbacks:
            callback()
        self._only_debugging = debugging and not callbacks

    def _unknown(self, pc: int) -> None:
        if pc == 0:
            self._stop = Stop("wild jump", "the guest jumped to address zero")
            return
        # The first block behind any stop is unknown if it is new, and without the debugger's stop it would not have been.
        self._only_debugging = self._was_debugging and self.insns == self._resumed
        self._count.meet(pc)

    def _halt(self) -> None:
        self.halts += 1
        env = self.engine.env
        if self._nmi and not env.hflags2 & HF2_NMI_MASK:
            return
        if not env.eflags & EFLAGS_IF:
            self._stop = Stop(self.dead_halt, f"HLT with interrupts off before {env.linear:#x}")
            return
        self._idle(env.linear, self.halt_ends())

    def _idle(self, pc: int, end: int | None = None) -> None:
        """Let time pass until an interrupt is pending or the processor continues elsewhere, at most to `end` (ns)."""
        interrupts, env = self.interrupts, self.engine.env
        eip = env.eip
        for _ in range(SPURIOUS_WAKEUPS):
            if interrupts is not None and interrupts.pending():
                return
            deadline = self.clock.next_deadline()
            if end is not None and (deadline is None or end < deadline):
                self.time.skip_to(end)
                return
            if deadline is None:
                self._stop = Stop("halted", f"HLT before {pc:#x} with nothing left that could wake the processor")
                return
            self.time.skip_to(deadline)
            self.clock.fire()
            if self._barked:
                self._barked, self._stop = False, self._stop or self._poll()
            if self._stop is not None or env.eip != eip:
                return
        self._stop = Stop("halted", f"HLT before {pc:#x}: events fire but none interrupts")


__all__ = ["NEVER", "Machine", "Stop"]
