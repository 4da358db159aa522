"""The I/O APIC: 24 inputs, each with a redirection entry.

Source: Intel 82093AA datasheet (290566), sections 3.1 and 3.2. Version 0x11 has no EOI register of its own: the EOI
broadcast of the local APIC clears Remote IRR, and so does switching an entry to edge (Linux's __eoi_ioapic_pin()).
Version 0x20 has that register (Intel ICH9 datasheet 316972, section 13.5.5).
"""

from __future__ import annotations

from efishim.platform.devices.lapic import LocalApic

IOAPIC_BASE = 0xFEC0_0000
PINS = 24
DISCRETE, WITH_EOI = 0x11, 0x20
"""Versions: the 82093AA, and the I/O APIC of later chipsets."""
EOI = 0x40

MASKED = 1 << 16
LEVEL = 1 << 15
REMOTE_IRR = 1 << 14
LOGICAL = 1 << 11
_READ_ONLY = REMOTE_IRR | 1 << 12
_WRITABLE = 0xFF00_0000_0001_FFFF & ~_READ_ONLY


class IoApic:
    """Index register at offset 0, data window at 0x10. Delivers fixed and lowest-priority messages to one local APIC.

    Entries that ask for SMI, NMI, INIT or ExtINT deliver nothing: no such source is wired to an input.
    """

    def __init__(self, lapic: LocalApic, version: int = DISCRETE) -> None:
        self._lapic = lapic
        self._version = version
        self._index = 0
        self._id = 0
        self._lines = 0
        self.entries = [MASKED] * PINS

    def set_line(self, pin: int, level: bool) -> None:
        """Assert or release an input (the polarity bit describes the wire, not this)."""
        bit = 1 << pin
        before = self._lines
        if level:
            self._lines |= bit
            entry = self.entries[pin]
            # A masked edge is neither delivered nor held (datasheet 3.2.4, bit 16).
            if not entry & MASKED and (entry & LEVEL or not before & bit):
                self._deliver(pin)
        else:
            self._lines &= ~bit

    def _deliver(self, pin: int) -> None:
        entry = self.entries[pin]
        level = bool(entry & LEVEL)
        if level:
            if entry & REMOTE_IRR:
                return
            self.entries[pin] = entry | REMOTE_IRR
        if entry >> 8 & 7 <= 1 and self._lapic.addressed(entry >> 56, logical=bool(entry & LOGICAL)):
            self._lapic.accept(entry & 0xFF, level=level)

    def end_of_interrupt(self, vector: int) -> None:
        """The local APIC's EOI broadcast; an input that is still asserted delivers again."""
        for pin, entry in enumerate(self.entries):
            if entry & (LEVEL | REMOTE_IRR) == LEVEL | REMOTE_IRR and entry & 0xFF == vector:
                self.entries[pin] = entry & ~REMOTE_IRR
                self._retry(pin)

    def _retry(self, pin: int) -> None:
        if self._lines >> pin & 1 and self.entries[pin] & (LEVEL | MASKED) == LEVEL:
            self._deliver(pin)

    def read(self, offset: int, size: int) -> int:
        """IOREGSEL or the register that it selects."""
        if offset == 0:
            return self._index
        if offset != 0x10:
            return 0
        index = self._index
        if index in {0, 2}:  # identification, arbitration
            return self._id << 24
        if index == 1:
            return (PINS - 1) << 16 | self._version
        pin = (index - 0x10) >> 1
        if 0 <= pin < PINS:
            return self.entries[pin] >> (32 * (index & 1)) & 0xFFFF_FFFF
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Select a register or store into the selected one."""
        if offset == 0:
            self._index = value & 0xFF
        elif offset == 0x10:
            index = self._index
            pin = (index - 0x10) >> 1
            if index == 0:
                self._id = value >> 24 & 0x0F
            elif 0 <= pin < PINS:
                self._write_entry(pin, bool(index & 1), value & 0xFFFF_FFFF)
        elif offset == EOI and self._version >= WITH_EOI:
            self.end_of_interrupt(value & 0xFF)

    def _write_entry(self, pin: int, high: bool, value: int) -> None:
        entry = self.entries[pin]
        merged = entry & 0xFFFF_FFFF | value << 32 if high else entry & ~0xFFFF_FFFF | value
        merged = merged & _WRITABLE | entry & _READ_ONLY
        if not merged & LEVEL:
            merged &= ~REMOTE_IRR
        self.entries[pin] = merged
        self._retry(pin)
