"""The CPU self-test: small guest programs that check the CPU layer against the manuals.

The programs are `efishim_firmware_stubs/machine/selftest.asm`; they run on real machines as well, and
`tests/machine/test_selftest.py` has QEMU run them as an independent witness.
"""

from __future__ import annotations

from typing import NamedTuple

import efishim_firmware_stubs

from efishim.errors import EfishimError
from efishim.machine.selftest.bench import Bench
from efishim.machine.selftest.programs import NOT_OFFERED, Case, Check, Ending, read_cases, read_log

PROGRAM = "machine/selftest.bin"
MAX_INSNS = 300_000
"""Far more than any case needs; a case that loops ends here."""


class SelfTest(NamedTuple):
    """One finding: what was tested, whether the processor does it, and the section of the manuals or what went wrong."""

    name: str
    ok: bool
    detail: str


def run_case(image: bytes, case: Case, *, seed: int = 0) -> tuple[str, list[Check]]:
    """Run one case on a fresh machine: why it ended, and its comparisons."""
    bench = Bench(image, case.number, seed=seed)
    stop = bench.machine.run(max_insns=MAX_INSNS)
    return stop.reason, read_log(image, bench.machine.memory)


def judge(case: Case, reason: str, checks: list[Check]) -> SelfTest:
    """What the outcome of a case says."""
    name = f"{case.mode}-bit: {case.label}"
    if [check.line for check in checks] == [NOT_OFFERED]:
        return SelfTest(name, True, f"not tested: this processor's CPUID does not offer it ({case.law})")
    for check in checks:
        if check.line == 0:
            vector, error = check.got & 0xFFFFFFFF, check.got >> 32
            return SelfTest(
                name, False, f"{case.source}: unexpected exception {vector} (error code {error:#x}) at {check.wanted:#x}"
            )
        if not check.ok:
            return SelfTest(
                name, False, f"{case.source}:{check.line}: got {check.got:#x} instead of {check.wanted:#x} ({case.law})"
            )
    wanted = "triple fault" if case.ending is Ending.TRIPLE_FAULT else "halted"
    if reason != wanted:
        return SelfTest(name, False, f"{case.source}: ended with '{reason}' instead of '{wanted}' ({case.law})")
    if len(checks) != case.checks:
        return SelfTest(name, False, f"{case.source}: made {len(checks)} of {case.checks} comparisons ({case.law})")
    return SelfTest(name, True, case.law)


def run_selftest() -> list[SelfTest]:
    """Every case, in order. Never raises for what the processor does wrong."""
    image = efishim_firmware_stubs.load(PROGRAM)
    findings = []
    for case in read_cases(image):
        try:
            findings.append(judge(case, *run_case(image, case)))
        except EfishimError as failure:
            findings.append(SelfTest(f"{case.mode}-bit: {case.label}", False, failure.sentence))
    return findings


__all__ = ["Case", "Check", "Ending", "SelfTest", "judge", "read_cases", "run_case", "run_selftest"]
