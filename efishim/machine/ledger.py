"""The ledger: accesses to ports, MMIO, MSRs and CPUID leaves, each with the code that made it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What was touched."""

    PORT = "port"
    MMIO = "mmio"
    MSR = "msr"
    CPUID = "cpuid"
    HYPERCALL = "hypercall"


@dataclass
class Touch:
    """One kind of access from one place. `code` is a linear address (of the block, for MMIO), `first` and `last` are
    instruction counts, `value` the last value that moved.

    For a CPUID leaf `address` is leaf << 32 | subleaf, for a hypercall number << 32 | operation, and its `value` is the answer.
    """

    kind: Kind
    address: int
    write: bool
    code: int
    count: int
    first: int
    last: int
    value: int


TOUCH_LIMIT = 1 << 15
"""Most places that are told apart; a stock kernel needs about a thousand."""


class Ledger:
    """Counts accesses by (kind, address, direction, code), for the first TOUCH_LIMIT of them."""

    def __init__(self) -> None:
        self.enabled = True
        self.dropped = 0
        """Accesses that are not in here because it was full."""
        self._touches: dict[tuple[Kind, int, bool, int], Touch] = {}

    def note(self, kind: Kind, address: int, write: bool, code: int, insns: int, value: int) -> None:
        """One access happened."""
        if not self.enabled:
            return
        key = (kind, address, write, code)
        touch = self._touches.get(key)
        if touch is None:
            if len(self._touches) >= TOUCH_LIMIT:
                self.dropped += 1
                return
            self._touches[key] = Touch(kind, address, write, code, 1, insns, insns, value)
        else:
            touch.count += 1
            touch.last = insns
            touch.value = value

    def clear(self) -> None:
        """Forget everything noted so far."""
        self._touches.clear()
        self.dropped = 0

    def touches(self) -> list[Touch]:
        """Everything noted, in the order of the first access."""
        return list(self._touches.values())
