"""Every program of the self-test on the machine, and all of them on QEMU as a witness that nobody here wrote."""

from __future__ import annotations

import os
import subprocess
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.machine import delivery
from efishim.machine.entropy import Entropy
from efishim.machine.intercepts import Intercept, Op, find_intercepts
from efishim.machine.selftest import PROGRAM, Case, Check, Ending, judge, read_cases, run_case, run_selftest
from efishim.machine.selftest.programs import NOT_OFFERED
from tests.conftest import OFFLINE
from tests.support import qemu

IMAGE = efishim_firmware_stubs.load(PROGRAM)
CASES = read_cases(IMAGE)
SOURCES = Path(efishim_firmware_stubs.__file__).parent / "machine"
EXPLAINED = tomllib.loads(Path(__file__).with_name("explained.toml").read_text())
RETURNING = [case for case in CASES if case.ending is Ending.COMES_BACK]
DYING = [case for case in CASES if case.ending is Ending.TRIPLE_FAULT]


def ids(case: Case) -> str:
    return f"{case.mode}-{case.label}"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_case(case: Case) -> None:
    finding = judge(case, *run_case(IMAGE, case))
    assert finding.ok, finding.detail


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_case_gives_the_same_twice(case: Case) -> None:
    assert run_case(IMAGE, case) == run_case(IMAGE, case)


def test_every_case_is_found_and_says_where_it_stands() -> None:
    assert len({case.label for case in CASES}) == len(CASES)
    assert {case.mode for case in CASES} == {16, 32, 64}
    for case in CASES:
        assert f'"{case.label}"' in (SOURCES / case.source).read_text()
        assert case.law.startswith("SDM ")
        assert case.checks > 0 or case.ending is Ending.TRIPLE_FAULT


@pytest.mark.slow
def test_whole_selftest() -> None:
    findings = run_selftest()
    assert len(findings) == len(CASES)
    assert [finding for finding in findings if not finding.ok] == []
    untested = [finding.name for finding in findings if finding.detail.startswith("not tested")]
    assert untested == ["64-bit: SMAP"], "this engine has no SMAP, and everything else"


# The self-test can fail


def test_judge() -> None:
    case = replace(RETURNING[0], checks=2)
    good = [Check(10, 1, 1), Check(11, 5, 5)]
    assert judge(case, "halted", good).ok
    assert not judge(case, "insn limit", good).ok
    assert "1 of 2" in judge(case, "halted", good[:1]).detail
    assert ":11: got 0x4 instead of 0x5" in judge(case, "halted", [good[0], Check(11, 4, 5)]).detail
    unexpected = judge(case, "halted", [Check(0, 2 << 32 | 14, 0x1234)])
    assert "unexpected exception 14 (error code 0x2) at 0x1234" in unexpected.detail
    assert judge(case, "halted", [Check(NOT_OFFERED, 0, 0)]).detail.startswith("not tested")
    assert not judge(case, "halted", [Check(NOT_OFFERED, 0, 0), good[0]]).ok


def failures(label: str) -> bool:
    (case,) = (case for case in CASES if case.label == label)
    return not judge(case, *run_case(IMAGE, case)).ok


def test_selftest_notices_wrong_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Entropy, "integer", lambda _self, _bits: 4)
    assert failures("RDRAND")


@pytest.mark.slow
def test_selftest_notices_missing_error_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "HAS_ERROR_CODE", frozenset())
    assert failures("#GP")
    assert failures("#PF in the supervisor")


def test_selftest_notices_flags_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "EFLAGS_IF", 0)
    assert failures("flags and gates")


def test_selftest_notices_a_single_page_fault_taken_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efishim.machine.machine.NO_EXCEPTION", delivery.PF)
    assert failures("two page faults in a row")


def test_selftest_notices_unchecked_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efishim.machine.engine.find_port_accesses", lambda *_: [])
    assert failures("IOPL and the I/O permission bitmap")


def test_selftest_notices_unhooked_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(pc: int, code: bytes, mode: int) -> list[Intercept]:
        return [site for site in find_intercepts(pc, code, mode) if site.op is not Op.RDMSR]

    monkeypatch.setattr("efishim.machine.engine.find_intercepts", without)
    assert failures("RDMSR and WRMSR")


# QEMU as a witness


@dataclass(frozen=True)
class Said:
    """What a case printed."""

    checks: list[Check]
    finished: bool


def parse(serial: str) -> dict[str, Said]:
    said: dict[str, Said] = {}
    label = ""
    for line in serial.splitlines():
        if line.startswith("case "):
            label = line.removeprefix("case ")
            said[label] = Said([], False)
        elif line == "end":
            said[label] = replace(said[label], finished=True)
        elif label and len(parts := line.split()) == 3:
            number, got, wanted = (int(part, 16) for part in parts)
            said[label].checks.append(Check(number, got, wanted))
    return said


def boot(folder: Path, append: str = "") -> qemu.Outcome:
    kernel = folder / "selftest.bin"
    kernel.write_bytes(IMAGE)
    machine = qemu.Boot(
        kernel=kernel, append=append or None, memory=128, cpu="max,vendor=GenuineIntel", extra=("-device", "VGA")
    )
    try:
        return qemu.run(machine, folder)
    except qemu.MissingTool as error:
        if os.environ.get(OFFLINE) == "1":
            pytest.skip(str(error))
        pytest.fail(str(error))


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    outcome = boot(tmp_path_factory.mktemp("qemu"))
    assert outcome.serial.endswith("done\n"), outcome.serial[-300:] + outcome.stderr
    assert outcome.ending is qemu.Ending.POWER_OFF
    return parse(outcome.serial)


def source_line(case: Case, check: Check) -> str:
    """The words of the program that made this comparison, without its comment."""
    return (SOURCES / case.source).read_text().splitlines()[check.line - 1].split(";")[0].strip()


@pytest.mark.qemu
@pytest.mark.parametrize("case", RETURNING, ids=ids)
def test_qemu_finds_the_same(case: Case, witness: dict[str, Said]) -> None:
    said = witness[case.label]
    assert said.finished
    if any(check.line == NOT_OFFERED for check in said.checks):
        assert case.label == "RDSEED", "QEMU 7.2 offers everything else"
        return
    explained = {line for entry in EXPLAINED["difference"] if entry["case"] == case.label for line in entry["source"]}
    wrong = [check for check in said.checks if not check.ok]
    assert [source_line(case, check) for check in wrong if source_line(case, check) not in explained] == []
    assert len(said.checks) == case.checks
    reason, ours = run_case(IMAGE, case)
    if ours[0].line == NOT_OFFERED:
        return
    assert reason == "halted"
    assert [check.line for check in said.checks] == [check.line for check in ours]
    differing = [theirs for theirs, mine in zip(said.checks, ours, strict=True) if theirs != mine]
    assert {check.line for check in differing} <= {check.line for check in wrong}


@pytest.mark.qemu
def test_every_explanation_is_needed(witness: dict[str, Said]) -> None:
    version = qemu_version()
    if not version.startswith(EXPLAINED["qemu"]):
        return  # another QEMU may have mended some of it
    by_label = {case.label: case for case in CASES}
    for entry in EXPLAINED["difference"]:
        case = by_label[entry["case"]]
        wrong = {source_line(case, check) for check in witness[case.label].checks if not check.ok}
        assert set(entry["source"]) == wrong, entry["case"]
        assert entry["reason"]


def qemu_version() -> str:
    out = subprocess.run([qemu.PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return out.split()[3]


@pytest.mark.qemu
@pytest.mark.parametrize("case", DYING, ids=ids)
def test_qemu_dies_of_the_same(case: Case, tmp_path: Path) -> None:
    outcome = boot(tmp_path, f"only={case.number:02x}")
    assert outcome.ending is qemu.Ending.RESET, "a triple fault resets a PC"
    said = parse(outcome.serial)
    assert list(said) == [case.label]
    assert not said[case.label].finished
