"""What a kernel did, as facts: the code that ran is the kernel's and its stub's, not that of a shim in the guest."""

from __future__ import annotations

import time

import pytest

from efishim.compare.behaviour import behaviour
from efishim.compare.facts import Kind, did
from efishim.compare.pair import compare
from efishim.lab.record import Coverage, FunctionCoverage, RouteName
from tests.records import a_record


def test_code_of_a_shim_in_the_guest_is_no_fact() -> None:
    functions = [
        FunctionCoverage(name="memset", part="shim", blocks=4),
        FunctionCoverage(name="start_kernel", part="kernel", blocks=12),
        FunctionCoverage(name="memcpy", part="kernel", blocks=1),
    ]
    facts, _ = behaviour(a_record(coverage=Coverage(blocks=17, functions=functions)))
    assert {fact for fact in facts if fact.kind is Kind.CODE} == {did(Kind.CODE, "start_kernel"), did(Kind.CODE, "memcpy")}


REPORT = "efishim-init: begin\n{}\nefishim-init: end\n"
HOSTILE = {
    "words that a line of an initcall has": "initcall " * 20_000 + " returned " * 20_000 + " after " * 20_000,
    "times of audit that do not end": "audit(" * 60_000,
    "tables without an address": "efi: " + "ACPI " * 60_000 + "=0x1 ",
    "a number of 5,000 digits": f"On node 0, zone DMA32: {'9' * 5000} pages in unavailable ranges",
    "a clock of 5,000 digits": f"rtc_cmos: setting system clock to 2016-04-07 ({'9' * 5000})",
    "memory of 5,000 digits": f"Memory: {'9' * 5000}K/1K available (1K reserved)",
    "a version that is no number": REPORT.format("efishim-init: [/sys/kernel/boot_params/version]\n| zzz"),
    "a version that could not be read": REPORT.format("efishim-init: [/sys/kernel/boot_params/version] error=-2"),
    "maps over maps, of kinds without end": "\n".join(
        f"BIOS-e820: [mem {n * 4096:#x}-0x7fffffff] {'k' * 180}" for n in range(4000)
    ),
    "maps over maps": "\n".join(f"BIOS-e820: [mem {n * 4096:#x}-0x7fffffff] k{n}" for n in range(4000)),
}
ENOUGH = 20.0
"""Processor seconds for what takes one; with the expressions that were here before, hours."""


@pytest.mark.slow
@pytest.mark.parametrize("what", HOSTILE)
def test_lines_that_a_guest_makes_up_cost_little_and_raise_nothing(what: str) -> None:
    plain = a_record(console="Linux version 6.1\n")
    began = time.process_time()
    for route in (plain.route, RouteName(provider="hvmlite", entry="pvh", platform="pc")):
        hostile = a_record(console=HOSTILE[what] + "\n", route=route)
        for left, right in ((plain, hostile), (hostile, plain)):
            assert compare(left, right).judged
    assert time.process_time() - began < ENOUGH


def test_a_line_that_is_too_long_is_compared_in_pieces() -> None:
    long = "x" * 5000
    assert compare(a_record(console=f"{long}y\n"), a_record(console=f"{long}z\n")).judged
