"""The pair of 8259A interrupt controllers of a PC, with the edge/level control registers of the EISA bridge.

Sources: Intel 8259A datasheet (231468), "Initialization Command Words" and "Operation Command Words"; ELCR: Intel
82371SB (PIIX3) datasheet (290550) section 2.5.4.
"""

from __future__ import annotations

from collections.abc import Callable

CASCADE = 2
"""Input of the master that the slave's INT output drives."""
SPURIOUS = 7
"""Input that is reported when the request went away before it was acknowledged (datasheet, "Interrupt Sequence")."""


class Pic8259:
    """One 8259A. `output` is its INT pin; `on_output` hears of every change of it."""

    def __init__(self, on_output: Callable[[], None], *, cascade_mask: int = 0, elcr_mask: int = 0) -> None:
        self.output = False
        self.elcr = 0
        self.elcr_mask = elcr_mask
        self._on_output = on_output
        self._cascade_mask = cascade_mask
        self._lines = 0
        self.offset = 0
        self.imr = 0
        self._reset()
        self.imr = 0xFF
        """Firmware leaves every input masked (ICW1 alone would clear the mask)."""

    def _reset(self) -> None:
        """What ICW1 does: edge sense cleared, mask cleared, priority 7 lowest, special mask off, IRR is read."""
        self.irr = self._lines & self.elcr
        self.isr = 0
        self.imr = 0
        self._init_step = 0
        self._needs_icw4 = False
        self._single = False
        self._auto_eoi = False
        self._rotate_on_auto_eoi = False
        self._special_mask = False
        self._fully_nested = False
        self._read_isr = False
        self._poll = False
        self._lowest = 7

    def set_line(self, index: int, level: bool) -> None:
        """Drive an input pin."""
        bit = 1 << index
        if level:
            if not self._lines & bit or self.elcr & bit:
                self.irr |= bit
            self._lines |= bit
        else:
            # The request latch follows the pin down: an edge that went away before INTA is spurious.
            self.irr &= ~bit
            self._lines &= ~bit
        self._update()

    def _order(self, bits: int) -> int:
        """The bit of highest priority as a distance from the top (0 to 7), 8 for none."""
        if not bits:
            return 8
        top = (self._lowest + 1) & 7
        rotated = (bits >> top | bits << (8 - top)) & 0xFF
        return (rotated & -rotated).bit_length() - 1

    def _candidate(self) -> int | None:
        """The input that would be acknowledged now."""
        requests = self._order(self.irr & ~self.imr)
        if requests == 8:
            return None
        in_service = self.isr
        if self._special_mask:
            in_service &= ~self.imr
        if self._fully_nested:
            in_service &= ~self._cascade_mask
        if requests >= self._order(in_service):
            return None
        return (requests + self._lowest + 1) & 7

    def _update(self) -> None:
        output = self._init_step == 0 and self._candidate() is not None
        if output != self.output:
            self.output = output
            self._on_output()

    def acknowledge(self) -> int:
        """The INTA cycle: the input that is taken, SPURIOUS when there is none any more (and then no ISR bit)."""
        index = self._candidate()
        if index is None:
            self._update()
            return SPURIOUS
        bit = 1 << index
        if not self.elcr & bit:
            self.irr &= ~bit
        if self._auto_eoi:
            if self._rotate_on_auto_eoi:
                self._lowest = index
        else:
            self.isr |= bit
        self._update()
        return index

    def read(self, offset: int, size: int) -> int:
        """Even address: IRR or ISR (OCW3), or the poll word. Odd address: the mask."""
        if self._poll:
            self._poll = False
            if self._candidate() is None:
                return 0
            return 0x80 | self.acknowledge()
        if offset:
            return self.imr
        return self.isr if self._read_isr else self.irr

    def write(self, offset: int, size: int, value: int) -> None:
        """ICW1 to ICW4 and OCW1 to OCW3, told apart as the datasheet's flow chart does."""
        value &= 0xFF
        if offset:
            self._write_odd(value)
        elif value & 0x10:
            self._reset()
            self._init_step = 2
            self._needs_icw4 = bool(value & 1)
            self._single = bool(value & 2)
        elif value & 0x08:
            if value & 0x04:
                self._poll = True
            if value & 0x02:
                self._read_isr = bool(value & 1)
            if value & 0x40:
                self._special_mask = bool(value & 0x20)
        else:
            self._ocw2(value >> 5, value & 7)
        self._update()

    def _write_odd(self, value: int) -> None:
        if self._init_step == 0:
            self.imr = value
        elif self._init_step == 2:
            self.offset = value & 0xF8
            self._init_step = 3 if not self._single else (4 if self._needs_icw4 else 0)
        elif self._init_step == 3:
            # ICW3 says how the chips are cascaded; on a PC that is soldered.
            self._init_step = 4 if self._needs_icw4 else 0
        else:
            self._auto_eoi = bool(value & 0x02)
            self._fully_nested = bool(value & 0x10)
            self._init_step = 0

    def _ocw2(self, command: int, level: int) -> None:
        if command in {0, 4}:
            self._rotate_on_auto_eoi = command == 4
        elif command in {1, 5}:
            in_service = self.isr & ~self.imr if self._special_mask else self.isr
            order = self._order(in_service)
            if order < 8:
                index = (order + self._lowest + 1) & 7
                self.isr &= ~(1 << index)
                if command == 5:
                    self._lowest = index
        elif command in {3, 7}:
            self.isr &= ~(1 << level)
            if command == 7:
                self._lowest = level
        elif command == 6:
            self._lowest = level


class Elcr:
    """Ports 0x4d0 and 0x4d1: which inputs are level triggered. 0, 1, 2, 8 and 13 are edge by the bus's definition."""

    def __init__(self, master: Pic8259, slave: Pic8259) -> None:
        self._pics = (master, slave)

    def read(self, offset: int, size: int) -> int:
        """One bit per input, 1 for level."""
        return self._pics[offset & 1].elcr

    def write(self, offset: int, size: int, value: int) -> None:
        """Choose; bits of fixed inputs stay 0."""
        pic = self._pics[offset & 1]
        pic.elcr = value & pic.elcr_mask


class PicPair:
    """Master and slave as a PC wires them: 16 inputs, one INT output, one vector."""

    def __init__(self, on_output: Callable[[], None]) -> None:
        self.master = Pic8259(on_output, cascade_mask=1 << CASCADE, elcr_mask=0xF8)
        self.slave = Pic8259(self._cascade, elcr_mask=0xDE)
        self.elcr = Elcr(self.master, self.slave)

    def _cascade(self) -> None:
        self.master.set_line(CASCADE, self.slave.output)

    @property
    def output(self) -> bool:
        """The INT pin of the master."""
        return self.master.output

    def set_line(self, irq: int, level: bool) -> None:
        """Drive IRQ 0 to 15; IRQ 2 does not exist on a PC, its input is the cascade."""
        if irq >= 8:
            self.slave.set_line(irq - 8, level)
        elif irq != CASCADE:
            self.master.set_line(irq, level)

    def acknowledge(self) -> int:
        """The vector of the INTA cycle."""
        index = self.master.acknowledge()
        if index == CASCADE:
            index = self.slave.acknowledge()
            # The slave keeps its output up while it has more: the master's edge input needs to see that anew.
            self.master.set_line(CASCADE, False)
            if self.slave.output:
                self.master.set_line(CASCADE, True)
            return self.slave.offset + index
        return self.master.offset + index
