"""What rules of `compare` give as the reason is checked by experiment on a stock kernel: the item switches the differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from efishim.compare.pair import Pair, compare
from efishim.compare.rules import shipped_rules
from efishim.image.opened import open_image
from efishim.lab.plan.plan import Blob
from efishim.lab.plan.routes import plan_routes
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from efishim.why.build import plain_plan
from efishim.why.causes import Way, differing
from efishim.why.items import difference
from efishim.why.laboratory import Laboratory
from efishim.why.side import arrive, meet

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

EFI, MAP, OTHER = ("boot_params.secure_boot", "efi_info"), ("e820",), ("boot_params.hdr.version", "ramdisk")
REASONS = {
    "runtime services": EFI,
    "log of EFI": EFI,
    "sysfs of EFI": EFI,
    "EFI's tables": EFI,
    "runtime map": EFI,
    "how much of the firmware's memory is freed": EFI,
    "maps that the kernel shows": MAP,
    "log of the memory map": MAP,
    "NVS that the kernel keeps": MAP,
    "ramdisk in the log": OTHER,
    "kernel version field in sysfs": OTHER,
}
"""Rules, and the items that their reasons name: what the stub told of EFI, the memory map, the ramdisk's place, hdr.version."""


@dataclass(frozen=True)
class Experiments:
    """hvmlite/efi and hvmlite/pvh at startup_64, and how `compare` explains their differences."""

    way: Way
    pair: Pair
    facts: frozenset[str]

    def explained(self, rule: str) -> Iterator[str]:
        """Differences behind startup_64 that the rule explains."""
        for one in self.pair.judged:
            if one.verdict.rule is not None and one.verdict.rule.name == rule and str(one.difference.fact) in self.facts:
                yield str(one.difference.fact)

    def contradicting(self, rule: str, items: tuple[str, ...]) -> list[str]:
        """Differences that the rule explains, and that the second side has still when it gets these items of the first."""
        return [fact for fact in self.explained(rule) if not self.way.switched(items, fact)]


@pytest.fixture(scope="module")
def experiments(cloud_kernel: Path) -> Experiments:
    registry, blob = load_plugins(), Blob.from_file(cloud_kernel)
    found, _ = plan_routes(registry, open_image(blob.read(), path=blob.label), blob, (), {})
    plans = [plain_plan(next(plan for plan in found if plan.route == route)) for route in ("hvmlite/efi", "hvmlite/pvh")]
    one, other = (run_plan(plan) for plan in plans)
    first, second = (arrive(plan, registry) for plan in plans)
    start = meet(first, second)
    laboratory = Laboratory(first, second, difference(first, second), start, jobs=2)
    truth = laboratory.plain()
    way = Way(laboratory, 1, truth[1], truth[0])
    laboratory.run(way.key(items) for items in (EFI, MAP, OTHER))
    return Experiments(way, compare(one, other), frozenset(differing(*truth)))


@pytest.mark.parametrize("rule", REASONS)
def test_the_reason_of_a_rule_is_shown_by_experiment(experiments: Experiments, rule: str) -> None:
    assert rule in {one.name for one in shipped_rules()}
    assert list(experiments.explained(rule)), "the rule explains nothing here, so the experiment would show nothing"
    assert experiments.contradicting(rule, REASONS[rule]) == []


@pytest.mark.parametrize("rule", REASONS)
def test_another_reason_would_be_contradicted(experiments: Experiments, rule: str) -> None:
    for items in {EFI, MAP, OTHER} - {REASONS[rule]}:
        assert experiments.contradicting(rule, items), items
