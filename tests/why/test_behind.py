"""Experiments are given up at a limit of instructions or of guest time, and only where both plain runs end by themselves."""

from __future__ import annotations

import struct

import pytest

from efishim.lab.record import Reason
from efishim.why.behind import Behind, Limit, run_on
from efishim.why.laboratory import MORE_EXCEPTIONS, MORE_INSNS, MORE_NS, PATIENCE, Laboratory
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
    record = run_on(side, Limit(start.insns + insns, start.when + when, 0))
    assert record.outcome.reason is reason


def test_the_limit_comes_from_the_longer_of_two_runs_that_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(outcome: str, insns: int, when: int) -> Behind:
        return Behind({}, "", outcome, insns, when, exceptions=insns // 100)

    side, other = told.side(), told.side()
    start = Start(1000, 100)
    runs = [ended(Reason.SHUTDOWN, 5000, 300), ended(Reason.SHUTDOWN, 2000, 700)]
    monkeypatch.setattr("efishim.why.laboratory.in_forks", lambda *_: [(run, []) for run in runs])
    laboratory = Laboratory(side, other, [], start, 1)
    laboratory.plain()
    assert laboratory.limit == Limit(1000 + PATIENCE * 4000 + MORE_INSNS, 100 + PATIENCE * 600 + MORE_NS, 100 + MORE_EXCEPTIONS)
    runs[1] = ended(Reason.HALTED, 2000, 700)
    laboratory = Laboratory(side, other, [], start, 1)
    laboratory.plain()
    assert laboratory.limit is None, "a kernel that halts for ever has nothing left that could wake it: a limit would"


def test_a_guest_in_a_loop_of_faults_ends_after_so_many() -> None:
    side = told.side()
    start = meet(side, told.side())
    machine, code, selector = side.machine, told.BASE + told.STARTUP, 8
    # Every gate of the IDT leads to an instruction that is none, so that the guest faults for ever.
    machine.memory.write(code, b"\x0f\x0b")
    gates = struct.pack("<HHBBH", code & 0xFFFF, selector, 0, 0x8E, code >> 16) * 32
    flat_code = bytes(8) + struct.pack("<HHBBBB", 0xFFFF, 0, 0, 0x9B, 0xCF, 0)
    for table, content, at in (("idtr", gates, told.LOOSE), ("gdtr", flat_code, told.LOOSE + 0x1000)):
        machine.memory.write(at, content)
        machine.cpu.set(f"{table}.base", at)
        machine.cpu.set(f"{table}.limit", len(content) - 1)
    machine.cpu.set("rsp", told.LOOSE + 0x8000)
    record = run_on(side, Limit(FAR, FAR, 100))
    assert record.outcome.reason is Reason.ENDLESS_LOOP
    assert side.machine.exceptions == 101
    assert record.outcome.insns < start.insns + 200
