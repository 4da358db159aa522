"""Experiments on two machines that stand at the meeting point: which items come from which, and what the kernel does then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from efishim.lab.observe.limits import Interrupt
from efishim.lab.record import FunctionCoverage, Reason
from efishim.why.behind import Behind, Limit, behind, plain
from efishim.why.forks import CRASHED, Result, in_forks
from efishim.why.pieces import Item
from efishim.why.readers import Readers, readers
from efishim.why.side import Side, Start
from efishim.why.take import left_over, take

Names = frozenset[str]
LEFT_OVER = "left over: "
PATIENCE = 2
"""An experiment ends after so many times the instructions, the guest time or the exceptions of the longer plain run: the kernel
hangs then."""
MORE_INSNS, MORE_NS, MORE_EXCEPTIONS = 1 << 20, 30_000_000_000, 1000
"""And this. A short run does not come near its end, where blocks are counted in another way; a driver may wait for a device
that does not answer; a kernel that says why it died may run into a few faults more."""


class Laboratory:
    """`first` and `second` are the sides; an experiment is the set of items that have the second's state, all others having
    the first's. It runs on the machine of the side whose firmware may be called, the first's when both or neither have any.
    """

    def __init__(
        self, first: Side, second: Side, items: Sequence[Item], start: Start, jobs: int, interrupt: Interrupt | None = None
    ) -> None:
        self.sides = first, second
        self.items = {item.name: item for item in items}
        self.all: Names = frozenset(self.items)
        self.known: dict[Names, Behind] = {}
        self.defects: tuple[str, ...] = ()
        self.on_run: Callable[[int], None] = lambda _count: None
        self._start, self._jobs, self._interrupt = start, jobs, interrupt
        self.limit: Limit | None = None
        """Of experiments, once the plain runs were made and both shut down."""
        self.ran: tuple[Sequence[FunctionCoverage], Sequence[FunctionCoverage]] = (), ()
        """The code that ran on either side without experiments, once that is known."""
        self._on_first = first.has_firmware or not second.has_firmware

    def run(self, experiments: Iterable[Names]) -> None:
        """Make those that were not made before."""
        wanted = [one for one in dict.fromkeys(experiments) if one not in self.known]
        found = self._in_forks([partial(self._experiment, one, self._on_first) for one in wanted], CRASHED)
        self.known.update(zip(wanted, found, strict=True))

    def result(self, experiment: Names) -> Behind:
        """Of one experiment."""
        self.run([experiment])
        return self.known[experiment]

    def plain(self) -> tuple[Behind, Behind]:
        """Both sides as they are, each on its own machine."""
        lost: tuple[Behind, list[FunctionCoverage]] = CRASHED, []
        (one, mine), (other, theirs) = self._in_forks([partial(plain, side) for side in self.sides], lost)
        self.ran = mine, theirs
        self.known[frozenset() if self._on_first else self.all] = one if self._on_first else other
        if all(run.outcome == Reason.SHUTDOWN for run in (one, other)):
            start, insns, when = self._start, max(one.insns, other.insns), max(one.virtual_ns, other.virtual_ns)
            self.limit = Limit(
                start.insns + PATIENCE * (insns - start.insns) + MORE_INSNS,
                start.when + PATIENCE * (when - start.when) + MORE_NS,
                PATIENCE * max(one.exceptions, other.exceptions) + MORE_EXCEPTIONS,
            )
        return one, other

    def readers(self) -> list[Readers]:
        """Which functions read each field of boot_params, side by side; nothing when one of the runs was lost."""
        lost: Readers = {}
        found = self._in_forks([partial(readers, side) for side in self.sides], lost)
        return [] if any(one is lost for one in found) else found

    def everything(self) -> list[tuple[bool, Behind]]:
        """All items taken over, on the machine of the first side and on that of the second."""
        ways = [True, False]
        work = [partial(self._experiment, self.all if first else frozenset(), first, check=True) for first in ways]
        return list(zip(ways, self._in_forks(work, CRASHED), strict=True))

    def _in_forks(self, work: Sequence[Callable[[], Result]], lost: Result) -> list[Result]:
        return in_forks(work, self._jobs, lost, lambda: self.on_run(1), self._interrupt)

    def _experiment(self, seconds: Names, on_first: bool, check: bool = False) -> Behind:
        """In a fork: the machines are changed."""
        one, other = self.sides
        recipient, donor = (one, other) if on_first else (other, one)
        taken = seconds if on_first else self.all - seconds
        take(recipient, donor, [item for name, item in self.items.items() if name in taken], self._start)
        left = left_over(recipient, donor) if check else []
        found = behind(recipient, self.limit)
        return found if not left else replace(found, digest=LEFT_OVER + ", ".join(left[:8]))
