"""A client for the GDB remote serial protocol, limited to what QEMU's stub needs.

Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol"; QEMU's docs/system/gdb.rst.
"""

from __future__ import annotations

import time

from efishim.debug.packets import INTERRUPT, Packet, framed, take
from efishim.debug.registers import REGISTERS
from efishim.machine.cpu import GuestFault
from efishim.oracle.channels import Channels, Line, OracleError

MEMORY_PIECE = 1024
"""Bytes per `m` packet; QEMU's buffer holds 4 KiB of hexadecimal digits."""


class Gdb:
    """The stub of one QEMU. Breakpoints are by linear address; memory is read by linear address too."""

    def __init__(self, channels: Channels, line: Line) -> None:
        self._channels = channels
        self._line = line
        self.breakpoints: set[int] = set()

    def _packet(self) -> bytes | None:
        """The next packet, acknowledged; None while it is not whole."""
        while (item := take(self._line.buffer)) is not None:
            if isinstance(item, Packet):
                self._channels.send(self._line, b"+")
                return item.body
        return None

    def _send(self, text: str) -> None:
        self._channels.send(self._line, framed(text.encode("ascii")))

    def command(self, text: str) -> str:
        """Send a command and take its answer."""
        self._send(text)
        answer = self._channels.wait(self._packet)
        assert answer is not None
        return answer.decode("ascii", "replace")

    def _ok(self, text: str) -> None:
        answer = self.command(text)
        if answer != "OK":
            raise OracleError(f"QEMU's debug stub answered {answer!r} to {text!r}")

    def registers(self) -> dict[str, int]:
        """All registers of the stub by the names of the machine's Cpu."""
        raw = bytes.fromhex(self.command("g").replace("x", "0"))
        values: dict[str, int] = {}
        at = 0
        for name, size in REGISTERS:
            values[name] = int.from_bytes(raw[at : at + size], "little")
            at += size
        if at != len(raw):
            raise OracleError(f"QEMU's debug stub shows {len(raw)} bytes of registers, {at} are expected of an x86-64")
        return values

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a linear address. Raises GuestFault where the guest's tables map nothing."""
        out = b""
        while len(out) < size:
            at, step = address + len(out), min(MEMORY_PIECE, size - len(out))
            answer = self.command(f"m{at:x},{step:x}")
            if answer.startswith("E") or len(answer) != 2 * step:
                raise GuestFault(at, write=False)
            out += bytes.fromhex(answer)
        return out

    def insert(self, address: int) -> None:
        """Set a breakpoint on an instruction's linear address; once is enough."""
        if address not in self.breakpoints:
            self._ok(f"Z1,{address:x},1")
            self.breakpoints.add(address)

    def remove(self, address: int) -> None:
        """Take it away again."""
        if address in self.breakpoints:
            self._ok(f"z1,{address:x},1")
            self.breakpoints.discard(address)

    def resume(self) -> None:
        """Let the guest run; a breakpoint where it stands would stop it at once."""
        self._send("c")

    def wait_stop(self, seconds: float | None = None) -> bool:
        """Wait until the guest stops; False when it still runs after so many seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        return self._channels.wait(self._packet, until=until) is not None

    def interrupt(self) -> None:
        """Stop a running guest."""
        self._channels.send(self._line, INTERRUPT)
        self.wait_stop()

    def step(self) -> None:
        """One instruction, with interrupts held back (QEMU's default)."""
        self._send("s")
        self.wait_stop()
