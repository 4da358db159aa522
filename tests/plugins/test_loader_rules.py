"""The rules about real boot loaders are as strict as efishim's own, and explain what they say and nothing beside."""

from __future__ import annotations

import re

import pytest

from efishim.compare.added import laxities, rules_of
from efishim.compare.rules import Rule
from efishim.plugins import load_plugins


@pytest.fixture(scope="module")
def rules() -> dict[str, Rule]:
    registry = load_plugins()
    found = {rule.name.partition(":")[2]: rule for rule in rules_of(registry) if rule.name.startswith("efishim:")}
    assert registry.problems == ()
    return found


def test_they_are_there_and_as_strict_as_the_shipped_ones(rules: dict[str, Rule]) -> None:
    assert len(rules) == 4
    for rule in rules.values():
        assert laxities(rule) == []


@pytest.mark.parametrize(
    ("left", "right", "explained"),
    [
        ("console=ttyS0", "console=ttyS0 initrd=\\initrd.img", True),
        ("console=ttyS0", "initrd=\\initrd.img console=ttyS0", True),
        ("console=ttyS0", "console=ttyS0 quiet", False),
        ("console=ttyS0 quiet", "console=ttyS0 initrd=\\initrd.img", False),
        ("console=ttyS0", "initrd=\\initrd.img quiet console=ttyS0", False),
    ],
)
def test_only_initrd_is_what_a_loader_may_add(rules: dict[str, Rule], left: str, right: str, explained: bool) -> None:
    values = rules["initrd= of a boot loader"].values
    assert values is not None
    pattern = values if isinstance(values, str) else values.pattern
    assert bool(re.fullmatch(pattern, f"{left}\n{right}")) is explained
