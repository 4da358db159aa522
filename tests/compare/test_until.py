"""Runs that end before the kernel does its own work: ways in that differ give no unexplained difference."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from efishim.compare.pair import compare
from efishim.compare.rules import Class
from efishim.lab.record import Record
from efishim.testing import run

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

ROUTES = (
    "hvmlite/efi",
    "hvmlite/pvh",
    "grub/linux64",
    "grub/linux32",
    "firmware/efi",
    "firmware/efi-mixed",
    "lilo/linux16",
    "kexec/linux64",
)


def unexplained(left: Record, right: Record) -> list[str]:
    return [one.difference.path for one in compare(left, right).of(Class.UNEXPLAINED)]


def on(kernel: Path, route: str, until: str) -> Record:
    provider, _, entry = route.partition("/")
    return run(kernel, provider=provider, entry=entry, until=until)


@pytest.mark.parametrize("until", ["startup_64", "start_kernel"])
def test_nothing_is_unexplained_before_the_kernel_does_its_work(until: str, cloud_kernel: Path) -> None:
    records = {route: on(cloud_kernel, route, until) for route in ROUTES}
    pairs = {(a, b): unexplained(records[a], records[b]) for a, b in combinations(ROUTES, 2)}
    assert {pair: paths for pair, paths in pairs.items() if paths} == {}
