"""The violated ABI rules of a record as lines of text: rule, demand, what was found, and where the specification says so."""

from __future__ import annotations

from collections.abc import Iterable

from efishim.lab.record import AbiViolation, Record

FOUND = 3
"""Most things that are listed of one rule."""


def violations(record: Record) -> list[str]:
    """Lines for people, none when no rule is violated."""
    return violation_lines(record.route.entry, record.abi or ())


def violation_lines(entry: str, violated: Iterable[AbiViolation]) -> list[str]:
    """The same of what was found at an entry."""
    by_rule: dict[str, list[AbiViolation]] = {}
    for one in violated:
        by_rule.setdefault(one.rule, []).append(one)
    if not by_rule:
        return []
    count = len(by_rule)
    lines = [f"the handover at the entry {entry} violates {count} {'rule' if count == 1 else 'rules'}:"]
    for rule, found in by_rule.items():
        lines += [f"  {rule}: {demand(found[0])}"]
        lines += [f"      found: {one.found}" for one in found[:FOUND] if one.found]
        if len(found) > FOUND:
            lines.append(f"      and {len(found) - FOUND} more of this rule")
        lines.append(f"      specification: {found[0].source}")
    return lines


def demand(violation: AbiViolation) -> str:
    """What the rule demands. Older records have it in the sentence only, with what was found."""
    return violation.sentence.removesuffix(f"; {violation.found}.") if violation.found else violation.sentence
