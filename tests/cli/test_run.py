"""What `run` does around a run: streams, record, summary, exit status. The run itself is a stand-in here."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from efishim.cli import main
from efishim.cli.run import Interruption
from efishim.errors import MachineError, RouteError
from efishim.lab import record as records
from efishim.lab.plan.plan import Plan
from efishim.lab.progress import Progress
from efishim.lab.record import Milestone, MilestonePoint, Outcome, Reason, Record
from tests.records import a_record

Run = Callable[[Plan, Callable[[bytes], None] | None, Progress, Interruption], Record]


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "kernel"
    path.write_bytes(b"a kernel")
    return str(path)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], list[Plan]]:
    """Put a function in the place of run_plan and give the plans that it is called with."""

    def put(run: Run) -> list[Plan]:
        plans: list[Plan] = []

        def run_plan(
            plan: Plan, *, console: Any, progress: Progress, interrupt: Interruption, registry: Any, debug: Any
        ) -> Record:
            assert debug is None
            assert registry.providers
            plans.append(plan)
            return run(plan, console, progress, interrupt)

        module = ModuleType("efishim.lab.run")
        module.run_plan = run_plan  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "efishim.lab.run", module)
        return plans

    return put


def well(_plan: Plan, console: Any, progress: Progress, _interrupt: Interruption) -> Record:
    progress.phase("running")
    progress.note("a note")
    if console is not None:
        console(b"Linux version\n")
        console(b"\xff raw\n")
    progress.milestone(MilestonePoint(name=Milestone.ENTRY, insns=0, seconds=0.5))
    progress.tick(1000, 1000)
    return a_record()


def ended(reason: Reason, *, met: bool = False) -> Run:
    def run(_plan: Plan, _console: Any, _progress: Progress, _interrupt: Interruption) -> Record:
        reached = Milestone.SHUTDOWN if met else None
        return a_record(outcome=Outcome(reached=reached, goal=Milestone.SHUTDOWN, met=met, reason=reason))

    return run


def test_console_to_stdout_and_talk_to_stderr(stand_in: Any, image: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    stand_in(well)
    assert main(["run", image]) == 0
    shown = capfdbinary.readouterr()
    assert shown.out == b"Linux version\n\xff raw\n"
    assert b"a note" in shown.err
    assert b"entry after 0 instructions" in shown.err
    assert b"shutdown reached" in shown.err


def test_quiet_leaves_stderr_empty(stand_in: Any, image: str, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(well)
    assert main(["run", "-q", image]) == 0
    assert capfd.readouterr().err == ""


def test_json_gives_the_record_and_nothing_else(stand_in: Any, image: str, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(well)
    assert main(["run", "--format", "json", image]) == 0
    assert records.decode(capfd.readouterr().out.encode()) == a_record()


def test_the_record_file_is_the_canonical_record(stand_in: Any, image: str, tmp_path: Path) -> None:
    stand_in(well)
    assert main(["run", image, "--record", str(tmp_path / "run.json")]) == 0
    assert (tmp_path / "run.json").read_bytes() == records.encode(a_record())


@pytest.mark.slow
def test_every_end_has_its_exit_status(stand_in: Any, image: str) -> None:
    statuses = {Reason.INTERRUPTED: 130, Reason.EMULATOR: 3}
    for reason in Reason:
        stand_in(ended(reason))
        assert main(["run", "-q", image]) == statuses.get(reason, 1)
        stand_in(ended(reason, met=True))
        assert main(["run", "-q", image]) == statuses.get(reason, 0)


@pytest.mark.parametrize(("strict", "abi", "status"), [(True, [], 0), (True, None, 1), (True, "wrong", 1), (False, "wrong", 0)])
def test_strict_abi_turns_a_violated_rule_into_a_failure(
    strict: bool, abi: Any, status: int, stand_in: Any, image: str, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = [records.AbiViolation(rule="pvh/cr4", sentence="CR4 is clear; it is 1.", found="it is 1", source="pvh.pandoc")]
    stand_in(lambda *_: a_record(abi=wrong if abi == "wrong" else abi))
    assert main(["run", image, *(["--strict-abi"] if strict else [])]) == status
    assert ("pvh/cr4: CR4 is clear" in capfd.readouterr().err) == (abi == "wrong")


def test_strict_abi_wants_the_entry_to_be_observed(stand_in: Any, image: str) -> None:
    stand_in(well)
    assert main(["run", "-q", image, "--strict-abi", "--no-observers"]) == 2


@pytest.mark.parametrize(("error", "status"), [(RouteError("no"), 77), (MachineError("no", hint="buy one"), 3)])
def test_expected_failures_are_a_sentence_and_a_hint(
    error: Exception, status: int, stand_in: Any, image: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Record:
        raise error

    stand_in(fail)
    assert main(["run", "-q", image]) == status
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err == "error: no\n" + ("hint: buy one\n" if status == 3 else "")


def test_the_words_become_the_plan(stand_in: Any, image: str, tmp_path: Path) -> None:
    plans = stand_in(well)
    (tmp_path / "i").write_bytes(b"i")
    (tmp_path / "map").write_bytes(b"m")
    words = "-a quiet -m 1G --until init --max-insns 5M --timeout 7 --seed 3 --epoch 9 --no-observers"
    paths = ["-i", str(tmp_path / "i"), "-i", str(tmp_path / "i"), "--system-map", str(tmp_path / "map")]
    assert main(["run", "-q", image, *words.split(), *paths]) == 0
    (plan,) = plans
    assert (plan.provider, plan.entry, plan.platform) == ("firmware", "efi", "pc")
    assert (plan.cmdline, plan.memory, plan.until, plan.max_insns) == (b"quiet", 1 << 30, Milestone.INIT, 5_000_000)
    assert (plan.timeout, plan.seed, plan.epoch, plan.observers) == (7.0, 3, 9, False)
    assert [blob.read() for blob in plan.initrds] == [b"i", b"i"]
    assert plan.system_map.read() == b"m"
    assert plan.image.read() == b"a kernel"


def test_the_defaults_of_the_contract(stand_in: Any, image: str) -> None:
    plans = stand_in(well)
    assert main(["run", "-q", image]) == 0
    assert main(["run", "-q", image, "--no-initrd"]) == 0
    default, bare = plans
    assert default.until is Milestone.SHUTDOWN
    assert default.initrds[0].label == "embedded:init"
    assert default.initrds[0].data[:6] == b"070701", "the embedded ramdisk is a cpio archive in the newc format"
    assert bare.initrds == ()


def test_a_reproduce_command_makes_the_same_plan(stand_in: Any, image: str) -> None:
    import shlex  # noqa: PLC0415

    plans = stand_in(well)
    assert main(["run", "-q", image, "-a", "it's  @x", "-m", "1G", "--seed", "9", "--until", "init"]) == 0
    assert main(["run", "-q", *shlex.split(plans[0].reproduce())[2:]]) == 0
    assert plans[0] == plans[1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_keeps_the_record(
    number: signal.Signals, status: int, stand_in: Any, image: str, tmp_path: Path
) -> None:
    def run(_plan: Plan, _console: Any, _progress: Progress, interrupt: Interruption) -> Record:
        assert not interrupt.is_set()
        os.kill(os.getpid(), number)
        assert interrupt.is_set()
        outcome = msgspec.structs.replace(a_record().outcome, met=False, reason=Reason.INTERRUPTED, reproducible=False)
        return a_record(outcome=outcome)

    stand_in(run)
    before = signal.getsignal(number)
    assert main(["run", "-q", image, "--record", str(tmp_path / "run.json")]) == status
    assert json.loads((tmp_path / "run.json").read_bytes())["outcome"]["reason"] == "interrupted"
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_gives_up_at_once(stand_in: Any, image: str, tmp_path: Path) -> None:
    def run(_plan: Plan, _console: Any, _progress: Progress, _interrupt: Interruption) -> Record:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second signal did not end the run")

    stand_in(run)
    assert main(["run", "-q", image, "--record", str(tmp_path / "run.json")]) == 130
    assert not (tmp_path / "run.json").exists()


def test_wrong_words_are_found_before_anything_is_fetched(stand_in: Any, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(well)
    assert main(["run", "deb:no-such-package", "-m", "1M"]) == 2
    assert "1M" in capfd.readouterr().err


def test_a_record_that_cannot_be_kept_is_found_before_the_run(stand_in: Any, image: str, tmp_path: Path) -> None:
    plans = stand_in(well)
    assert main(["run", image, "--record", str(tmp_path)]) == 2
    assert plans == []
