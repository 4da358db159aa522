"""The callbacks from the engine to the machine while the guest runs."""

from __future__ import annotations

from typing import Protocol

from efishim.machine.intercepts import Intercept


class EngineClient(Protocol):
    """What the engine reports. Called from within the emulation."""

    def port_read(self, port: int, size: int) -> int:
        """IN."""

    def port_write(self, port: int, size: int, value: int) -> None:
        """OUT."""

    def mmio_read(self, address: int, size: int) -> int:
        """A load from a physical address without memory."""

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """A store to a physical address without memory."""

    def cpuid_hook(self) -> bool:
        """CPUID; True when the registers were filled."""

    def syscall(self, sysenter: bool) -> None:
        """SYSCALL or SYSENTER."""

    def exception(self, vector: int) -> None:
        """An exception or INT n."""

    def site(self, site: Intercept) -> None:
        """One of our own instructions is about to run."""

    def breakpoint(self, address: int) -> bool:
        """An instruction that `break_at` was called for is about to run; True when the run was stopped in front of it."""

    def block(self, pc: int, size: int, icount: int, code: bytes) -> int:
        """A block was translated; returns flags (`BlockFlag`)."""
