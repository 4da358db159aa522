"""What rules must not explain: each carries at least one counter-case, and none of them is explained by any rule."""

from __future__ import annotations

import pytest

from efishim.compare.agreement import oracle_rules
from efishim.compare.rules import Class, Rule, parse_rules, shipped_rules
from tests.compare.counter_cases import judged

RULES = [rule for rule in shipped_rules() if not all(path.pattern.startswith("code") for path in rule.paths)]


def test_each_rule_has_a_counter_case() -> None:
    assert [rule.name for rule in RULES if not rule.counter] == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.counter], ids=lambda rule: rule.name)
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
