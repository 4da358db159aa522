"""Experiments are given up at a limit of instructions or of guest time, and only where both plain runs end by themselves."""

from __future__ import annotations

import pytest

from efishim.lab.record import Reason
from efishim.why.behind import Behind, Limit, run_on
from efishim.why.laboratory import MORE_INSNS, MORE_NS, PATIENCE, Laboratory
from efishim.why.side import Start, meet
from tests.why import told

FAR = 1 << 60
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("insns", "when", "reason"),
    [
        (FAR, FAR, Reason.HALTED),
        (8, FAR, Reason.INSN_LIMIT),
        (FAR, 0, Reason.ENDLESS_LOOP),
    ],
)
def test_a_run_ends_at_its_limit(insns: int, when: int, reason: Reason) -> None:
    side = told.side()
    start = meet(side, told.side())
    record = run_on(side, Limit(start.insns + insns, start.when + when))
    assert record.outcome.reason is reason


def test_the_limit_comes_from_the_longer_of_two_runs_that_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(outcome: str, insns: int, when: int) -> Behind:
        return Behind({}, "", outcome, insns, when)

    side, other = told.side(), told.side()
    start = Start(1000, 100)
    runs = [ended(Reason.SHUTDOWN, 5000, 300), ended(Reason.SHUTDOWN, 2000, 700)]
    monkeypatch.setattr("efishim.why.laboratory.in_forks", lambda *_: runs)
    laboratory = Laboratory(side, other, [], start, 1)
    laboratory.plain()
    assert laboratory.limit == Limit(1000 + PATIENCE * 4000 + MORE_INSNS, 100 + PATIENCE * 600 + MORE_NS)
    runs[1] = ended(Reason.HALTED, 2000, 700)
    laboratory = Laboratory(side, other, [], start, 1)
    laboratory.plain()
    assert laboratory.limit is None, "a kernel that halts for ever has nothing left that could wake it: a limit would"
