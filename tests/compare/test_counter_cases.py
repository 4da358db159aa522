"""What rules must not explain: each carries at least one counter-case, and none of them is explained by any rule."""

from __future__ import annotations

import dataclasses

import pytest

from efishim.compare.agreement import oracle_rules
from efishim.compare.counter_cases import tried
from efishim.compare.rules import Class, CounterCase, Rule, parse_rules, shipped_rules
from tests.compare.counter_cases import judged, seen, words

RULES = shipped_rules()


def test_each_rule_has_a_counter_case() -> None:
    assert [rule.name for rule in RULES if not rule.counter] == []


def test_each_rule_about_code_names_a_side_a_predicate_or_what_has_to_be_shown() -> None:
    code = [rule for rule in RULES if rule.is_of_code]
    assert [rule.name for rule in code if not (rule.is_tied or rule.accepts or rule.follows or rule.control)] == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_a_rule_must_not_explain_is_unexplained(rule: Rule) -> None:
    verdicts = [(case.path, where, verdict) for case in rule.counter for where, verdict in judged(shipped_rules(), rule, case)]
    assert [(path, where, verdict.rule and verdict.rule.name) for path, where, verdict in verdicts if verdict.rule] == []
    assert all(verdict.kind is Class.UNEXPLAINED for _, _, verdict in verdicts)


ORACLE = oracle_rules()


def test_each_rule_of_the_oracle_has_a_counter_case() -> None:
    assert [rule.name for rule in ORACLE if not rule.counter] == []


def test_each_rule_of_the_oracle_relates_values_or_is_held_to_one_side() -> None:
    """But for leftovers in registers that no specification asks for, and what is a matter of the host's time."""
    free = [rule.name for rule in ORACLE if not (rule.accepts or rule.values or rule.only or rule.without or rule.one)]
    assert set(free) <= LEFT_FREE


LEFT_FREE = {
    "registers at startup_64",
    "what UEFI does not promise in registers",
    "what loaders leave in registers",
    "what GRUB's relocator leaves in registers",
    "what QEMU's PVH loader leaves in registers",
    "what is printed over the serial line twice",
    "bytes of the clock's memory",
    "how the TSC was measured",
    "interrupt threads of an RT kernel",
    "how long something took",
}


@pytest.mark.parametrize("rule", ORACLE, ids=lambda rule: rule.name)
def test_what_a_rule_of_the_oracle_must_not_explain_is_unexplained(rule: Rule) -> None:
    verdicts = [(case.path, where, verdict) for case in rule.counter for where, verdict in judged(oracle_rules(), rule, case)]
    assert [(path, where, verdict.rule and verdict.rule.name) for path, where, verdict in verdicts if verdict.rule] == []


LOOSE = """
[name]
class = "by design"
paths = ["startup_64.boot_params.hdr.type_of_loader"]
differs = ["route"]
reason = "it is so"
source = "a file"
counter = [{path = "startup_64.boot_params.hdr.type_of_loader", left = "0x21", right = "0x50"}]
"""


def test_a_rule_that_explains_too_much_is_found_by_its_counter_case() -> None:
    (rule,) = parse_rules(LOOSE, "test")
    kinds = {where: verdict.kind for where, verdict in judged((rule,), rule, rule.counter[0])}
    assert kinds == {"same plan": Class.UNEXPLAINED, "across routes": Class.BY_DESIGN}
    (strict,) = parse_rules(LOOSE + 'accepts = ["loaders-number"]\n', "test")
    kinds = {where: verdict.kind for where, verdict in judged((strict,), strict, strict.counter[0])}
    assert set(kinds.values()) == {Class.UNEXPLAINED}


def test_a_rule_about_code_that_names_no_side_is_found_by_its_counter_case() -> None:
    (rule,) = (one for one in RULES if one.name == "code of KVM's guest")
    loose = dataclasses.replace(rule, only="", one=(rule.only,))
    assert {verdict.kind for _, verdict in judged((loose,), loose, rule.counter[0])} == {Class.UNEXPLAINED, Class.BY_DESIGN}


def test_what_has_to_be_shown_explains_nothing_on_one_plan() -> None:
    """Nor between routes, where it is not shown."""
    for rule in RULES:
        if rule.follows or rule.control:
            assert {verdict.kind for _, verdict in judged((rule,), rule, rule.counter[0])} == {Class.UNEXPLAINED}


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        ("BOOT_IMAGE=/x console=ttyS0", "console=ttyS0", Class.BY_DESIGN),
        ("console=ttyS0", "BOOT_IMAGE=/x console=ttyS0", Class.UNEXPLAINED),
        ("auto BOOT_IMAGE=/x console=ttyS0", "console=ttyS0", Class.UNEXPLAINED),
    ],
)
def test_only_a_loader_adds_words_and_only_its_own(left: str, right: str, kind: Class) -> None:
    """GRUB on the left, no boot loader on the right; `auto` is LILO's."""
    (rule,) = (one for one in RULES if one.name == "what the loader adds to the command line")
    case = CounterCase("startup_64.command_line", left, right)
    routes = ("grub/linux64", "hvmlite/pvh")
    runs, told = tuple(map(seen, routes)), tuple(map(words, routes))
    verdicts = dict(tried((rule,), rule, case, (runs[0], runs[1]), (told[0], told[1])))
    assert verdicts["across routes"].kind is kind
