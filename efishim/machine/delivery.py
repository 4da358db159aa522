"""Delivers interrupts and exceptions through the guest's own IDT (Intel SDM volume 3, chapter 6).

Unicorn hands every vector to a hook and never looks at the guest's tables. This module does what the processor does after it
decided to deliver a vector: read the gate, check it, switch stacks by TSS or IST, push the frame, load CS:RIP. A fault on the
way becomes another exception by the rules for double faults (table 6-5); the third is a shutdown.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from efishim.machine.env import Env
from efishim.machine.memory import PAGE, BusError, PhysicalMemory
from efishim.machine.paging import PageFault
from efishim.machine.processor import Processor
from efishim.wire.x86 import (
    CR0_PE,
    DESCRIPTOR_B,
    DESCRIPTOR_L,
    EFER_LMA,
    EFLAGS_AC,
    EFLAGS_IF,
    EFLAGS_NT,
    EFLAGS_RF,
    EFLAGS_TF,
    EFLAGS_VM,
    SegmentDescriptor,
    segment_descriptor,
)

DE, DB, NMI, BP, OF, BR, UD, NM, DF = range(9)
TS, NP, SS, GP, PF = 10, 11, 12, 13, 14
AC = 17
HAS_ERROR_CODE = frozenset({DF, TS, NP, SS, GP, PF, AC, 21})
CONTRIBUTORY = frozenset({DE, TS, NP, SS, GP})

EFLAGS_CLEARED = EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM
EXT = 1
GATE_TASK, GATE_INT16, GATE_TRAP16, GATE_INT32, GATE_TRAP32 = 0x5, 0x6, 0x7, 0xE, 0xF


@dataclass(frozen=True)
class Exception_:
    """One event to deliver. `software` is INT n, INT3 or INTO; `external` an interrupt from the controller."""

    vector: int
    error: int | None = None
    cr2: int | None = None
    software: bool = False
    external: bool = False


class TripleFault(Exception):
    """The processor shut down: an exception could not be delivered and neither could the double fault."""


class _Nested(Exception):
    def __init__(self, vector: int, error: int | None, cr2: int | None = None) -> None:
        super().__init__(vector)
        self.event = Exception_(vector, error, cr2)


class Delivery:
    """Pushes frames into the guest. One instance belongs to one processor."""

    def __init__(self, processor: Processor, memory: PhysicalMemory) -> None:
        self._cpu = processor
        self._memory = memory
        self.cr2 = 0
        """What the last page fault that the guest saw left in CR2."""

    @property
    def _env(self) -> Env:
        return self._cpu.env

    def deliver(self, event: Exception_) -> None:
        """Deliver, turning faults on the way into double faults. Raises TripleFault."""
        current = event
        for _ in range(3):
            if current.cr2 is not None:
                self.cr2 = current.cr2
                self._cpu.set("cr2", current.cr2)
            try:
                self._deliver_once(current)
                return
            except _Nested as nested:
                if current.software:
                    self._step_back(current.vector)
                current = self._combine(current, nested.event)
        raise TripleFault

    def _step_back(self, vector: int) -> None:
        """A fault met while an INT instruction is delivered is that instruction's: RIP goes back to it."""
        env = self._env
        before = self._read(env.cs.base + env.eip - 2, 2)
        env.eip -= 2 if before == bytes((0xCD, vector)) else 1

    @staticmethod
    def _combine(first: Exception_, second: Exception_) -> Exception_:
        if first.vector == DF:
            raise TripleFault
        benign = first.external or first.software
        if not benign and (
            (first.vector in CONTRIBUTORY and second.vector in CONTRIBUTORY)
            or (first.vector == PF and (second.vector in CONTRIBUTORY or second.vector == PF))
        ):
            return Exception_(DF, 0, second.cr2)
        return second

    # Memory as the processor sees it while delivering: supervisor accesses, whatever the CPL.

    def _translate(self, linear: int, write: bool) -> int:
        env = self._env
        try:
            return self._cpu.walker.translate(linear, cr0=env.cr[0], cr3=env.cr[3], cr4=env.cr[4], efer=env.efer, write=write)
        except PageFault as fault:
            raise _Nested(PF, fault.error, fault.address) from fault

    def _read(self, linear: int, size: int) -> bytes:
        out = b""
        while size:
            step = min(size, PAGE - linear % PAGE)
            try:
                out += self._memory.read(self._translate(linear, False), step)
            except BusError:
                out += b"\xff" * step
            linear, size = linear + step, size - step
        return out

    def _push(self, linear: int, frame: bytes) -> None:
        pieces = []
        size, where = len(frame), linear
        while size:
            step = min(size, PAGE - where % PAGE)
            pieces.append((self._translate(where, True), step))
            where, size = where + step, size - step
        done = 0
        for physical, step in pieces:
            region = self._memory.find(physical, step)
            if region is not None and region.writable:
                self._memory.write(physical, frame[done : done + step])
            done += step

    def _descriptor(self, selector: int, fault: int, error_extra: int) -> SegmentDescriptor:
        table = self._env.ldt if selector & 4 else self._env.gdt
        offset = selector & ~7
        if offset + 7 > table.limit:
            raise _Nested(fault, (selector & ~3) | error_extra)
        return segment_descriptor(int.from_bytes(self._read(table.base + offset, 8), "little"))

    def _deliver_once(self, event: Exception_) -> None:
        env = self._env
        if not env.cr[0] & CR0_PE:
            self._deliver_real(event)
        elif env.efer & EFER_LMA:
            self._deliver_long(event)
        else:
            self._deliver_protected(event)

    def _error_code(self, event: Exception_) -> int | None:
        if event.software or event.external or event.vector not in HAS_ERROR_CODE:
            return None
        return event.error or 0

    def _check_gate(self, event: Exception_, present: bool, dpl: int, type_ok: bool) -> None:
        external = 0 if event.software else EXT
        code = event.vector * 8 + 2 + external
        if not type_ok or (event.software and dpl < self._cpu.cpl):
            raise _Nested(GP, code)
        if not present:
            raise _Nested(NP, code)

    def _deliver_long(self, event: Exception_) -> None:
        env, cpu = self._env, self._cpu
        external = 0 if event.software else EXT
        if event.vector * 16 + 15 > env.idt.limit:
            raise _Nested(GP, event.vector * 8 + 2 + external)
        low, high = struct.unpack("<QQ", self._read(env.idt.base + event.vector * 16, 16))
        kind = low >> 40 & 0x1F
        self._check_gate(event, bool(low >> 47 & 1), low >> 45 & 3, kind in (GATE_INT32, GATE_TRAP32))
        selector = low >> 16 & 0xFFFF
        offset = (low & 0xFFFF) | (low >> 32 & 0xFFFF0000) | (high & 0xFFFFFFFF) << 32
        if not selector & ~3:
            raise _Nested(GP, external)
        code = self._descriptor(selector, GP, external)
        old_cpl = cpu.cpl
        new_cpl = old_cpl if code.conforming else code.dpl
        if not code.code or code.dpl > old_cpl or not code.flags & DESCRIPTOR_L or code.flags & DESCRIPTOR_B:
            raise _Nested(GP, (selector & ~3) | external)
        if not code.present:
            raise _Nested(NP, (selector & ~3) | external)
        ist = low >> 32 & 7
        old_rsp, old_ss, old_cs = env.regs[4], env.ss.selector, env.cs.selector
        if ist or new_cpl < old_cpl:
            slot = env.tr.base + (0x24 + 8 * (ist - 1) if ist else 4 + 8 * new_cpl)
            (rsp,) = struct.unpack("<Q", self._read(slot, 8))
        else:
            rsp = old_rsp
        rsp &= ~0xF
        flags = cpu.get("eflags")
        words = [env.eip, old_cs, flags, old_rsp, old_ss]
        error = self._error_code(event)
        if error is not None:
            words.insert(0, error)
        frame = struct.pack(f"<{len(words)}Q", *(word & 0xFFFF_FFFF_FFFF_FFFF for word in words))
        self._push(rsp - len(frame), frame)
        if new_cpl < old_cpl:
            env.ss.load(new_cpl, 0, 0, new_cpl << 13)
        env.cs.load((selector & ~3) | new_cpl, 0, code.limit, code.flags)  # 64-bit code has no base
        env.regs[4] = rsp - len(frame)
        env.eip = offset
        cpu.set("eflags", flags & ~(EFLAGS_CLEARED | (EFLAGS_IF if kind == GATE_INT32 else 0)))
        cpu.sync(new_cpl)

    def _deliver_protected(self, event: Exception_) -> None:
        env, cpu = self._env, self._cpu
        external = 0 if event.software else EXT
        if event.vector * 8 + 7 > env.idt.limit:
            raise _Nested(GP, event.vector * 8 + 2 + external)
        low, high = struct.unpack("<II", self._read(env.idt.base + event.vector * 8, 8))
        kind = high >> 8 & 0x1F
        # A task gate would switch tasks in hardware; no kernel entered here uses one. It counts as a bad gate.
        self._check_gate(event, bool(high & 0x8000), high >> 13 & 3, kind in (GATE_INT16, GATE_TRAP16, GATE_INT32, GATE_TRAP32))
        selector = low >> 16
        wide = kind in (GATE_INT32, GATE_TRAP32)
        offset = (low & 0xFFFF) | (high & 0xFFFF0000 if wide else 0)
        if not selector & ~3:
            raise _Nested(GP, external)
        code = self._descriptor(selector, GP, external)
        old_cpl = cpu.cpl
        new_cpl = old_cpl if code.conforming else code.dpl
        if not code.code or code.dpl > old_cpl:
            raise _Nested(GP, (selector & ~3) | external)
        if not code.present:
            raise _Nested(NP, (selector & ~3) | external)
        flags = cpu.get("eflags")
        old_esp, old_ss = env.regs[4] & 0xFFFFFFFF, env.ss.selector
        words = [flags, env.cs.selector, env.eip & 0xFFFFFFFF]
        stack: tuple[int, SegmentDescriptor] | None = None
        esp, ss_base, ss_big = old_esp, env.ss.base, bool(env.ss.flags & DESCRIPTOR_B)
        if new_cpl < old_cpl:
            esp, ss_selector, descriptor = self._inner_stack(new_cpl, external)
            stack = (ss_selector, descriptor)
            ss_base, ss_big = descriptor.base, bool(descriptor.flags & DESCRIPTOR_B)
            words = [old_ss, old_esp, *words]
        error = self._error_code(event)
        if error is not None:
            words.append(error)
        words.reverse()
        frame = struct.pack(f"<{len(words)}{'I' if wide else 'H'}", *(w & (0xFFFFFFFF if wide else 0xFFFF) for w in words))
        mask = 0xFFFFFFFF if ss_big else 0xFFFF
        new_esp = (esp - len(frame)) & mask
        self._push((ss_base + new_esp) & 0xFFFFFFFF, frame)
        if stack is not None:
            selector_, descriptor = stack
            env.ss.load(selector_, descriptor.base, descriptor.limit, descriptor.flags)
        env.cs.load((selector & ~3) | new_cpl, code.base, code.limit, code.flags)
        env.regs[4] = (esp & ~mask) | new_esp
        env.eip = offset
        interrupt_gate = kind in (GATE_INT16, GATE_INT32)
        cpu.set("eflags", flags & ~(EFLAGS_CLEARED | (EFLAGS_IF if interrupt_gate else 0)))
        cpu.sync(new_cpl)

    def _inner_stack(self, cpl: int, external: int) -> tuple[int, int, SegmentDescriptor]:
        """ESP, SS and its descriptor out of a 32-bit TSS (SDM volume 3, 8.2.1)."""
        esp, selector = struct.unpack("<IH", self._read(self._env.tr.base + 4 + 8 * cpl, 6))
        descriptor = self._descriptor(selector, TS, external)
        if not descriptor.writable_data or descriptor.dpl != cpl:
            raise _Nested(TS, (selector & ~3) | external)
        if not descriptor.present:
            raise _Nested(SS, (selector & ~3) | external)
        return esp, selector, descriptor

    def _deliver_real(self, event: Exception_) -> None:
        env, cpu = self._env, self._cpu
        if event.vector * 4 + 3 > env.idt.limit:
            raise _Nested(GP, 0)
        offset, selector = struct.unpack("<HH", self._read(env.idt.base + event.vector * 4, 4))
        flags = cpu.get("eflags")
        sp = (env.regs[4] - 6) & 0xFFFF
        self._push(env.ss.base + sp, struct.pack("<HHH", env.eip & 0xFFFF, env.cs.selector & 0xFFFF, flags & 0xFFFF))
        env.regs[4] = (env.regs[4] & ~0xFFFF) | sp
        env.cs.load(selector, selector << 4, env.cs.limit, env.cs.flags)
        env.eip = offset
        cpu.set("eflags", flags & ~(EFLAGS_IF | EFLAGS_TF | EFLAGS_AC))
        cpu.sync(0)
