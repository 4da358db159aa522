"""Agreement with real firmware as a table: a column per boot flow, a row per class of fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from efishim.compare.agreement import FIELDS, OTHER, Agreement
from efishim.lab.record import Record
from efishim.report.figures import release


@dataclass
class Judgement:
    """What was found about one kernel; the keys are names of ways."""

    kernel: str
    """Its version, or where it is when it tells none."""
    records: dict[str, Record] = field(default_factory=dict)
    """Of the boots on real firmware."""
    found: dict[str, Agreement] = field(default_factory=dict)

    @property
    def unfinished(self) -> list[str]:
        """A sentence for each boot on real firmware that did not meet its goal: there is nothing to compare with."""
        return [
            f"{name} did not finish on QEMU ({one.outcome.reason.value}): nothing is compared."
            for name, one in self.records.items()
            if not one.outcome.met
        ]

    @property
    def good(self) -> bool:
        """Every boot met its goal, and nothing is unexplained."""
        return all(one.outcome.met for one in self.records.values()) and not any(one.unexplained for one in self.found.values())


def markdown(judgements: Sequence[Judgement], *, reasons: bool = False) -> str:
    """A table for each kernel: identical / explained / unexplained, with a sum below; what is unexplained is listed."""
    parts = [f"QEMU {one}." for one in _versions(judgements)]
    for judgement in judgements:
        parts += [f"{release(judgement.kernel)}:", _table(judgement), *judgement.unfinished]
        unexplained = [
            f"* `{way}`: `{item.difference.path}`"
            for way, agreement in judgement.found.items()
            for item in agreement.unexplained
        ]
        if unexplained:
            parts += ["Unexplained:", "\n".join(unexplained)]
    if reasons:
        parts.append(_reasons(judgements))
    return "\n\n".join(parts)


def _versions(judgements: Iterable[Judgement]) -> list[str]:
    return sorted({record.tool.version for judgement in judgements for record in judgement.records.values()})


def _table(judgement: Judgement) -> str:
    found = judgement.found
    present = {row.name for agreement in found.values() for row in agreement.rows}
    names = [name for name in (*(name for name, _ in FIELDS), OTHER) if name in present]
    lines = [("fields", *(f"`{way}`" for way in found)), ("---",) * (len(found) + 1)]
    for name in names:
        lines.append((name, *(_cell(agreement, name) for agreement in found.values())))
    lines.append(("**all**", *(_cell(agreement) for agreement in found.values())))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(agreement: Agreement, name: str = "") -> str:
    rows = [row for row in agreement.rows if name in ("", row.name)]
    if not rows:
        return ""
    numbers = (sum(values) for values in zip(*((r.identical, r.explained, r.unexplained) for r in rows), strict=True))
    return " / ".join(map(str, numbers))


def _reasons(judgements: Iterable[Judgement]) -> str:
    rules = [
        item.verdict.rule
        for judgement in judgements
        for agreement in judgement.found.values()
        for item in agreement.judged
        if item.verdict.rule is not None
    ]
    counts = Counter(rule.name for rule in rules)
    lines = ["| differences | why | source |", "|---|---|---|"]
    for name, count in counts.most_common():
        rule = next(rule for rule in rules if rule.name == name)
        lines.append(f"| {count} {name} | {rule.reason} | {rule.source} |".replace("\n", " "))
    return "\n".join(lines)
