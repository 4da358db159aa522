"""What `efishim oracle` prints: a table of boots, one of agreement, and lists of differences and reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.cli import out
from efishim.compare.agreement import Agreement, field_class
from efishim.oracle.boot_flows import BootFlow, find_boot_flow

if TYPE_CHECKING:
    from efishim.compare.pair import Judged
    from efishim.lab.record import Record
    from efishim.report.agreements import Judgement

SHOWN = ("entry", "startup_64", "start_kernel", "userspace", "shutdown")
"""The milestones that the table has a column for."""


def print_boots(judgement: Judgement, *, named: bool) -> None:
    if named:
        out.heading(judgement.kernel)
    rows = [_row(find_boot_flow(name), record) for name, record in judgement.records.items()]
    out.table(("route", *SHOWN, "firmware calls", "outcome"), rows)


def print_agreement(found: Mapping[str, Agreement], *, differences: bool, reasons: bool) -> None:
    print()
    rows = [
        (name, row.name, str(row.identical), str(row.explained), str(row.unexplained))
        for name, one in found.items()
        for row in one.rows
    ]
    out.table(("route", "fields", "identical", "explained", "unexplained"), rows)
    for name, one in found.items():
        for item in one.unexplained:
            difference = item.difference
            out.heading(f"{name}: {difference.path}")
            out.paragraph(f"efishim: {difference.left or '-'}")
            out.paragraph(f"QEMU:    {difference.right or '-'}")
    if differences:
        _print_differences(found)
    if reasons:
        _print_reasons(found)


def _print_differences(found: Mapping[str, Agreement]) -> None:
    """Both sides beside each other, by classes of fields; a dash where a side has nothing."""
    for name, one in found.items():
        for row in one.rows:
            judged = [item for item in one.judged if field_class(item.difference.fact) == row.name]
            if judged:
                out.heading(f"{name}: {row.name}")
                out.table(("what", "efishim", "QEMU", "why"), map(_side_by_side, judged))


def _side_by_side(item: Judged) -> tuple[str, ...]:
    rule = item.verdict.rule
    difference = item.difference
    return difference.path, difference.left or "-", difference.right or "-", rule.name if rule is not None else "unexplained"


def _print_reasons(found: Mapping[str, Agreement]) -> None:
    """Each rule once, with how many differences it explains."""
    rules = [item.verdict.rule for one in found.values() for item in one.judged if item.verdict.rule is not None]
    counts = Counter(rule.name for rule in rules)
    for rule in {rule.name: rule for rule in rules}.values():
        out.heading(rule.name, f"{counts[rule.name]} differences, {rule.kind.value}")
        out.paragraph(rule.reason)
        out.paragraph(rule.source)


def _row(flow: BootFlow, record: Record) -> tuple[str, ...]:
    seconds = {point.name.value: f"{point.seconds:.2f} s" for point in record.milestones}
    calls = str(len(record.firmware_calls)) if record.firmware_calls else "-"
    return (flow.name, *(seconds.get(name, "-") for name in SHOWN), calls, record.outcome.reason.value)
