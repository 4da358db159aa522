"""Memory as a debugger sees it: by the guest's page tables of this moment, or physical; devices are left alone."""

from __future__ import annotations

from contextlib import suppress

from efishim.machine.cpu import GuestFault
from efishim.machine.machine import Machine
from efishim.machine.memory import PAGE, BusError


class GuestMemory:
    """Of a stopped guest. With `physical`, addresses are physical ones, as QEMU's PhyMemMode has them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.physical = False

    def read(self, address: int, size: int) -> bytes:
        """As much as there is of it. Devices are not read: that could change them."""
        out = bytearray()
        with suppress(GuestFault, BusError):
            while len(out) < size:
                step = min(size - len(out), PAGE - (address + len(out)) % PAGE)
                out += self._machine.memory.read(self._physical(address + len(out)), step)
        return bytes(out)

    def write(self, address: int, data: bytes) -> bool:
        """Store all of it or, when some of it has no place, nothing. A debugger writes also to what the guest may only read."""
        pieces, done, memory = [], 0, self._machine.memory
        try:
            while done < len(data):
                step = min(len(data) - done, PAGE - (address + done) % PAGE)
                physical = self._physical(address + done)
                memory.read(physical, step)
                pieces.append((physical, data[done : done + step]))
                done += step
        except (GuestFault, BusError):
            return False
        for physical, piece in pieces:
            memory.write(physical, piece)
        return True

    def _physical(self, address: int) -> int:
        if self.physical:
            return address
        cpu = self._machine.cpu
        return cpu.translate(address & ((1 << 64) - 1 if cpu.mode == 64 else 0xFFFF_FFFF))
