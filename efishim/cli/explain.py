"""`efishim explain`: the rules about a fact, or one rule, with its source and its counter-cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.errors import UsageError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.compare.rules import CounterCase, Rule
    from efishim.provider import Requirement

BRIEF = 8
"""More rules than these are listed by name."""


@click.command("explain")
@click.argument("word", metavar="FACT|RULE")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def command(state: State, /, word: str, form: str) -> None:
    """Explain what a FACT means and which rules may explain a difference in it, or a RULE with its sources and limits.

    FACT is a path as `efishim compare` prints it. RULE is the name of a comparison rule, as `compare` and `compare
    --rules-used` print it, or of an ABI rule, as `efishim rules` lists them.

    \b
        efishim explain startup_64.boot_params.hdr.type_of_loader
        efishim explain "kernel placement"
        efishim explain pvh/cr4
    """
    from efishim.cli.out import heading, print_json
    from efishim.closest import suggestion
    from efishim.compare.added import rules_of
    from efishim.compare.explained import WHERE, about, named, oracle_rules
    from efishim.lab.abi import all_rules, checkers

    rules = (*rules_of(state.registry), *oracle_rules())
    demands = all_rules(checkers(state.registry.entries.values()))
    first = word.partition(".")[0]
    if word in demands:
        requirement, entries = demands[word]
        found: dict[str, Any] = _demand(requirement, entries)
    elif chosen := named(word, rules):
        found = {"rules": [_rule(rule) for rule in chosen]}
    elif first in WHERE:
        chosen = about(word, rules)
        found = {"fact": word, "meaning": WHERE[first], "rules": [_rule(rule) for rule in chosen]}
    else:
        known = (*(rule.name for rule in rules), *demands)
        hint = f"{suggestion(word, known)}a fact begins with one of: {', '.join(WHERE)}"
        raise UsageError(f"{word!r} is neither a fact nor a rule", hint=hint)
    if form == "json":
        print_json(found)
        return
    if "fact" in found:
        heading(word)
        _lines([f"It is {found['meaning']}."])
        if not found["rules"]:
            _lines(["No rule explains a difference of it: every one is reported as unexplained."])
        elif len(found["rules"]) > BRIEF:
            _lines([f"{len(found['rules'])} rules may explain a difference of it; `efishim explain RULE` shows one:"])
            _lines([f"  {rule['rule']}" for rule in found["rules"]])
            return
    for rule in found.get("rules", ()):
        heading(rule["rule"], rule["class"])
        _lines(_said(rule))
    if "demand" in found:
        heading(word)
        _lines(_said(found))


def _rule(rule: Rule) -> dict[str, Any]:
    speaks = {
        "one of the runs, and not the other, has": rule.one,
        "both runs have": rule.both,
        "only the run that has the fact has": (rule.only,) if rule.only else (),
        "only the run that lacks the fact has": (rule.without,) if rule.without else (),
        "the values are related by": rule.accepts,
    }
    return {
        "rule": rule.name,
        "class": str(rule.kind.value),
        "says": rule.reason,
        "speaks if": [f"one of these was chosen differently: {', '.join(rule.differs)}"]
        + [f"{what}: {', '.join(words)}" for what, words in speaks.items() if words]
        + (["both runs have the fact"] if rule.present else []),
        "sources": _sources(rule.source),
        "does not explain": [_case(case) for case in rule.counter],
    }


def _case(case: CounterCase) -> str:
    return f"{case.path}: {case.left or 'no such fact'} against {case.right or 'no such fact'}"


def _demand(rule: Requirement, entries: Sequence[str]) -> dict[str, Any]:
    where = f"the entries {', '.join(entries)}" if entries else "providers, by the conformance kit"
    return {
        "rule": rule.id,
        "demand": f"{rule.demand}.",
        "says": f"{rule.demand}.",
        "speaks if": [f"it is checked at {where}"],
        "sources": _sources(rule.reference),
        "does not explain": [],
    }


def _sources(text: str) -> list[dict[str, str]]:
    from efishim.report.sources import cited

    return [{"text": one.text, "link": one.link} for one in cited(text)]


def _said(rule: dict[str, Any]) -> Iterator[str]:
    yield rule["says"]
    yield from (f"* {line}" for line in rule["speaks if"])
    for source in rule["sources"]:
        yield f"source: {source['text']}"
        if source["link"]:
            yield f"        {source['link']}"
    yield from (f"does not explain: {line}" for line in rule["does not explain"])


def _lines(lines: Sequence[str] | Iterator[str]) -> None:
    from efishim.cli.out import paragraph

    for line in lines:
        paragraph(line)
