"""Guest consoles: the hypervisor's emergency console, and the ring of the paravirtual console (public/io/console.h).

The ring's page holds 1024 bytes of input, 2048 of output, and four indices that only grow: in_cons, in_prod, out_cons,
out_prod. There is no input, so the input ring stays empty.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from efishim.machine.memory import PhysicalMemory
from efishim.platform.xen.guest import GuestCopy
from efishim.wire.xen import Errno, Refused

OUT, OUT_SIZE, OUT_INDICES = 1024, 2048, 3080
CONSOLEIO_WRITE, CONSOLEIO_READ = 0, 1
LARGEST_WRITE = 4096


class ConsoleRing:
    """The backend of the ring at `address`; what the guest writes goes to `sink`."""

    def __init__(self, memory: PhysicalMemory, address: int, sink: Callable[[bytes], None]) -> None:
        self._memory = memory
        self._address = address
        self._sink = sink
        self.notify: Callable[[], None] = lambda: None

    def drain(self) -> None:
        """The guest said that there is output."""
        consumed, produced = struct.unpack("<II", self._memory.read(self._address + OUT_INDICES, 8))
        waiting = produced - consumed & 0xFFFF_FFFF
        if waiting == 0 or waiting > OUT_SIZE:
            return
        ring = self._memory.read(self._address + OUT, OUT_SIZE)
        start = consumed % OUT_SIZE
        self._sink((ring + ring)[start : start + waiting])
        self._memory.put_u32(self._address + OUT_INDICES, produced)
        self.notify()


def console_io(copy: GuestCopy, sink: Callable[[bytes], None], command: int, count: int, buffer: int) -> int:
    """HYPERVISOR_console_io, which a Xen with debug output lets every guest use. Raises Refused."""
    if command == CONSOLEIO_READ:
        return 0
    if command != CONSOLEIO_WRITE:
        raise Refused(Errno.ENOSYS)
    if count > LARGEST_WRITE:
        raise Refused(Errno.E2BIG)
    sink(copy.read(buffer, count))
    return 0
