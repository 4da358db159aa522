"""The local APIC of the one processor: interrupt acceptance by priority, its timer, self-IPIs.

Source: Intel SDM volume 3A, chapter "Advanced Programmable Interrupt Controller (APIC)" (sections as of order number
325384): register map table 11-1, LVT 11.5.1, timer 11.5.4, priorities 11.8.3. There is no x2APIC and no TSC-deadline
mode, and CPUID says so.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.machine.clock import Clock, Event

NS = 1_000_000_000
APIC_PHYSICAL_BASE = 0xFEE0_0000
BASE_BSP, BASE_ENABLE = 1 << 8, 1 << 11
VERSION = 0x0005_0014
"""Integrated APIC with six LVT entries (SDM 11.4.8)."""

TPR, PPR, EOI, LDR, DFR, SVR, ESR = 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0, 0x280
ICR_LOW, ICR_HIGH = 0x300, 0x310
LVT_TIMER, LVT_LINT0, LVT_LINT1, LVT_ERROR = 0x320, 0x350, 0x360, 0x370
INITIAL_COUNT, CURRENT_COUNT, DIVIDE = 0x380, 0x390, 0x3E0

FASTEST_NS = 20_000
"""Shortest time between two interrupts of the periodic timer. A guest may ask for one every nanosecond, and would then
neither get on nor end; hypervisors set such a limit for the same reason (KVM: min_timer_period_us)."""

MASKED = 1 << 16
PERIODIC = 1 << 17
EXTINT, NMI = 7 << 8, 4 << 8
SOFTWARE_ENABLE = 1 << 8

SEND_ILLEGAL_VECTOR, RECEIVE_ILLEGAL_VECTOR, ILLEGAL_REGISTER = 1 << 5, 1 << 6, 1 << 7

_LVT_WRITABLE = {
    LVT_TIMER: 0x0003_00FF,
    0x330: 0x0001_07FF,  # thermal sensor
    0x340: 0x0001_07FF,  # performance counters
    LVT_LINT0: 0x0001_A7FF,
    LVT_LINT1: 0x0001_A7FF,
    LVT_ERROR: 0x0001_00FF,
}


class LocalApic:
    """A 4 KiB page of registers. `vector` is what it would deliver now, -1 for nothing.

    `on_change` hears when `vector` or what LINT0 lets through may have changed; `on_eoi(vector)` is the EOI broadcast
    for level-triggered interrupts. `hz` is the frequency of the timer before its divider.
    """

    def __init__(
        self,
        clock: Clock,
        now: Callable[[], int],
        hz: int,
        on_change: Callable[[], None],
        on_eoi: Callable[[int], None],
    ) -> None:
        self._clock = clock
        self._now = now
        self._hz = hz
        self._on_change = on_change
        self._on_eoi = on_eoi
        self.on_nmi: Callable[[], None] = lambda: None
        """Hears of an NMI that this processor sent to itself."""
        self.vector = -1
        self._event: Event | None = None
        self._base = APIC_PHYSICAL_BASE | BASE_BSP | BASE_ENABLE
        self._reset()

    def _reset(self) -> None:
        """State after power-up (SDM 11.4.7.1)."""
        self.irr = self.isr = self.tmr = 0
        self._id = 0
        self._tpr = 0
        self._ldr = 0
        self._dfr = 0xFFFF_FFFF
        self._svr = 0xFF
        self._lvt = dict.fromkeys(_LVT_WRITABLE, MASKED)
        self._icr_low = self._icr_high = 0
        self._esr = self._errors = 0
        self._divide = 0
        self._initial = 0
        self._started = 0
        self._stop_timer()
        self.vector = -1

    def enter_virtual_wire_mode(self) -> None:
        """What firmware sets up: enabled, PIC interrupts through LINT0, NMI on LINT1 (MP specification 3.6.2.2)."""
        self._svr = SOFTWARE_ENABLE | 0x0F
        self._lvt[LVT_LINT0] = EXTINT
        self._lvt[LVT_LINT1] = NMI
        self._update()

    @property
    def base_msr(self) -> int:
        """IA32_APIC_BASE."""
        return self._base

    def set_base_msr(self, value: int) -> bool:
        """Write IA32_APIC_BASE; False (so #GP) for x2APIC, for reserved bits, and for moving the page away."""
        if value & ~BASE_ENABLE != APIC_PHYSICAL_BASE | BASE_BSP:
            return False
        if self._base & BASE_ENABLE and not value & BASE_ENABLE:
            self._reset()
        self._base = value
        self._update()
        return True

    @property
    def hardware_enabled(self) -> bool:
        """IA32_APIC_BASE bit 11; when clear the processor has plain INTR and NMI pins."""
        return bool(self._base & BASE_ENABLE)

    @property
    def passes_extint(self) -> bool:
        """Does LINT0 let the PIC's request through?"""
        if not self.hardware_enabled:
            return True
        return bool(self._svr & SOFTWARE_ENABLE) and self._lvt[LVT_LINT0] & (MASKED | 0x700) == EXTINT

    @property
    def ppr(self) -> int:
        """Processor priority (SDM 11.8.3.1)."""
        in_service = self.isr.bit_length() - 1 if self.isr else 0
        return self._tpr if self._tpr >> 4 >= in_service >> 4 else in_service & 0xF0

    def _update(self) -> None:
        vector = -1
        if self.irr and self._svr & SOFTWARE_ENABLE and self._base & BASE_ENABLE:
            top = self.irr.bit_length() - 1
            if top >> 4 > self.ppr >> 4:
                vector = top
        self.vector = vector
        self._on_change()

    def accept(self, vector: int, *, level: bool = False) -> None:
        """A fixed interrupt arrives from the I/O APIC, the timer or an IPI."""
        if vector < 16:
            self._error(RECEIVE_ILLEGAL_VECTOR)
            return
        if not self._svr & SOFTWARE_ENABLE or not self._base & BASE_ENABLE:
            return
        bit = 1 << vector
        self.irr |= bit
        self.tmr = self.tmr | bit if level else self.tmr & ~bit
        self._update()

    def request(self, vector: int) -> None:
        """A hypervisor sets the vector's bit in IRR itself; it waits there until software enables the APIC (Xen's
        vlapic_set_irq()).
        """
        self.irr |= 1 << vector
        self.tmr &= ~(1 << vector)
        self._update()

    def acknowledge(self) -> int:
        """Move the deliverable vector from IRR to ISR and give it; the spurious vector when it is gone."""
        vector = self.vector
        if vector < 0:
            return self._svr & 0xFF
        bit = 1 << vector
        self.irr &= ~bit
        self.isr |= bit
        self._update()
        return vector

    def addressed(self, destination: int, *, logical: bool) -> bool:
        """Is this APIC meant by an 8-bit destination (SDM 11.6.2)?"""
        if destination == 0xFF:
            return True
        if not logical:
            return destination == self._id
        mine = self._ldr >> 24
        if self._dfr >> 28 == 0xF:  # flat model
            return bool(mine & destination)
        return mine >> 4 == destination >> 4 and bool(mine & destination & 0x0F)

    def _error(self, bits: int) -> None:
        self._errors |= bits
        lvt = self._lvt[LVT_ERROR]
        if not lvt & MASKED and lvt & 0xFF >= 16:
            self.accept(lvt & 0xFF)

    # Registers

    def read(self, offset: int, size: int) -> int:
        """A register. Only aligned 32-bit accesses are defined (SDM 11.4.1); others read zero here."""
        if not self._base & BASE_ENABLE:
            return (1 << 8 * size) - 1
        if offset & 0x0F or size != 4:
            return 0
        if offset in self._lvt:
            return self._lvt[offset]
        if 0x100 <= offset < 0x280:
            bits = self.isr if offset < 0x180 else self.tmr if offset < 0x200 else self.irr
            return bits >> ((offset & 0x70) << 1) & 0xFFFF_FFFF
        match offset:
            case 0x20:
                return self._id << 24
            case 0x30:
                return VERSION
            case 0x80:
                return self._tpr
            case 0xA0:
                return self.ppr
            case 0xD0:
                return self._ldr
            case 0xE0:
                return self._dfr
            case 0xF0:
                return self._svr
            case 0x280:
                return self._esr
            case 0x300:
                return self._icr_low
            case 0x310:
                return self._icr_high
            case 0x380:
                return self._initial
            case 0x390:
                return self.current_count()
            case 0x3E0:
                return self._divide
            case 0x90 | 0xB0 | 0xC0:
                return 0
        self._error(ILLEGAL_REGISTER)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store into a register."""
        if offset & 0x0F or size != 4 or not self._base & BASE_ENABLE:
            return
        if offset == EOI:
            self._end_of_interrupt()
        elif offset == INITIAL_COUNT:
            self._start_timer(value)
        elif offset in self._lvt:
            self._write_lvt(offset, value)
        elif offset == TPR:
            self._tpr = value & 0xFF
            self._update()
        elif offset == ICR_LOW:
            self._icr_low = value & 0x000C_CFFF
            self._send(value)
        elif offset == ICR_HIGH:
            self._icr_high = value & 0xFF00_0000
        elif offset == SVR:
            self._svr = value & 0x1FF
            if not value & SOFTWARE_ENABLE:
                for register in self._lvt:
                    self._lvt[register] |= MASKED
                self._stop_timer()
            self._update()
        elif offset == ESR:
            self._esr, self._errors = self._errors, 0
        elif offset == DIVIDE:
            self._set_divide(value & 0x0B)
        elif offset == LDR:
            self._ldr = value & 0xFF00_0000
        elif offset == DFR:
            self._dfr = value | 0x0FFF_FFFF
        elif offset == 0x20:
            self._id = value >> 24 & 0xFF

    def _end_of_interrupt(self) -> None:
        if not self.isr:
            return
        vector = self.isr.bit_length() - 1
        bit = 1 << vector
        self.isr &= ~bit
        if self.tmr & bit:
            self._on_eoi(vector)
        self._update()

    def _write_lvt(self, offset: int, value: int) -> None:
        value &= _LVT_WRITABLE[offset]
        if not self._svr & SOFTWARE_ENABLE:
            value |= MASKED
        before = self._lvt[offset]
        self._lvt[offset] = value
        if offset == LVT_LINT0:
            self._update()
        elif offset == LVT_TIMER and (before ^ value) & (PERIODIC | MASKED):
            self._plan()

    def _send(self, command: int) -> None:
        """ICR (SDM 11.6.1): fixed and lowest-priority messages reach this processor; there is no other one.

        So do NMIs, which Xen sends to itself to patch its code. INIT, start-up and SMI to oneself are not emulated:
        no kernel sends them to the processor it runs on.
        """
        shorthand = command >> 18 & 3
        if shorthand == 3:
            return
        if shorthand == 0 and not self.addressed(self._icr_high >> 24, logical=bool(command & 0x800)):
            return
        if command & 0x700 == NMI:
            self.on_nmi()
        elif command >> 8 & 7 <= 1:
            if command & 0xFF < 16:
                self._error(SEND_ILLEGAL_VECTOR)
            else:
                self.accept(command & 0xFF)

    # Timer

    def _period_ns(self, ticks: int) -> int:
        """Time for `ticks` of the divided clock, rounded up."""
        return -(-ticks * self.divisor * NS // self._hz)

    @property
    def divisor(self) -> int:
        """By what the divide configuration register divides: 1 to 128 (SDM figure 11-10)."""
        code = self._divide & 3 | self._divide >> 1 & 4
        return 1 if code == 7 else 2 << code

    def _elapsed(self) -> int:
        return (self._now() - self._started) * self._hz // (NS * self.divisor)

    def current_count(self) -> int:
        """What the timer's counter shows."""
        if not self._initial:
            return 0
        elapsed = self._elapsed()
        if self._lvt[LVT_TIMER] & PERIODIC:
            return self._initial - elapsed % self._initial
        return max(0, self._initial - elapsed)

    def _start_timer(self, count: int) -> None:
        self._initial = count
        self._started = self._now()
        self._plan()

    def _stop_timer(self) -> None:
        if self._event is not None:
            self._clock.cancel(self._event)
            self._event = None

    def _set_divide(self, value: int) -> None:
        if value == self._divide:
            return
        counted = self._elapsed()
        self._divide = value
        self._started = self._now() - self._period_ns(counted)
        self._plan()

    def _plan(self) -> None:
        """Ask the clock for the next expiry. A masked timer counts on, but its expiry has no effect."""
        self._stop_timer()
        lvt = self._lvt[LVT_TIMER]
        if not self._initial or lvt & MASKED:
            return
        elapsed = self._elapsed()
        if lvt & PERIODIC:
            fastest = FASTEST_NS * self._hz // (NS * self.divisor)
            stride = self._initial * max(1, -(-fastest // self._initial))
            ticks = (elapsed // stride + 1) * stride
        elif elapsed < self._initial:
            ticks = self._initial
        else:
            return
        self._event = self._clock.at(self._started + self._period_ns(ticks), self._expire)

    def _expire(self) -> None:
        self._event = None
        lvt = self._lvt[LVT_TIMER]
        if lvt & PERIODIC:
            self._plan()
        self.accept(lvt & 0xFF)
