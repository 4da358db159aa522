"""PCI configuration space through mechanism #1 at 0xcf8 and 0xcfc, and the reset control register at 0xcf9.

Source: PCI Local Bus Specification 3.0 section 3.2.2.3.2; header type 0: section 6.1. Reset control 0xcf9: PIIX3
datasheet (290550) section 2.5.3.

The only function is the host bridge. It carries Red Hat's generic host bridge ID (1b36:0008), which QEMU uses for
machines without any real chipset behind them: kernels know it as a bridge and bind no chipset quirk to it, where an
Intel ID would promise the registers (PAM, SMRAM, PM base) of that chipset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from efishim.wire.pci import ConfigurationHeader

HOST_BRIDGE_VENDOR, HOST_BRIDGE_DEVICE = 0x1B36, 0x0008
CONFIG_ENABLE = 1 << 31
RESET_CPU, RESET_SYSTEM = 0x04, 0x02
RESET_PORT, RESET_VALUE = 0xCF9, RESET_SYSTEM | RESET_CPU

_ONES = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFF_FFFF}


class PciFunction:
    """256 bytes of configuration space. Bits that `writable` does not name keep their value."""

    def __init__(self, config: bytes, writable: Mapping[int, int] | None = None) -> None:
        self.config = bytearray(config.ljust(256, b"\0"))
        self._mask = bytearray(256)
        for offset, mask in (writable or {}).items():
            self._mask[offset] = mask

    def read(self, register: int, size: int) -> int:
        """`size` bytes at `register`."""
        return int.from_bytes(self.config[register : register + size], "little")

    def write(self, register: int, size: int, value: int) -> None:
        """Store where the function lets itself be written."""
        for index in range(register, min(register + size, 256)):
            mask = self._mask[index]
            self.config[index] = self.config[index] & ~mask | value & mask
            value >>= 8


def host_bridge() -> PciFunction:
    """Class 06 00 00, memory and bus master always on, no BARs, no capabilities."""
    header = ConfigurationHeader(
        vendor_id=HOST_BRIDGE_VENDOR,
        device_id=HOST_BRIDGE_DEVICE,
        command=0x0006,
        base_class=6,
        subsystem_vendor_id=0x1AF4,
        subsystem_id=0x1100,
    )
    return PciFunction(header.build(), {0x3C: 0xFF})


class ResetControl:
    """Port 0xcf9: a rising bit 2 resets the machine; bit 1 chooses how hard, which makes no difference here."""

    def __init__(self, reset: Callable[[], None]) -> None:
        self._reset = reset
        self._value = 0

    def read(self, offset: int, size: int) -> int:
        """The bits as written."""
        return self._value

    def write(self, offset: int, size: int, value: int) -> None:
        """Reset on a rising RST_CPU."""
        rising = value & ~self._value & RESET_CPU
        self._value = value & (RESET_CPU | RESET_SYSTEM)
        if rising:
            self._reset()


class PciConfig:
    """Ports 0xcf8 to 0xcff. `functions` maps bus << 8 | device << 3 | function; others read all ones."""

    def __init__(self, functions: Mapping[int, PciFunction], reset: ResetControl) -> None:
        self._functions = functions
        self._reset = reset
        self._address = 0

    def read(self, offset: int, size: int) -> int:
        """The address latch (32 bits wide only), the reset control, or configuration data."""
        if offset >= 4:
            function = self._selected()
            if function is None:
                return _ONES[size]
            return function.read(self._address & 0xFC | offset & 3, size)
        if offset == 0 and size == 4:
            return self._address
        if offset == 1 and size == 1:
            return self._reset.read(0, 1)
        return _ONES[size]

    def write(self, offset: int, size: int, value: int) -> None:
        """As `read`. A byte written to 0xcfb must not reach the latch: Linux tells mechanism #1 from #2 by that."""
        if offset >= 4:
            function = self._selected()
            if function is not None:
                function.write(self._address & 0xFC | offset & 3, size, value)
        elif offset == 0 and size == 4:
            self._address = value & 0x80FF_FFFC
        elif offset == 1 and size == 1:
            self._reset.write(0, 1, value)

    def _selected(self) -> PciFunction | None:
        if not self._address & CONFIG_ENABLE:
            return None
        return self._functions.get(self._address >> 8 & 0xFFFF)


class Port92:
    """System control port A: bit 1 is the A20 gate, which is always open here; bit 0 resets the processor."""

    def __init__(self, reset: Callable[[], None]) -> None:
        self._reset = reset
        self._value = 0x02

    def read(self, offset: int, size: int) -> int:
        """The bits as written; A20 is never closed."""
        return self._value

    def write(self, offset: int, size: int, value: int) -> None:
        """A rising bit 0 resets."""
        rising = value & ~self._value & 1
        self._value = value & 0xFF | 0x02
        if rising:
            self._reset()
