"""Functions that only one run has are told by the branch behind which they ran."""

from __future__ import annotations

from efishim.lab.record import FunctionCoverage
from efishim.why.behind import Behind
from efishim.why.roots import roots


def function(name: str, offsets: str, after: str) -> FunctionCoverage:
    return FunctionCoverage(name=name, part="kernel", blocks=len(offsets.split()), insns=1, offsets=offsets, after=after)


def behind(*names: str) -> Behind:
    return Behind({**{f"code.{name}": "ran" for name in names}, "log.line": "said"}, "", "shutdown", 0)


def test_a_root_is_the_branch_that_both_runs_came_through() -> None:
    # main's first block led to a, which led to b; on the other side only main ran.
    mine = [function("a", "0", "2.0"), function("b", "0", "0.0"), function("main", "0", "?")]
    theirs = [mine[2]]
    truth = behind("a", "b", "main"), behind("main")
    assert roots(truth, (mine, theirs), ["code.a", "code.b", "log.line"]) == dict.fromkeys(("code.a", "code.b"), "main -> a")
    assert roots(truth[::-1], (theirs, mine), ["code.b"]) == {"code.b": "main -> b"}
    assert roots(truth, (mine, theirs), ["log.line"]) == {}
