"""Debian's kernel for clouds through all routes that it has: every difference of every pair is explained, by narrow rules."""

from __future__ import annotations

import os
import re
from itertools import combinations
from pathlib import Path

import pytest

from efishim.compare.build import build
from efishim.compare.facts import Facts, Side
from efishim.compare.inputs import inputs
from efishim.compare.pair import Pair, compare, compare_facts, facts_of
from efishim.compare.rules import Class
from efishim.image.opened import open_image
from efishim.lab.matrix import Result, run_matrix
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.plan.routes import plan_routes
from efishim.lab.record import MilestonePoint, Record, encode, without_wall_clock
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from efishim.report.html import render
from efishim.testing import run
from tests.compare.changes import CHANGES
from tests.compare.defects import DEFECTS
from tests.compare.test_document_mutations import changed, document, leaves, other
from tests.support.browser import browser, pages_of
from tests.support.control_runs import unexplained
from tests.support.pace import slowness

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

RECORD_LIMIT = 3 << 20
REPORT_LIMIT = 5 << 20
OPENING_LIMIT = 2.0
"""Processor seconds of the thread that shows the page."""
PAPER_LIMIT = 20
"""Pages of A4."""
LEAST_PICTURE = 50_000
"""Bytes of PNG: text and pictures, no empty page."""


class Silent:
    def milestone(self, index: int, point: MilestonePoint) -> None: ...

    def tick(self, index: int, insns: int, rate: float) -> None: ...

    def finished(self, index: int, result: Result) -> None: ...


@pytest.fixture(scope="module")
def plans(cloud_kernel: Path) -> dict[str, Plan]:
    registry, blob = load_plugins(), Blob.from_file(cloud_kernel)
    found, _ = plan_routes(registry, open_image(blob.read(), path=blob.label), blob, (), {})
    return {plan.route: plan for plan in found}


@pytest.fixture(scope="module")
def records(plans: dict[str, Plan]) -> dict[str, Record]:
    """All routes, over all processors."""
    results = run_matrix(list(plans.values()), jobs=os.cpu_count() or 1, progress=Silent())
    assert [result.failure for result in results if result.record is None] == []
    return {result.plan.route: result.record for result in results if result.record is not None}


def test_every_route_reaches_userspace(records: dict[str, Record]) -> None:
    assert len(records) >= 10
    assert [route for route, record in records.items() if not record.outcome.met] == []


def test_nothing_is_unexplained_between_any_two_routes(records: dict[str, Record]) -> None:
    facts = {route: facts_of(record) for route, record in records.items()}
    pairs = {
        (one, two): compare_facts(records[one], facts[one], records[two], facts[two]) for one, two in combinations(records, 2)
    }
    assert unexplained(pairs) == []


@pytest.mark.parametrize("route", ["hvmlite/pvh", "firmware/efi"])
def test_the_record_of_a_matrix_is_that_of_the_single_run(
    route: str, plans: dict[str, Plan], records: dict[str, Record]
) -> None:
    assert encode(without_wall_clock(records[route])) == encode(without_wall_clock(run_plan(plans[route])))


def test_a_record_is_small(records: dict[str, Record]) -> None:
    assert {route: len(encode(record)) for route, record in records.items() if len(encode(record)) > RECORD_LIMIT} == {}


def test_the_report_of_the_whole_matrix_is_small_opens_quickly_and_prints_on_few_pages(
    records: dict[str, Record], tmp_path: Path
) -> None:
    found = tuple(records.values())
    page = render(build(found), found)
    assert len(page.encode()) < REPORT_LIMIT
    with browser(page, tmp_path) as window:
        limit = OPENING_LIMIT * slowness()
        assert window.seconds_to_paint(enough=limit) <= limit
        picture = window.picture(1280, 2000)
        assert pages_of(window.pdf()) < PAPER_LIMIT
        assert window.messages == []
    assert len(picture) > LEAST_PICTURE


SWALLOWED = re.compile(
    # Between two entries these are by design another, whatever they are: the processor at the entry and at startup_64
    # (whose contract the entry checkers hold), the structure that only one of them has, and addresses.
    r".*\.cpu\..*|entry_view\.structures\..*|.*\.address|.*\.boot_params\._pad\d"
    # Said twice in the document.
    r"|.*\.e820\.\d+\.type|.*\.efi\.loader_signature|.*\.problem"
)


def test_one_changed_value_is_noticed_between_two_routes_too(records: dict[str, Record]) -> None:
    """The rules for hvmlite/efi against hvmlite/pvh explain what differs, and not what could."""
    left, right = records["hvmlite/efi"], records["hvmlite/pvh"]
    facts = inputs_of(left)
    missed, found = [], 0
    for part in ("machine", "entry_view", "boot_view"):
        for path, value in leaves(document(right, part)):
            name = ".".join(map(str, (part, *path)))
            if SWALLOWED.fullmatch(name):
                continue
            mutant = changed(right, part, path, other(value))
            if compare_facts(left, facts, mutant, inputs_of(mutant)).of(Class.UNEXPLAINED):
                found += 1
            else:
                missed.append(name)
    assert missed == []
    assert found > 200


def inputs_of(record: Record) -> Facts:
    """The facts of a record that are inputs."""
    found, maps = inputs(record)
    return Facts(found, {}, maps)


CHANGED, OTHERS = "hvmlite/efi", ("hvmlite/pvh", "firmware/efi", "grub/linux64")


def marks(pair: Pair) -> dict[tuple[str, str, str], Class]:
    """Each difference with its class."""
    return {(one.difference.path, one.difference.left, one.difference.right): one.verdict.kind for one in pair.judged}


def test_one_change_of_any_part_is_explained_nowhere(records: dict[str, Record]) -> None:
    """Not on the same plan, and not against another route: it shows there as a difference of its own."""
    facts = {route: facts_of(records[route]) for route in (CHANGED, *OTHERS)}

    def against(route: str, mutant: Record, its: Facts) -> dict[tuple[str, str, str], Class]:
        return marks(compare_facts(records[route], facts[route], mutant, its))

    before = {route: against(route, records[CHANGED], facts[CHANGED]).keys() for route in OTHERS}
    wrong = []
    for name, change in CHANGES.items():
        mutant = change(records[CHANGED])
        its = facts_of(mutant)
        if set(against(CHANGED, mutant, its).values()) != {Class.UNEXPLAINED}:
            wrong.append(f"{name}: explained on the same plan")
        for route in OTHERS:
            found = against(route, mutant, its)
            if not any(found[one] is Class.UNEXPLAINED for one in found.keys() - before[route]):
                wrong.append(f"{name}: explained against {route}")
    assert wrong == []


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_of_the_firmware_is_named(
    name: str, records: dict[str, Record], cloud_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory that the firmware keeps is another, in the code of the firmware."""
    clean = run(cloud_kernel, provider="hvmlite", entry="efi", until="startup_64")
    DEFECTS[name](monkeypatch)
    broken = run(cloud_kernel, provider="hvmlite", entry="efi", until="startup_64")
    same = compare(clean, broken)
    assert same.judged
    assert same.of(Class.UNEXPLAINED) == same.judged
    for route in OTHERS:
        paths = [one.difference.path for one in compare(records[route], broken).of(Class.UNEXPLAINED, Side.INPUTS)]
        assert any(path.startswith(("startup_64.efi.memory_map", "startup_64.e820[")) for path in paths), route


MACHINES = ("kvm", "hvmlite")
NAMED_BETWEEN_MACHINES = (
    "rsdp",
    "e820 hole",
    "Firmware Bug",
    "another warning of the report alone",
    "e820 kind in the log",
    "iomem",
)


def test_nothing_is_unexplained_between_machines_but_a_change_is(records: dict[str, Record], cloud_kernel: Path) -> None:
    """One route on three platforms, whose own facts explain what differs; and what somebody changed is no such fact."""
    found = {platform: run(cloud_kernel, provider="hvmlite", entry="pvh", platform=platform) for platform in MACHINES}
    everywhere = {"pc": records["hvmlite/pvh"], **found}
    pairs = {(a, b): compare(everywhere[a], everywhere[b]) for a, b in combinations(everywhere, 2)}
    assert unexplained(pairs) == []
    for name in NAMED_BETWEEN_MACHINES:
        assert compare(everywhere["pc"], CHANGES[name](everywhere["kvm"])).of(Class.UNEXPLAINED), name
