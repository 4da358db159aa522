"""A 16550A serial port with an infinitely fast line: a byte is transmitted before the next instruction.

Source: National Semiconductor PC16550D datasheet, sections 8.1 to 8.7 (registers) and table III (interrupts). Linux
tells the chip apart in drivers/tty/serial/8250/8250_port.c, autoconfig() and autoconfig_16550a().
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

FIFO_SIZE = 16
TRIGGER_LEVELS = (1, 4, 8, 14)
INPUT_LIMIT = 1 << 16
"""Bytes that wait on the host's side; the sender of more must wait itself (`feed` says how many it took)."""

IER_RDA, IER_THRE, IER_LINE, IER_MODEM = 1, 2, 4, 8
LSR_DATA, LSR_OVERRUN, LSR_THRE, LSR_TEMT = 0x01, 0x02, 0x20, 0x40
MCR_OUT2, MCR_LOOP = 0x08, 0x10
MSR_CONNECTED = 0xB0
"""DCD, DSR and CTS: a terminal is at the other end and ready."""

_BYTE = tuple(bytes([value]) for value in range(256))


class Uart:
    """Eight registers. `sink` gets every byte that is sent, `irq(level)` is the interrupt line behind OUT2."""

    def __init__(self, sink: Callable[[bytes], None], irq: Callable[[bool], None]) -> None:
        self.sink = sink
        self._irq = irq
        self._ier = 0
        self._fcr = 0
        self._lcr = 0
        self._mcr = 0
        self._scr = 0
        self._divisor = 1
        self._msr_delta = 0
        self._overrun = 0
        self._thre_pending = False
        self._line = False
        self._fifo: deque[int] = deque()
        self._input: deque[int] = deque()

    @property
    def baud(self) -> int:
        """The rate that the divisor latch asks for (115200 by the divisor); 0 when it is 0."""
        return 115_200 // self._divisor if self._divisor else 0

    def feed(self, data: bytes) -> int:
        """Bytes from the other end; gives how many were taken. The guest gets them as fast as it reads."""
        taken = data[: INPUT_LIMIT - len(self._input)]
        self._input.extend(taken)
        self._refill()
        self._update()
        return len(taken)

    def _refill(self) -> None:
        capacity = FIFO_SIZE if self._fcr & 1 else 1
        while self._input and len(self._fifo) < capacity:
            self._fifo.append(self._input.popleft())

    def read(self, offset: int, size: int) -> int:
        """RBR/DLL, IER/DLM, IIR, LCR, MCR, LSR, MSR, SCR."""
        if offset == 5:
            value = LSR_THRE | LSR_TEMT
            if self._fifo:
                value |= LSR_DATA
            if self._overrun:
                value |= self._overrun
                self._overrun = 0
                self._update()
            return value
        if offset == 0:
            if self._lcr & 0x80:
                return self._divisor & 0xFF
            value = self._fifo.popleft() if self._fifo else 0
            if self._input and not self._mcr & MCR_LOOP:
                self._refill()
            self._update()
            return value
        if offset == 1:
            return self._divisor >> 8 if self._lcr & 0x80 else self._ier
        if offset == 2:
            cause = self._cause()
            if cause == 0x02:
                self._thre_pending = False
                self._update()
            return cause | (0xC0 if self._fcr & 1 else 0)
        if offset == 3:
            return self._lcr
        if offset == 4:
            return self._mcr
        if offset == 6:
            value = self._modem() | self._msr_delta
            if self._msr_delta:
                self._msr_delta = 0
                self._update()
            return value
        return self._scr

    def write(self, offset: int, size: int, value: int) -> None:
        """THR/DLL, IER/DLM, FCR, LCR, MCR, (LSR), (MSR), SCR."""
        value &= 0xFF
        if offset == 0:
            if self._lcr & 0x80:
                self._divisor = self._divisor & 0xFF00 | value
            else:
                self._transmit(value)
        elif offset == 1:
            if self._lcr & 0x80:
                self._divisor = self._divisor & 0xFF | value << 8
            else:
                rising = value & ~self._ier
                self._ier = value & 0x0F
                if rising & IER_THRE:
                    # The holding register is empty, so enabling its interrupt gives one at once.
                    self._thre_pending = True
                self._update()
        elif offset == 2:
            self._write_fcr(value)
        elif offset == 3:
            self._lcr = value
        elif offset == 4:
            before = self._modem()
            self._mcr = value & 0x1F
            self._note_modem_change(before)
            if not value & MCR_LOOP:
                self._refill()
            self._update()
        elif offset == 7:
            self._scr = value

    def _transmit(self, value: int) -> None:
        if self._mcr & MCR_LOOP:
            if len(self._fifo) >= (FIFO_SIZE if self._fcr & 1 else 1):
                self._overrun = LSR_OVERRUN
            else:
                self._fifo.append(value)
            self._thre_pending = True
            self._update()
            return
        self.sink(_BYTE[value])
        if self._ier & IER_THRE:
            # Full for an instant, then empty again: the line falls and rises, which an edge input must see.
            self._thre_pending = False
            self._update()
            self._thre_pending = True
            self._update()
        else:
            self._thre_pending = True

    def _write_fcr(self, value: int) -> None:
        if (value ^ self._fcr) & 1 or value & 2:
            self._fifo.clear()
        if value & 1:
            self._fcr = value & 0xC9
        else:
            self._fcr = 0  # other bits are only programmed while bit 0 is written as 1
        self._refill()
        self._update()

    def _modem(self) -> int:
        """Status inputs, or in loopback the four outputs: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD."""
        mcr = self._mcr
        if not mcr & MCR_LOOP:
            return MSR_CONNECTED
        return (mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 4) << 4 | (mcr & 8) << 4

    def _note_modem_change(self, before: int) -> None:
        after = self._modem()
        delta = (before ^ after) >> 4 & 0x0B
        if before & ~after & 0x40:
            delta |= 0x04  # TERI notes the trailing edge only
        self._msr_delta |= delta

    def _cause(self) -> int:
        """IIR bits 0 to 3, by the priorities of table III."""
        ier = self._ier
        if ier & IER_LINE and self._overrun:
            return 0x06
        if ier & IER_RDA and self._fifo:
            if not self._fcr & 1:
                return 0x04
            # Below the trigger level a 16550 waits four character times; this line has no such time.
            return 0x04 if len(self._fifo) >= TRIGGER_LEVELS[self._fcr >> 6] else 0x0C
        if ier & IER_THRE and self._thre_pending:
            return 0x02
        if ier & IER_MODEM and self._msr_delta:
            return 0x00
        return 0x01

    def _update(self) -> None:
        # PCs gate the interrupt with OUT2; in loopback the pin itself is inactive.
        level = self._mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2 and self._cause() != 0x01
        if level != self._line:
            self._line = level
            self._irq(level)
