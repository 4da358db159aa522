"""Instructions that the machine executes instead of Unicorn: time, random numbers, MSRs, PAUSE, and system calls.

Intel SDM volume 2 for each; the MSRs that are the emulated processor's own stay with it.
"""

from __future__ import annotations

from typing import Protocol

from efishim.machine import delivery
from efishim.machine.cpu import MsrModel
from efishim.machine.delivery import Exception_
from efishim.machine.engine import Engine
from efishim.machine.entropy import Entropy
from efishim.machine.env import HF_CS64
from efishim.machine.intercepts import Intercept, Op
from efishim.machine.ledger import Kind, Ledger
from efishim.machine.timekeeper import Timekeeper
from efishim.wire.x86 import EFER_LMA, EFER_SCE, EFLAGS_IF, EFLAGS_RF, EFLAGS_VM

MSR_TSC, MSR_TSC_AUX, MSR_TSC_ADJUST = 0x10, 0xC0000103, 0x3B
MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK = 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084
MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP = 0x174, 0x175, 0x176
ENGINE_MSRS = frozenset(
    {0xC0000080, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, 0xC0000100, 0xC0000101, 0xC0000102, 0x174, 0x175, 0x176}
)
CARRY = 1
STATUS_FLAGS = 0x8D5  # CF PF AF ZF SF OF
CODE64_FLAGS, CODE32_FLAGS, DATA_FLAGS = 0x00AF9B00, 0x00CF9B00, 0x00CF9300


class Surroundings(Protocol):
    """What the instructions need of the machine around the processor."""

    ledger: Ledger
    entropy: Entropy
    msrs: MsrModel | None

    @property
    def insns(self) -> int:
        """Instructions executed so far."""

    def raise_exception(self, event: Exception_) -> None:
        """The current instruction faults instead of completing."""

    def deliver_now(self, event: Exception_) -> None:
        """Deliver while the guest is stopped."""

    def count_back(self, address: int, length: int) -> None:
        """The block is left after the instruction at `address`."""


class Instructions:
    """Executes sites and system calls for one machine."""

    def __init__(self, machine: Surroundings, engine: Engine, time: Timekeeper) -> None:
        self._machine = machine
        self._engine = engine
        self._time = time
        self._tsc_aux = 0
        self._tsc_adjust = 0

    def execute(self, site: Intercept) -> None:
        """Do what the instruction does and continue behind it, or make it fault."""
        env = self._engine.env
        op = site.op
        if op is Op.RDTSC or op is Op.RDTSCP:
            if env.cr[4] & 4 and self._engine.processor.cpl:
                self._machine.raise_exception(Exception_(delivery.GP, 0))
                return
            tsc = self._time.read_tsc(site.address)
            env.regs[0], env.regs[2] = tsc & 0xFFFFFFFF, tsc >> 32
            if op is Op.RDTSCP:
                env.regs[1] = self._tsc_aux & 0xFFFFFFFF
        elif op is Op.PAUSE:
            self._time.spin(site.address)
        elif op is Op.RDPID:
            env.regs[site.register] = self._tsc_aux & 0xFFFFFFFF
        elif op is Op.RDRAND or op is Op.RDSEED:
            self._random(site)
        elif (op is Op.RDMSR and not self._rdmsr()) or (op is Op.WRMSR and not self._wrmsr()):
            return
        self._machine.count_back(site.address, site.length)
        self._engine.skip_instruction(site.address + site.length)

    def _random(self, site: Intercept) -> None:
        env, bits = self._engine.env, site.bits
        value = self._machine.entropy.integer(bits)
        if bits == 16:
            value |= env.regs[site.register] & ~0xFFFF
        env.regs[site.register] = value
        processor = self._engine.processor
        processor.set("eflags", processor.get("eflags") & ~STATUS_FLAGS | CARRY)

    def _rdmsr(self) -> bool:
        """True when done here; False when Unicorn executes it or it faulted."""
        env, machine = self._engine.env, self._machine
        if self._engine.processor.cpl:
            machine.raise_exception(Exception_(delivery.GP, 0))
            return False
        msr = env.regs[1] & 0xFFFFFFFF
        value: int | None
        if msr in ENGINE_MSRS:
            machine.ledger.note(Kind.MSR, msr, False, env.linear, machine.insns, 0)
            return False
        if msr == MSR_TSC:
            value = self._time.tsc()
        elif msr == MSR_TSC_AUX:
            value = self._tsc_aux
        elif msr == MSR_TSC_ADJUST:
            value = self._tsc_adjust & (1 << 64) - 1
        elif machine.msrs is None:
            return False
        else:
            value = machine.msrs.read(msr)
        machine.ledger.note(Kind.MSR, msr, False, env.linear, machine.insns, value or 0)
        if value is None:
            machine.raise_exception(Exception_(delivery.GP, 0))
            return False
        env.regs[0], env.regs[2] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
        return True

    def _wrmsr(self) -> bool:
        env, machine = self._engine.env, self._machine
        if self._engine.processor.cpl:
            machine.raise_exception(Exception_(delivery.GP, 0))
            return False
        msr = env.regs[1] & 0xFFFFFFFF
        value = (env.regs[2] & 0xFFFFFFFF) << 32 | env.regs[0] & 0xFFFFFFFF
        machine.ledger.note(Kind.MSR, msr, True, env.linear, machine.insns, value)
        if msr in ENGINE_MSRS:
            return False
        if msr == MSR_TSC:
            delta = value - self._time.tsc()
            self._time.tsc_offset += delta
            self._tsc_adjust += delta
        elif msr == MSR_TSC_ADJUST:
            self._time.tsc_offset += value - self._tsc_adjust
            self._tsc_adjust = value
        elif msr == MSR_TSC_AUX:
            self._tsc_aux = value
        elif machine.msrs is None:
            return False
        elif not machine.msrs.write(msr, value):
            machine.raise_exception(Exception_(delivery.GP, 0))
            return False
        return True

    def enter_kernel(self, sysenter: bool) -> None:
        """SYSCALL or SYSENTER: RIP already points behind it."""
        uc, env, cpu = self._engine.uc, self._engine.env, self._engine.processor
        flags = cpu.get("eflags")
        if sysenter:
            code = uc.msr_read(MSR_SYSENTER_CS)
            if not code & 0xFFFC:
                env.eip -= 2
                self._machine.deliver_now(Exception_(delivery.GP, 0))
                return
            long_mode = bool(env.efer & EFER_LMA)
            env.cs.load(code & 0xFFFC, 0, 0xFFFFFFFF, CODE64_FLAGS if long_mode else CODE32_FLAGS)
            env.ss.load((code & 0xFFFC) + 8, 0, 0xFFFFFFFF, DATA_FLAGS)
            env.regs[4] = uc.msr_read(MSR_SYSENTER_ESP)
            env.eip = uc.msr_read(MSR_SYSENTER_EIP)
            cpu.set("eflags", flags & ~(EFLAGS_IF | EFLAGS_VM | EFLAGS_RF))
            cpu.sync(0)
            return
        star = uc.msr_read(MSR_STAR)
        if not env.efer & EFER_SCE:
            env.eip -= 2
            self._machine.deliver_now(Exception_(delivery.UD))
            return
        selector = star >> 32 & 0xFFFC
        if env.efer & EFER_LMA:
            env.regs[1] = env.eip
            env.regs[11] = flags & ~EFLAGS_RF
            target = uc.msr_read(MSR_LSTAR if env.hflags & HF_CS64 else MSR_CSTAR)
            mask = uc.msr_read(MSR_FMASK)
            env.cs.load(selector, 0, 0xFFFFFFFF, CODE64_FLAGS)
            env.ss.load(selector + 8, 0, 0xFFFFFFFF, DATA_FLAGS)
            env.eip = target
            cpu.set("eflags", (flags & ~mask & ~EFLAGS_RF) | 2)
        else:
            env.regs[1] = env.eip & 0xFFFFFFFF
            env.cs.load(selector, 0, 0xFFFFFFFF, CODE32_FLAGS)
            env.ss.load(selector + 8, 0, 0xFFFFFFFF, DATA_FLAGS)
            env.eip = star & 0xFFFFFFFF
            cpu.set("eflags", flags & ~(EFLAGS_IF | EFLAGS_VM | EFLAGS_RF))
        cpu.sync(0)
