"""The reference of rules: those by which comparisons classify differences, and those that entries are checked against."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from itertools import groupby

from efishim.compare.predicates import PREDICATES
from efishim.lab.abi import all_rules
from efishim.provider.checking import Requirement

FILES = {
    "rules.toml": ("Between routes", "Rules of `compare` between two routes on one platform."),
    "platforms.toml": ("Between platforms", "Rules of `compare` for the same kernel on two platforms."),
    "oracle.toml": ("Against QEMU", "Rules of `oracle`, between efishim's machine and QEMU with real firmware."),
}
"""Files of rules in efishim/compare: heading and summary."""

CONDITIONS = {
    "differs": "one of these was chosen differently",
    "one": "exactly one of the runs has one of",
    "both": "both runs have",
    "only": "only the run that has the fact has",
    "without": "only the run that lacks the fact has",
    "accepts": "the values are related by",
    "present": "both runs have the fact",
}
"""Keys of a rule that restrict it, as the page says them."""


def comparison_rules(head: str) -> str:
    """Every shipped rule of comparisons, by file, and the predicates that they use."""
    parts = [
        head,
        "# Comparison rules\n\n"
        "A difference between two runs is explained if a rule names its fact, was allowed to speak, and accepts both values. "
        "Every rule about values has counter-cases: differences of the same fact that it must not explain. "
        "[Comparing routes](../compare.md) describes how they are applied; `efishim compare --rules-used` lists those that "
        "explained something.\n\n",
    ]
    for file, (heading, summary) in FILES.items():
        rows = tomllib.loads((resources.files("efishim.compare") / file).read_text(encoding="utf-8"))
        parts.append(f"## {heading}\n\n{summary} {len(rows)} rules, in the order in which they are tried.\n\n")
        parts += [_rule(name, row) for name, row in rows.items()]
    parts.append("## Predicates\n\nWhat `accepts` in a rule names. All predicates of a rule must hold.\n\n")
    parts += [f"`{name}`\n: {_sentence(one.__doc__ or '')}\n\n" for name, one in sorted(PREDICATES.items())]
    return "".join(parts).rstrip() + "\n"


def _rule(name: str, row: Mapping[str, object]) -> str:
    """One rule: what it is about, when it speaks, why, and what it must not explain."""
    lines = [f"### {name}\n\n{row['reason']} Class: *{row['class']}*.\n\n"]
    lines.append(f"* facts: {_codes(row['paths'])}\n")
    for key, words in CONDITIONS.items():
        if key in row:
            lines.append(f"* {words}\n" if row[key] is True else f"* {words}: {_codes(row[key])}\n")
    if "values" in row:
        lines.append(f"* the values match `{str(row['values']).encode('unicode_escape').decode()}`\n")
    lines.append(f"* source: {_cited(str(row['source']))}\n")
    counter = row.get("counter", [])
    assert isinstance(counter, list)
    lines += [f"* does not explain: `{one['path']}`, {_value(one, 'left')} against {_value(one, 'right')}\n" for one in counter]
    return "".join([*lines, "\n"])


def _codes(words: object) -> str:
    return ", ".join(f"`{one}`" for one in (words if isinstance(words, list) else [words]))


def _value(case: Mapping[str, str], side: str) -> str:
    """The value of a counter-case on one side, in one line."""
    if side not in case:
        return "no such fact"
    shown = case[side].encode("unicode_escape").decode()
    if not shown:
        return "an empty value"
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def _cited(text: str) -> str:
    """A source without what Markdown would read as emphasis or HTML."""
    return text.replace("*", "\\*").replace("_", "\\_").replace("<", "\\<")


def _sentence(text: str) -> str:
    return " ".join(text.split()).replace("*", "\\*").replace("<", "\\<")


def abi_rules(head: str) -> str:
    """Every rule that an entry, or a provider, is checked against, grouped by the first part of its name."""
    parts = [
        head,
        "# ABI rules\n\n"
        "Before the first instruction of the image, efishim checks the handover against the specification of the entry. "
        "The record, the summary of `run` and `efishim check` name every rule that is violated. "
        "`efishim rules` prints this list.\n\n",
    ]
    for group, rows in groupby(all_rules().values(), key=lambda one: one[0].id.partition("/")[0]):
        parts.append(f"## {group}\n\n| rule | what must hold | specification | checked at |\n|---|---|---|---|\n")
        parts += _abi_rows(rows)
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def _abi_rows(rows: Iterator[tuple[Requirement, tuple[str, ...]]]) -> Iterator[str]:
    for rule, entries in rows:
        where = ", ".join(f"`{one}`" for one in entries) or "the conformance kit"
        cells = (f"`{rule.id}`", _cited(rule.demand), _cited(rule.reference), where)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
