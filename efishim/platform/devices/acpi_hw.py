"""ACPI fixed hardware: PM1a event and control registers and the power management timer, in one block of ports.

Source: ACPI 6.5 section 4.8.3. The hardware is in ACPI mode from the start (SCI_EN set, no SMI command port), so there
is no handover to get wrong, unless it is told that it has an SMI command port: then the guest takes it over (4.8.1).
There is no fixed power or sleep button, and the FADT says so; a GPE block, where a machine has one, has no events.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.machine.clock import Clock, Event

PM_BASE = 0x600
PM1A_EVENT, PM1A_EVENT_LENGTH = PM_BASE, 4
PM1A_CONTROL, PM1A_CONTROL_LENGTH = PM_BASE + 4, 2
PM_TIMER, PM_TIMER_LENGTH = PM_BASE + 8, 4
PM_SIZE = 12
SCI_IRQ = 9
PM_TIMER_HZ = 3_579_545
SLEEP_TYPE_S5 = 5
SMI_COMMAND, ACPI_ENABLE, ACPI_DISABLE = 0xB2, 0xF1, 0xF0
"""The port is where the PIIX4 has it (datasheet 290562, section 5.2.1); the commands are the firmware's choice."""
NS = 1_000_000_000

TMR_STS, GBL_STS = 1 << 0, 1 << 5
SCI_EN, GBL_RLS, SLP_EN = 1 << 0, 1 << 2, 1 << 13
_STATUS = TMR_STS | GBL_STS
"""Status bits that this hardware can set; the others stay zero."""


class AcpiPm:
    """The block at PM_BASE. `sci(level)` is the system control interrupt, `power_off()` ends the machine. The timer has
    `timer_bits` bits, 24 or 32; `handed_over` says whether the hardware is in ACPI mode from the start; `s5` is the sleep
    type that ends the machine.
    """

    def __init__(
        self,
        clock: Clock,
        now: Callable[[], int],
        sci: Callable[[bool], None],
        power_off: Callable[[], None],
        *,
        timer_bits: int = 32,
        handed_over: bool = True,
        s5: int = SLEEP_TYPE_S5,
    ) -> None:
        self._clock = clock
        self._now = now
        self._sci = sci
        self._power_off = power_off
        self._status = 0
        self._enable = 0
        self._mode = self._control = SCI_EN if handed_over else 0
        self._bits = timer_bits
        self._s5 = s5
        self._halves = 0
        """How often the timer's top bit has changed, as far as TMR_STS knows."""
        self._event: Event | None = None

    def ticks(self) -> int:
        """The timer without the limit of its width."""
        return self._now() * PM_TIMER_HZ // NS

    def set_mode(self, *, acpi: bool) -> None:
        """Who has the events: ACPI (SCI_EN set), or the firmware."""
        self._mode = SCI_EN if acpi else 0
        self._control = self._control & ~SCI_EN | self._mode
        self._update()

    def _sync(self) -> None:
        # TMR_STS is set whenever the timer's top bit changes (4.8.3.3).
        halves = self.ticks() >> (self._bits - 1)
        if halves != self._halves:
            self._halves = halves
            self._status |= TMR_STS

    def _update(self) -> None:
        self._sci(bool(self._mode and self._status & self._enable))
        if self._event is not None:
            self._clock.cancel(self._event)
            self._event = None
        if self._enable & TMR_STS and not self._status & TMR_STS:
            due = (self._halves + 1) << (self._bits - 1)
            self._event = self._clock.at(-(-due * NS // PM_TIMER_HZ), self._happen)

    def _happen(self) -> None:
        self._event = None
        self._sync()
        self._update()

    def read(self, offset: int, size: int) -> int:
        """Registers may be read in any width."""
        if offset == 8 and size == 4:
            return self.ticks() & ((1 << self._bits) - 1)
        self._sync()
        timer = self.ticks() & ((1 << self._bits) - 1)
        block = self._status | self._enable << 16 | self._control << 32 | timer << 64
        return block >> 8 * offset & ((1 << 8 * size) - 1)

    def write(self, offset: int, size: int, value: int) -> None:
        """Bytes of PM1_STS (write one to clear), PM1_EN, PM1_CNT. The timer is read-only."""
        self._sync()
        for index in range(size):
            self._write_byte(offset + index, value >> 8 * index & 0xFF)
        self._update()
        if offset <= 5 < offset + size and self._control & SLP_EN:
            self._control &= ~SLP_EN  # write-only
            if self._control >> 10 & 7 == self._s5:
                self._power_off()

    def _write_byte(self, offset: int, value: int) -> None:
        if offset < 2:
            self._status &= ~(value << 8 * offset) & _STATUS
        elif offset < 4:
            shift = 8 * (offset - 2)
            self._enable = self._enable & ~(0xFF << shift) | value << shift
        elif offset < 6:
            shift = 8 * (offset - 4)
            self._control = self._control & ~(0xFF << shift) | value << shift
            self._control = self._control & ~(GBL_RLS | SCI_EN) | self._mode


class SmiCommand:
    """The ports 0xb2 and 0xb3 of advanced power management. Of the commands that system management code would take there,
    this hardware does the two of the FADT: who has the events. The second port only keeps a byte.
    """

    def __init__(self, pm: AcpiPm) -> None:
        self._pm = pm
        self._bytes = bytearray(2)

    def read(self, offset: int, size: int) -> int:
        """What was written last."""
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """A command at the first port."""
        self._bytes[offset : offset + size] = value.to_bytes(size, "little")
        if offset == 0 and self._bytes[0] in {ACPI_ENABLE, ACPI_DISABLE}:
            self._pm.set_mode(acpi=self._bytes[0] == ACPI_ENABLE)


class GeneralPurposeEvents:
    """A block of general-purpose event registers (ACPI 6.5 section 4.8.4.1) in which no event ever happens: the status bits
    stay zero, the enable bits behind them keep what is written.
    """

    def __init__(self, length: int) -> None:
        self._bytes = bytearray(length)

    def read(self, offset: int, size: int) -> int:
        """Registers may be read in any width."""
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """A status bit is cleared by writing one to it, and none is set."""
        for index in range(max(offset, len(self._bytes) // 2), offset + size):
            self._bytes[index] = value >> 8 * (index - offset) & 0xFF


class SleepRegisters:
    """The sleep control and status registers of hardware-reduced ACPI (ACPI 6.5 section 4.8.3.7), one byte each."""

    def __init__(self, power_off: Callable[[], None]) -> None:
        self._power_off = power_off

    def read(self, offset: int, size: int) -> int:
        """Nothing is latched: the machine never wakes."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """SLP_EN is bit 5, SLP_TYP bits 2 to 4."""
        if offset == 0 and value & 0x20 and value >> 2 & 7 == SLEEP_TYPE_S5:
            self._power_off()
