"""Rules that plugins add: parsed, held to what is asked of shipped ones, and named with their distribution."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from efishim.compare.counter_cases import tried
from efishim.compare.evidence import Seen
from efishim.compare.facts import fact_at
from efishim.compare.pair import facts_of
from efishim.compare.rules import CounterCase, Rule, Traits, parse_rules, shipped_rules
from efishim.compare.traits import changed, traits
from efishim.errors import UsageError
from efishim.lab.abi import all_rules
from efishim.lab.record import Milestone, Record
from efishim.plugin_guard import PluginError
from efishim.plugins import Registry

HOOK = "efishim_rules"
NEVER: tuple[str, ...] = (
    "outcome", *(f"milestone.{one.value}" for one in Milestone if one not in (Milestone.LOADER, Milestone.EXIT_BOOT_SERVICES)),
    *(f"abi.{rule}" for rule in all_rules()), "log.BUG: something", "startup_64.command_line.x", "code.start_kernel",
    "code.start_kernel -> something", "code.? -> something",
)  # fmt: skip
"""Facts that no rule may cover: how a run ends and which milestones it reaches, violated rules of a protocol, what a kernel
complains about, and code at large.
"""
PLACE = re.compile(r"\S.*, \S.*|\S.* sections? \d.*")
"""One part of a source: a file with a function or a heading, or a section of a document."""


def rules_of(registry: Registry) -> tuple[Rule, ...]:
    """The shipped rules, then those of plugins, which decide only about what no shipped rule explains. A set with a rule that
    is not as strict as a shipped one is left out as a whole, and the registry says why.
    """
    added: list[Rule] = []
    for name, one in registry.rules.items():
        distribution = registry.distribution(registry.owner(HOOK, name))
        try:
            rules = parse_rules(one.toml, f"the rules {name} of {distribution}")
        except UsageError as error:
            registry.refuse(HOOK, name, error.sentence)
            continue
        problem = next((f"rule {rule.name} of {name}: {found}" for rule in rules for found in laxities(rule)), "")
        if problem:
            registry.refuse(HOOK, name, problem)
        else:
            added += [replace(rule, name=f"{distribution}:{rule.name}") for rule in rules]
    return (*shipped_rules(), *added)


def laxities(rule: Rule) -> list[str]:
    """In what a rule is less strict than the shipped ones, a clause each."""
    found = []
    if not rule.reason.endswith("."):
        found.append("the reason is a sentence with a full stop")
    if not all(PLACE.fullmatch(part) for part in rule.source.split("; ")):
        found.append("the source says where to look: `file, function()`, or a document with its section")
    if any(map(rule.names, NEVER)):
        found.append("its paths cover what no rule may explain")
    if not rule.is_of_code and not rule.counter:
        found.append("it has no counter-case, a difference that it must not explain")
    if rule.is_of_code_at_large:
        found.append("code is explained by where it branches off: `code.CALLER -> CALLED`")
    found += [f"{case.path} of a counter-case is no fact" for case in rule.counter if not _is_fact(case)]
    if rule.counter and not any(rule.names(case.path) for case in rule.counter):
        found.append("none of its counter-cases is about what its paths name")
    return found


def _is_fact(case: CounterCase) -> bool:
    try:
        fact_at(case.path)
    except ValueError:
        return False
    return True


def hold_to_counter_cases(rules: Sequence[Rule], records: Sequence[Record]) -> None:
    """Put the counter-cases of added rules into the runs that are compared; none may be explained by its rule. Raises
    PluginError naming the rule.
    """
    added = rules[len(shipped_rules()) :]
    if not added or len(records) < 2:
        return
    words = [traits(record) for record in records]
    others = list(zip(words[1:], records[1:], strict=True))
    speaking = [rule for rule in added if any(rule.applies(words[0], word, changed(records[0], one)) for word, one in others)]
    if not speaking:
        return
    runs = [Seen(record, facts_of(record)) for record in records]
    for rule in speaking:
        for run, other in zip(runs[1:], words[1:], strict=True):
            if not rule.applies(words[0], other, changed(records[0], run.record)):
                continue
            # On the left of a counter-case is the run with the word that the rule asks for.
            turned = not _leads(rule, words[0])
            pair, theirs = ((run, runs[0]), (other, words[0])) if turned else ((runs[0], run), (words[0], other))
            for case in rule.counter:
                verdicts = tried((rule,), rule, case, pair, theirs)
                if any(verdict.rule is not None for _, verdict in verdicts):
                    raise PluginError(f"the rule {rule.name} explains its own counter-case {case.path}")


def _leads(rule: Rule, words: Traits) -> bool:
    leading = {rule.only or rule.without} if rule.only or rule.without else set(rule.one)
    return not leading or bool(leading & words.words)
