"""Processor mode and calling convention of 32-bit and 64-bit firmware (UEFI 2.10, 2.3.2 and 2.3.4).

Everything that differs between 64-bit and 32-bit firmware hangs on this: the width of pointers and UINTN, where a caller
leaves arguments, the form of EFI_STATUS, and which PE images are programs for it. A 64-bit Linux on 32-bit firmware ("mixed
mode") calls it by the 32-bit rules: out of long mode with paging off before ExitBootServices, from compatibility mode after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from efishim.firmware.calling.functions import Function
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import from_32_bit, to_32_bit
from efishim.wire.pe import MACHINE_I386, MACHINE_X64

STACK_ALIGNMENT = 16
"""At a call (2.3.2 and 2.3.4), before the return address is pushed."""


class Architecture(Enum):
    """The processors that firmware is made for, by UEFI's names."""

    X64 = "x64"
    IA32 = "ia32"

    @property
    def width(self) -> int:
        """Bytes of a pointer and of UINTN."""
        return 8 if self is Architecture.X64 else 4


def machine_of(width: int) -> int:
    """The PE machine type of programs by the width of their pointers."""
    return MACHINE_X64 if width == Architecture.X64.width else MACHINE_I386


class Convention(Protocol):
    """How a function is called: reading a caller's arguments, and calling code of the guest."""

    width: int
    bits: int
    """The processor mode in which such calls are made."""

    @property
    def stack(self) -> int:
        """The stack pointer."""

    def return_address(self, stack: int) -> int:
        """Where the caller goes on. Raises EfiError."""

    def arguments(self, stack: int, function: Function) -> tuple[int, ...]:
        """What the caller passes, each cut to its width. Raises EfiError."""

    def more(self, stack: int, index: int) -> int:
        """Argument number `index` of a function with variable arguments, all of which are pointers. Raises EfiError."""

    def enter(self, stack: int, return_to: int, arguments: Sequence[int]) -> None:
        """Set registers and stack as at the first instruction of a function; RIP is left alone. Raises EfiError."""

    def result(self) -> int:
        """What a function gave, a status in its 64-bit form."""

    def give(self, value: int, *, status: bool) -> None:
        """Leave a function's result for its caller."""


class MicrosoftX64:
    """2.3.4.2: four arguments in registers, the others above 32 bytes that the caller leaves for the callee."""

    width, bits = 8, 64
    registers = ("rcx", "rdx", "r8", "r9")
    shadow = 0x20

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._cpu = guest.cpu

    @property
    def stack(self) -> int:
        """RSP."""
        return self._cpu.get("rsp")

    def return_address(self, stack: int) -> int:
        """See Convention."""
        return self._guest.number(stack, 8)

    def arguments(self, stack: int, function: Function) -> tuple[int, ...]:
        """The upper bits of narrow arguments are undefined."""
        return tuple(self._cut(self.more(stack, i), p.width) for i, p in enumerate(function.parameters))

    @staticmethod
    def _cut(value: int, width: int) -> int:
        return value & ((1 << 8 * width) - 1) if width else value

    def more(self, stack: int, index: int) -> int:
        """See Convention."""
        if index < len(self.registers):
            return self._cpu.get(self.registers[index])
        return self._guest.number(stack + 8 + 8 * index, 8)

    def enter(self, stack: int, return_to: int, arguments: Sequence[int]) -> None:
        """See Convention."""
        extra = arguments[len(self.registers) :]
        top = stack // STACK_ALIGNMENT * STACK_ALIGNMENT - self.shadow - 8 * (len(extra) + len(extra) % 2)
        words = (return_to, 0, 0, 0, 0, *extra)
        self._guest.write(top - 8, b"".join(word.to_bytes(8, "little") for word in words))
        self._cpu.set("rsp", top - 8)
        for register, argument in zip(self.registers, arguments, strict=False):
            self._cpu.set(register, argument)

    def result(self) -> int:
        """RAX."""
        return self._cpu.get("rax")

    def give(self, value: int, *, status: bool) -> None:
        """RAX."""
        del status
        self._cpu.set("rax", value)


class Cdecl:
    """2.3.2: all arguments on the stack in slots of four bytes, two for a 64-bit number; the caller removes them."""

    width, bits = 4, 32

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._cpu = guest.cpu

    @property
    def stack(self) -> int:
        """ESP: the upper half of RSP means nothing outside of 64-bit mode."""
        return self._cpu.get("rsp") & 0xFFFF_FFFF

    def return_address(self, stack: int) -> int:
        """See Convention."""
        return self._guest.number(stack, 4)

    def arguments(self, stack: int, function: Function) -> tuple[int, ...]:
        """A status gets its 64-bit form."""
        values = []
        at = stack + 4
        for parameter in function.parameters:
            value = self._guest.number(at, parameter.width or 4)
            values.append(from_32_bit(value) if parameter.kind == "status" and parameter.way == "in" else value)
            at += max(parameter.width, 4)
        return tuple(values)

    def more(self, stack: int, index: int) -> int:
        """See Convention. What comes before them are pointers too."""
        return self._guest.number(stack + 4 + 4 * index, 4)

    def enter(self, stack: int, return_to: int, arguments: Sequence[int]) -> None:
        """See Convention. No function that firmware calls takes a 64-bit number by value."""
        top = (stack - 4 * len(arguments)) // STACK_ALIGNMENT * STACK_ALIGNMENT
        words = (return_to, *arguments)
        self._guest.write(top - 4, b"".join((word & 0xFFFF_FFFF).to_bytes(4, "little") for word in words))
        self._cpu.set("rsp", top - 4)

    def result(self) -> int:
        """EAX."""
        return from_32_bit(self._cpu.get("rax") & 0xFFFF_FFFF)

    def give(self, value: int, *, status: bool) -> None:
        """EAX."""
        self._cpu.set("rax", to_32_bit(value) if status else value & 0xFFFF_FFFF)


def convention_of(guest: Guest) -> Convention:
    """The convention for a width of pointers."""
    return MicrosoftX64(guest) if guest.width == 8 else Cdecl(guest)
