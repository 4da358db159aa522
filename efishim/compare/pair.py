"""Compares two records: every fact that differs, with its class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from efishim.compare.areas import map_differences
from efishim.compare.behaviour import behaviour
from efishim.compare.evidence import Difference, Seen
from efishim.compare.facts import ABSENT, PICTURES, Fact, Facts, Side, Stage, by_path
from efishim.compare.grounds import Grounds
from efishim.compare.inputs import PHYSICAL_BASE, VIRTUAL_BASE, inputs
from efishim.compare.kernels import kernel_of
from efishim.compare.roots import Ran, rooted
from efishim.compare.rules import Class, Judge, Rule, Verdict, shipped_rules
from efishim.compare.shown import IOMEM
from efishim.compare.traits import changed, traits
from efishim.lab.record import Milestone, Record


@dataclass(frozen=True, slots=True)
class Judged:
    """A difference with its class."""

    side: Side
    difference: Difference
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Pair:
    """The outcome of a comparison."""

    left: Record
    right: Record
    identical: int
    """Facts that are the same."""
    judged: tuple[Judged, ...]
    unused: tuple[str, ...]
    """Rules that apply to such a pair and matched nothing."""
    judge: Judge
    runs: tuple[Ran, Ran]
    """What ran in each."""

    def of(self, kind: Class, side: Side | None = None) -> tuple[Judged, ...]:
        """The differences of one class."""
        return tuple(one for one in self.judged if one.verdict.kind is kind and side in (None, one.side))

    @property
    def clean(self) -> bool:
        """Nothing is unexplained."""
        return not self.of(Class.UNEXPLAINED)


def facts_of(record: Record) -> Facts:
    """All facts of a record."""
    facts, maps = inputs(record)
    did, shown = behaviour(record)
    return Facts(facts, did, {**maps, **shown})


def compare(left: Record, right: Record, rules: Sequence[Rule] | None = None) -> Pair:
    """Set two records side by side."""
    return compare_facts(left, facts_of(left), right, facts_of(right), rules)


def compare_facts(
    left: Record,
    one: Facts,
    right: Record,
    other: Facts,
    rules: Sequence[Rule] | None = None,
    runs: tuple[Ran, Ran] | None = None,
) -> Pair:
    """The same, for who has the facts already, and perhaps the blocks that ran."""
    runs = runs or (Ran(left.coverage.functions), Ran(right.coverage.functions))
    one, other = _seen_by_both(left, one, right, other)
    found: dict[Side, list[Difference]] = {}
    identical = 0
    for side in Side:
        found[side], same = _differences(one.of(side), other.of(side))
        identical += same
    found[Side.BEHAVIOUR] = rooted(left, right, found[Side.BEHAVIOUR], runs)
    areas, same = map_differences(one.maps, other.maps)
    found[Side.INPUTS] = fold_stages([*found[Side.INPUTS], *areas])
    chosen = shipped_rules() if rules is None else rules
    seen = Seen(left, one), Seen(right, other)
    judge = Judge(chosen, traits(left), traits(right), changed(left, right), seen)
    judged = [Judged(side, difference, judge.judge(difference)) for side in Side for difference in found[side]]
    if judge.follows and any(map(_is_open, judged)):
        judged = _grounded(judged, left, right, judge, runs)
    return Pair(left, right, identical + same, tuple(judged), judge.unused(), judge, runs)


def _is_open(one: Judged) -> bool:
    """Is it code that no rule explains so far?"""
    return one.verdict.kind is Class.UNEXPLAINED and one.difference.way is not None


def _grounded(judged: Sequence[Judged], left: Record, right: Record, judge: Judge, runs: tuple[Ran, Ran]) -> list[Judged]:
    """Code that no rule names is judged again, with what it rests on."""
    code = kernel_of(left) if left.image.sha256 == right.image.sha256 else None
    if code is None:
        return list(judged)
    # Rules of plugins (`DISTRIBUTION:NAME`) decide what no shipped rule does, and give no grounds to one.
    explained = [one for one in judged if one.verdict.rule is not None and ":" not in one.verdict.rule.name]
    told = {fact for one in explained if one.side is Side.INPUTS for fact in (one.difference.fact, *one.difference.also)}
    goals = {
        one.difference.way: f"{one.difference.path} ({one.verdict.rule.name})"
        for one in explained
        if one.difference.way is not None and one.verdict.rule is not None and one.verdict.rule.is_tied
    }
    grounds = Grounds(code, runs, told, goals, chosen=bool(judge.changed & {"provider", "entry"}))

    def evident(difference: Difference) -> Difference | None:
        ground = None if difference.way is None else grounds.of(difference.way)
        return None if ground is None else difference.with_evidence(ground, ground.said)

    return judge_open(judged, judge, evident)


def judge_open(judged: Sequence[Judged], judge: Judge, evident: Callable[[Difference], Difference | None]) -> list[Judged]:
    """Code that no rule explains so far is judged again, where `evident` has something to add to it."""
    again = [evident(one.difference) if _is_open(one) else None for one in judged]
    return [
        one if difference is None else Judged(one.side, difference, judge.judge(difference))
        for one, difference in zip(judged, again, strict=True)
    ]


def _view(fact: Fact) -> str:
    """The part of a record in which a fact was found; empty when that is there on every run."""
    if fact.stage is Stage.USERSPACE:
        return (Milestone.USERSPACE if fact == IOMEM else Milestone.START_KERNEL).value
    if fact.stage is Stage.STARTUP_64 or fact == PHYSICAL_BASE:
        return "boot_view"
    return "kernel_view" if fact.stage is Stage.START_KERNEL or fact == VIRTUAL_BASE else ""


def _seen_by_both(left: Record, one: Facts, right: Record, other: Facts) -> tuple[Facts, Facts]:
    """Without the facts of stages that one of the two did not come to: that it did not is a difference in milestones, and
    not one in everything that could have been seen there.
    """
    views = ("boot_view", "kernel_view")
    missing = {name for name in views if getattr(left, name) is None or getattr(right, name) is None}
    for milestone in (Milestone.START_KERNEL, Milestone.USERSPACE):
        if not all(any(point.name is milestone for point in record.milestones) for record in (left, right)):
            missing.add(milestone.value)
    return (_without(one, missing), _without(other, missing)) if missing else (one, other)


def _without(facts: Facts, views: Collection[str]) -> Facts:
    return replace(
        facts,
        inputs={fact: value for fact, value in facts.inputs.items() if _view(fact) not in views},
        maps={fact: areas for fact, areas in facts.maps.items() if _view(fact) not in views},
    )


def fold_stages(differences: Sequence[Difference]) -> list[Difference]:
    """One difference that shows at several stages of the boot is one: the first place has the others in `also`."""
    kept: dict[tuple[object, str, str], Difference] = {}
    for one in sorted(differences, key=lambda one: stage_number(one.fact)):
        key = (one.fact.stageless, one.left, one.right)
        first = kept.get(key)
        kept[key] = one if first is None else replace(first, also=(*first.also, one.fact))
    return sorted(kept.values(), key=lambda one: one.path)


def stage_number(fact: Fact) -> int:
    """Which of the pictures it is in, -1 for none."""
    return PICTURES.index(fact.stage) if fact.stage in PICTURES else -1


def _differences(left: Mapping[Fact, str], right: Mapping[Fact, str]) -> tuple[list[Difference], int]:
    every = left.keys() | right.keys()
    differing = [fact for fact in every if left.get(fact, ABSENT) != right.get(fact, ABSENT)]
    found = [Difference(fact, left.get(fact, ABSENT), right.get(fact, ABSENT)) for fact in sorted(differing, key=by_path)]
    return found, len(every) - len(found)
