"""Control runs of many pairs: those routes first that most pairs need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from efishim.cli.controls import varied
from efishim.compare.control import VARIATIONS, Control
from efishim.compare.pair import Pair
from efishim.compare.roots import Ran
from efishim.compare.rules import Class
from efishim.compare.settle import is_unsettled, judged_again
from efishim.lab.plan.from_record import NotRepeatable, plan_of
from efishim.lab.plan.plan import Blob
from efishim.lab.record import Record
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins

MOST = 16
"""Control runs."""


def unexplained(pairs: Mapping[tuple[str, str], Pair]) -> list[str]:
    """What is left of pairs, by the names of their two runs, when control runs have settled what they can."""
    found = dict(pairs)
    controls: dict[str, list[Control]] = {}
    for _ in range(MOST):
        unsettled = [names for names, pair in found.items() if is_unsettled(pair)]
        wanted = Counter(name for names in unsettled for name in names if len(controls.get(name, ())) < len(VARIATIONS))
        if not wanted:
            break
        name = max(sorted(wanted), key=lambda one: (wanted[one], -len(controls.get(one, ()))))
        one, other = next(names for names in unsettled if name in names)
        record = found[one, other].left if name == one else found[one, other].right
        made = controls.setdefault(name, [])
        made.append(_control(record, len(made)))
        for names in unsettled:
            found[names] = judged_again(found[names], (controls.get(names[0], []), controls.get(names[1], [])))
    return [f"{names}: {one.difference}" for names, pair in found.items() for one in pair.of(Class.UNEXPLAINED)]


def _control(record: Record, number: int) -> Control:
    variation, again = VARIATIONS[number], None
    with suppress(NotRepeatable):  # behind a boot loader
        plan = varied(plan_of(record, load_plugins(), lambda path: Blob.from_file(str(path))), variation)
        again = None if plan is None else run_plan(replace(plan, timeout=0))
    ran = again.coverage.functions if again is not None and again.outcome.met else record.coverage.functions
    return Control(variation, Ran(ran))
