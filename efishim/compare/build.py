"""Builds a comparison from records."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

import efishim
from efishim.compare.behind_loader import of_the_image
from efishim.compare.costs import costs
from efishim.compare.facts import ABSENT, Fact, Facts, Kind, Side
from efishim.compare.kernels import kernel_of
from efishim.compare.model import Comparison, DifferenceView, Group, PairView, Point, Row, RunView, Skipped
from efishim.compare.pair import Judged, Pair, compare_facts, facts_of, stage_number
from efishim.compare.questions import answers
from efishim.compare.roots import Ran
from efishim.compare.rules import Class, Rule
from efishim.compare.settle import Repeat, settled
from efishim.errors import UsageError
from efishim.lab.observe.code_parts import KERNEL
from efishim.lab.record import Record

MAX_RUNS = 26
"""As many as there are letters for the columns of the table."""


def build(
    records: Sequence[Record],
    skipped: Sequence[Skipped] = (),
    rules: Sequence[Rule] | None = None,
    repeat: Repeat | None = None,
) -> Comparison:
    """Compare records: each with the first, and all in one table. `repeat` makes control runs of pairs of which code is
    unexplained. Raises UsageError for too many.
    """
    if len(records) > MAX_RUNS:
        raise UsageError(f"{len(records)} runs are more than the {MAX_RUNS} that one comparison shows")
    records = [of_the_image(record) for record in records]
    names = run_names(records)
    facts = [facts_of(record) for record in records]
    ran = [Ran(record.coverage.functions) for record in records]
    runs = [_run(key, name, record) for key, name, record in zip(ascii_uppercase, names, records, strict=False)]
    pairs = [compare_facts(records[0], facts[0], records[i], facts[i], rules, (ran[0], ran[i])) for i in range(1, len(records))]
    if repeat is not None:
        pairs = settled(pairs, repeat)
    return Comparison(
        tool=f"efishim {efishim.__version__}",
        runs=runs,
        skipped=list(skipped),
        rows=rows(facts) if len(records) > 1 else [],
        pairs=[pair_view(names[0], name, pair) for name, pair in zip(names[1:], pairs, strict=True)],
    )


def not_followed(comparison: Comparison, records: Sequence[Record]) -> list[str]:
    """Images of which code stays unexplained because nothing could be looked up in them."""
    code = any(one.fact.kind is Kind.CODE for pair in comparison.pairs for one in pair.unexplained)
    linux = [one for one in records if any(function.part == KERNEL for function in one.coverage.functions)] if code else []
    return sorted({one.image.path for one in linux if kernel_of(one) is None})


def run_names(records: Sequence[Record]) -> list[str]:
    """provider/entry, with @platform where the platforms differ, and a number where that is not enough."""
    routes = [f"{record.route.provider}/{record.route.entry}" for record in records]
    if len({record.route.platform for record in records}) > 1:
        routes = [f"{route}@{record.route.platform}" for route, record in zip(routes, records, strict=True)]
    names = []
    for index, route in enumerate(routes):
        number = routes[: index + 1].count(route)
        names.append(route if routes.count(route) == 1 else f"{route}#{number}")
    return names


def _run(key: str, name: str, record: Record) -> RunView:
    cost, outcome = costs(record), record.outcome
    return RunView(
        key=key,
        name=name,
        provider=record.route.provider,
        entry=record.route.entry,
        platform=record.route.platform,
        image=record.image.path,
        image_sha256=record.image.sha256,
        version=record.image.version,
        met=outcome.met,
        goal=outcome.goal.value,
        reached=outcome.reached.value if outcome.reached else "",
        verdict=_verdict(record),
        milestones=[
            Point(
                name=point.name.value,
                insns=point.insns,
                virtual_ns=point.virtual_ns,
                at="" if point.at is None else point.at.shown,
            )
            for point in record.milestones
        ],
        insns=cost.insns,
        calls=dict(cost.calls),
        hardware=dict(cost.hardware),
        blocks=cost.blocks,
        notes=list(record.notes),
        reproduce=record.reproduce,
    )


def _verdict(record: Record) -> str:
    outcome = record.outcome
    detail = f": {outcome.details}" if outcome.details else ""
    if outcome.met:
        return f"reached {outcome.goal.value}{detail}"
    where = f" at {outcome.at.shown}" if outcome.at is not None else ""
    last = f"after {outcome.reached.value}" if outcome.reached else "before any milestone"
    return f"did not reach {outcome.goal.value}: {outcome.reason.value}{where}{detail}, {last}"


def pair_view(left: str, right: str, pair: Pair) -> PairView:
    """A pair as the document has it."""
    groups: dict[str, list[Judged]] = {}
    for one in pair.judged:
        if one.verdict.rule is not None:
            groups.setdefault(one.verdict.rule.name, []).append(one)
    return PairView(
        left=left,
        right=right,
        answers=answers(left, right, pair),
        identical=pair.identical,
        unexplained=[_difference(one) for one in pair.of(Class.UNEXPLAINED)],
        groups=[_group(members) for _, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))],
        unused=list(pair.unused),
    )


def _group(members: Sequence[Judged]) -> Group:
    rule = members[0].verdict.rule
    assert rule is not None
    return Group(
        rule=rule.name,
        kind=rule.kind.value,
        reason=rule.reason,
        source=rule.source,
        differences=[_difference(one) for one in members],
    )


def _difference(one: Judged) -> DifferenceView:
    found = one.difference
    return DifferenceView(fact=found.fact, left=found.left, right=found.right, side=one.side, also=list(found.also))


def rows(facts: Sequence[Facts]) -> list[Row]:
    """The facts in which any two differ. What shows the same at several stages of the boot is one row."""
    found: dict[tuple[object, tuple[int, ...], tuple[str, ...]], Row] = {}
    for side in Side:
        tables = [one.of(side) for one in facts]
        first = tables[0]
        every = {fact for table in tables for fact in table}
        differing = {fact for table in tables[1:] for fact in every if table.get(fact, ABSENT) != first.get(fact, ABSENT)}
        for fact in sorted(differing, key=_by_stage):
            texts = [table.get(fact, ABSENT) for table in tables]
            values = list(dict.fromkeys(text for text in texts if text))
            cells = [values.index(text) if text else -1 for text in texts]
            key = (fact.stageless, tuple(cells), tuple(values))
            if key not in found:
                found[key] = Row(fact=fact, side=side, values=values, cells=cells)
    return sorted(found.values(), key=lambda row: (row.side is not Side.INPUTS, row.path))


def _by_stage(fact: Fact) -> tuple[int, str]:
    return stage_number(fact), fact.path
