"""Faults on purpose: a call of the firmware, the BIOS or the hypervisor that fails at a chosen time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

MEMORY = "memory"
"""All allocations together: memory that runs out is missing for every caller."""

DEVICE = "device "
"""Before the name of a device: each access to it is a call."""

_GROUPS = MappingProxyType({"BootServices.AllocatePages": MEMORY, "BootServices.AllocatePool": MEMORY})


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """The `number`-th call of a service, counted from 1, fails; with `onwards` each later one, too."""

    service: str
    """As the call log or the ledger names it, or MEMORY."""
    number: int
    onwards: bool
    status: str
    """The name of what the caller gets."""
    code: int
    """The same as a number: an EFI_STATUS, what a BIOS returns in AH, the negative of a hypervisor's error number; 0 of a
    device.
    """

    @property
    def text(self) -> str:
        """What `--fail` takes."""
        return f"{self.service}:{self.number}{'+' if self.onwards else ''}={self.status}"

    def strikes(self, number: int) -> bool:
        """Does this call fail?"""
        return number == self.number or (self.onwards and number > self.number)


class Injections:
    """The faults of one run. Counts the calls of the services that they name."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self._named = frozenset(fault.service for fault in self.faults)
        self._calls: Counter[str] = Counter()
        self._struck: Counter[Fault] = Counter()

    def strike(self, *names: str) -> int | None:
        """A service is called, under each of these names. What it answers instead of doing anything; None: it does its work."""
        if not self._named:
            return None
        answer = None
        for name in (*names, *(_GROUPS[name] for name in names if name in _GROUPS)):
            if name in self._named:
                self._calls[name] += 1
                for fault in self.faults:
                    if fault.service == name and fault.strikes(self._calls[name]) and answer is None:
                        self._struck[fault] += 1
                        answer = fault.code
        return answer

    def notes(self) -> list[str]:
        """Sentences for the record: what each fault came to."""
        return [self._note(fault) for fault in self.faults]

    def _note(self, fault: Fault) -> str:
        called = self._calls[fault.service]
        one, many = ("access", "accesses") if fault.service.startswith(DEVICE) else ("call", "calls")
        times = f"{called} {one if called == 1 else many}"
        if not self._struck[fault]:
            return f"--fail {fault.text} never came to pass: there were {times}"
        if fault.onwards:
            return f"--fail {fault.text}: {self._struck[fault]} of {times} failed on purpose"
        return f"--fail {fault.text}: {one} {fault.number} of {called} failed on purpose"
