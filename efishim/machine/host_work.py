"""A bound on what the host does for one action of the guest: a hypercall, or a call of the firmware or the BIOS.

A guest makes its own page tables and structures, so that what it asks for may be far more than what it has: a range of 2^45
bytes all of which are the same page, or handles that are each other's children.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from efishim.errors import EfishimError

OPERATIONS = 1 << 18
"""Accesses to guest memory, steps of a search and the like that any action may take: a second or two of the host."""
PER_PAGE = 16
"""Operations on top of that for each page that the guest has: moving all of its memory takes about ten, as each page's address
is translated twice."""
PAGE_SHIFT = 12
UNBOUNDED = 1 << 62


class TooMuchWork(EfishimError):
    """One action of the guest would have the host work for longer than what the guest has gives reason to."""


class Overdue(EfishimError):
    """The run is to end, by its timeout or by its user, while the host works for the guest."""


class HostWork:
    """What is left of the budget of the action that is being done; without one nothing is counted.

    Memory takes from `left` itself, for the sake of speed, and calls `over` when it is below zero.
    """

    def __init__(self) -> None:
        self.left = UNBOUNDED
        self._bounded = False
        self._overdue = False

    def spend(self, operations: int) -> None:
        """So many operations are about to be done. Raises TooMuchWork, Overdue."""
        self.left -= operations
        if self.left < 0:
            self.over()

    def over(self) -> None:
        """Nothing is left. Raises TooMuchWork, Overdue."""
        if not self._bounded:
            self.left = UNBOUNDED
        elif self._overdue:
            raise Overdue("the run was stopped during a guest call")
        else:
            raise TooMuchWork("one guest call exceeds the limit on host work for this amount of guest RAM")

    @contextmanager
    def bounded(self, pages: int) -> Iterator[None]:
        """Inside: one action of a guest with so many pages of memory."""
        self._bounded = True
        self.left = -1 if self._overdue else OPERATIONS + PER_PAGE * pages
        try:
            yield
        finally:
            self._bounded = False
            self.left = UNBOUNDED

    def hurry(self) -> None:
        """From another thread: the run is to end, so what is being done now is not finished. Harmless when repeated."""
        self._overdue = True
        if self._bounded:
            self.left = -1
