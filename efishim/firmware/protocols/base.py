"""What every protocol of the shim needs to come into being."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.guest import Guest
from efishim.firmware.memory.memory_map import MemoryType
from efishim.firmware.memory.pool import Pool
from efishim.firmware.services.events import Events
from efishim.machine.cpu import Board
from efishim.wire.layout import Layout


@dataclass(frozen=True, slots=True)
class ProtocolContext:
    """Tools for building protocols. `function` makes a stub for `Table.Name`; `install` puts an interface on a handle
    (0: a new one) unless a profile hides the protocol, and gives the handle.
    """

    board: Board
    guest: Guest
    pool: Pool
    events: Events
    function: Callable[[str, Handler], int]
    install: Callable[[int, str, int], int]
    served: Callable[[], int]
    """Number of calls that images made so far."""

    def place(self, data: bytes) -> int:
        """Put bytes into boot services memory."""
        address = self.pool.allocate(MemoryType.BOOT_SERVICES_DATA, max(len(data), 1))
        self.board.memory.write(address, data)
        return address

    def interface(
        self, table: str, layout: type[Layout], handlers: Mapping[str, Handler], fields: Mapping[str, int] | None = None
    ) -> int:
        """Build a protocol's structure: a stub for each handler, and other fields as given."""
        values: dict[str, int] = dict(fields or {})
        for name, handler in handlers.items():
            values[name] = self.function(f"{table}.{name}", handler)
        return self.place(layout(**values).build(self.guest.width))
