"""What a kernel did, as facts: the code that ran is the kernel's and its stub's, not that of a shim in the guest."""

from __future__ import annotations

from efishim.compare.behaviour import behaviour
from efishim.compare.facts import Kind, did
from efishim.lab.record import Coverage, FunctionCoverage
from tests.records import a_record


def test_code_of_a_shim_in_the_guest_is_no_fact() -> None:
    functions = [
        FunctionCoverage(name="memset", part="shim", blocks=4),
        FunctionCoverage(name="start_kernel", part="kernel", blocks=12),
        FunctionCoverage(name="memcpy", part="kernel", blocks=1),
    ]
    facts = behaviour(a_record(coverage=Coverage(blocks=17, functions=functions)))
    assert {fact for fact in facts if fact.kind is Kind.CODE} == {did(Kind.CODE, "start_kernel"), did(Kind.CODE, "memcpy")}
