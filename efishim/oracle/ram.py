"""Guest RAM shared with QEMU, which the boot view decoders read in place."""

from __future__ import annotations

import mmap
import os

from efishim.machine.memory import PhysicalMemory, Region
from efishim.oracle.channels import OracleError

LOW_END = 0xA0000
HIGH_START = 0xC0000
"""Between them lies the display's memory. Above, firmware copies itself into RAM and reads it there."""

BELOW_4G = 0xC000_0000
SPLIT = 0xE000_0000
FOUR_GIB = 1 << 32
"""QEMU's machine `pc`: with SPLIT bytes of RAM or more, BELOW_4G of them lie below 4 GiB (hw/i386/pc_piix.c, pc_init1)."""


class SharedRam(PhysicalMemory):
    """RAM of a QEMU machine `pc`, read-only here. `descriptor` is what QEMU takes it from."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        try:
            self.descriptor = os.memfd_create("efishim-oracle")
            os.ftruncate(self.descriptor, size)
            low = BELOW_4G if size >= SPLIT else size
            self._map(0, LOW_END, 0)
            self._map(HIGH_START, low - HIGH_START, HIGH_START)
            if low < size:
                self._map(FOUR_GIB, size - low, low)
        except OSError as error:
            raise OracleError(f"the host refuses {size >> 20} MiB of memory for QEMU: {error.strerror}") from error

    def _map(self, start: int, size: int, offset: int) -> None:
        host = mmap.mmap(self.descriptor, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=offset)
        self._regions.append(Region(start, size, False, "ram", host))

    @property
    def arguments(self) -> list[str]:
        """How QEMU is told to use it; the child must inherit `descriptor`."""
        backend = f"memory-backend-file,id=ram,share=on,size={self.size},mem-path=/proc/self/fd/{self.descriptor}"
        return ["-object", backend, "-m", f"{self.size >> 20}"]

    def close(self) -> None:
        """Give it back."""
        for region in self:
            region.host.close()
        os.close(self.descriptor)
