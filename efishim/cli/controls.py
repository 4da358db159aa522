"""Control runs for `compare`: the plans of its records, made again with one thing varied."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from efishim.cli.run import interruptible
from efishim.cli.runs_progress import route_name, shown_progress
from efishim.errors import EfishimError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.compare.control import Variation
    from efishim.compare.settle import Wanted
    from efishim.lab.plan.plan import Blob, Plan
    from efishim.lab.record import Record

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Controls:
    """Makes control runs. `plans` has that of each record, None for a record from a file, whose plan is found when it is
    asked for.
    """

    state: State
    records: Sequence[Record]
    plans: list[Plan | None]
    jobs: int | None
    quiet: bool
    no_cache: bool
    on: str | None
    interrupted: int = 0
    """An exit status, 0 unless the control runs were interrupted."""
    _refused: set[int] = field(default_factory=set)

    def repeat(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Record]:
        """The records of these runs with a variation, of those that can be made again and reach their goal."""
        numbers = sorted({number for number, _ in wanted})
        self._find_plans([number for number in numbers if self.plans[number] is None])
        changed: dict[Wanted, Plan] = {}
        for number, variation in wanted:
            plan = self.plans[number]
            other = None if plan is None else varied(plan, variation)
            if other is not None:
                changed[number, variation] = other
        made = self._run(changed, [variation.said for _, variation in changed])
        return {one: record for one, record in made.items() if record.outcome.met}

    def _find_plans(self, missing: Sequence[int]) -> None:
        """Of records from files. A run is repeated as it was first: only if it does the same now, it can be varied."""
        found = {number: plan for number in missing if number not in self._refused and (plan := self._plan(number))}
        for number, again in self._run(found, ["again"] * len(found)).items():
            if again.coverage == self.records[number].coverage:
                self.plans[number] = found[number]
            else:
                self._refuse(number, "the same plan runs other code now")
        self._refused |= {number for number in missing if self.plans[number] is None}

    def _plan(self, number: int) -> Plan | None:
        from efishim.cli.kernel import find_image
        from efishim.compare.kernels import is_at_hand
        from efishim.lab.plan.from_record import plan_of
        from efishim.lab.progress import NoProgress

        record = self.records[number]
        if not is_at_hand(record):
            return None  # and `compare` says that the image was not found

        def find(name: str | None) -> Blob:
            return find_image(name, NoProgress(), self.state.registry)

        try:
            return plan_of(record, self.state.registry, find)
        except EfishimError as error:
            self._refuse(number, error.sentence)
            return None

    def _refuse(self, number: int, why: str) -> None:
        route = self.records[number].route
        name = f"{route.provider}/{route.entry}@{route.platform}"
        self.state.talk.warning(f"there are no control runs of {name}, whose run cannot be repeated: {why}")

    def _run(self, plans: Mapping[Key, Plan], what: Sequence[str]) -> dict[Key, Record]:
        from efishim.lab.cache.records import own_records
        from efishim.lab.matrix import run_matrix

        if not plans or self.interrupted:
            return {}
        names = [f"{route_name(plan)} {how}" for plan, how in zip(plans.values(), what, strict=True)]
        with interruptible() as interruption, shown_progress(self.state.talk, names, quiet=self.quiet) as progress:
            results = run_matrix(
                list(plans.values()),
                jobs=self.jobs or os.cpu_count() or 1,
                progress=progress,
                interrupt=interruption,
                registry=self.state.registry,
                cache=None if self.no_cache else own_records(),
                on=self.on,
            )
        self.interrupted = interruption.exit_status
        found = zip(plans, results, strict=True)
        return {} if self.interrupted else {key: one.record for key, one in found if one.record is not None}


def varied(plan: Plan, variation: Variation) -> Plan | None:
    """The plan with a processor of another speed, relative to the one that it has, or with nokaslr on the command line; None
    where the command line is not the plan's to change.
    """
    from efishim.lab.plan.machine_options import MACHINE_GROUP, SPEED, SPEED_RANGE, machine_options
    from efishim.machine.timekeeper import INSNS_PER_US

    if not variation.kaslr:
        return None if plan.dump or plan.loader is not None else replace(plan, cmdline=plan.cmdline + b" nokaslr")
    own = machine_options(plan.option_group(MACHINE_GROUP)).insns_per_us
    least, most = SPEED_RANGE
    number = min(max(own * variation.speed // INSNS_PER_US, least), most)
    options = dict(plan.options) | {f"{MACHINE_GROUP}.{SPEED}": str(number)}
    return replace(plan, options=tuple(sorted(options.items())))
