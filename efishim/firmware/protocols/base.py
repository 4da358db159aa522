"""What every protocol of the shim is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.functions import Function
from efishim.firmware.calling.guest import Guest
from efishim.firmware.memory.memory_map import MemoryType
from efishim.firmware.memory.pool import Pool
from efishim.firmware.services.events import Events
from efishim.machine.cpu import Board
from efishim.wire.layout import Layout


@dataclass(frozen=True, slots=True)
class ProtocolContext:
    """Tools for building protocols. `function` makes a stub, 0 when a profile leaves the function out; `install` puts an
    interface on a handle (0: a new one) unless a profile hides the protocol, and gives the handle.
    """

    board: Board
    guest: Guest
    pool: Pool
    events: Events
    function: Callable[[Function, Handler], int]
    install: Callable[[int, str, int], int]
    served: Callable[[], int]
    """Number of calls that images made so far."""

    def place(self, data: bytes) -> int:
        """Put bytes into boot services memory."""
        address = self.pool.allocate(MemoryType.BOOT_SERVICES_DATA, max(len(data), 1))
        self.board.memory.write(address, data)
        return address

    def functions(self, functions: Sequence[Function], handlers: Mapping[str, Handler]) -> dict[str, int]:
        """A stub for each handler, by the name of its function. Raises ValueError for a handler without a function."""
        declared = {function.name: function for function in functions}
        unknown = handlers.keys() - declared.keys()
        if unknown:
            raise ValueError(f"no function is declared for the handler {', '.join(sorted(unknown))}")
        return {name: self.function(declared[name], handler) for name, handler in handlers.items()}

    def interface(
        self,
        functions: Sequence[Function],
        layout: type[Layout],
        handlers: Mapping[str, Handler],
        fields: Mapping[str, int] | None = None,
    ) -> int:
        """Build a protocol's structure: a stub for each handler, and other fields as given. Gives its address."""
        values = {**(fields or {}), **self.functions(functions, handlers)}
        return self.place(layout(**values).build(self.guest.width))
