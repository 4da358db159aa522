"""`efishim oracle` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from efishim_firmware_stubs import load

from efishim.cli.app import run_command_line
from efishim.lab.record import Milestone, Reason, decode
from efishim.oracle import faulty, tools
from efishim.oracle.boot_flows import BOOT_FLOWS
from efishim.oracle.faults import FAULTS, Fault
from efishim.oracle.faulty import Ending, Outcome, Subject


def test_the_ways_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["oracle", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [flow.name for flow in BOOT_FLOWS]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["-r", "grub/lint"], 2, "no way of real firmware called grub/lint"),
        (["-m", "16G"], 2, "at most 8 GiB"),
        (["--no-initrd", "-i", "x"], 2, "contradict"),
        (["--epoch", "-1"], 2, "the epoch"),
        (["-r", "hvmlite/pvh", "--record", "/nowhere/x.json"], 2, "the directory of /nowhere/x.json does not exist"),
        (["-r", "hvmlite/pvh", "--record", "/"], 2, "is a directory"),
        (["--dump", "core"], 2, "a dump is of one kernel on one route"),
        (["-r", "hvmlite/pvh", "--dump", "/nowhere/core"], 2, "the directory of /nowhere/core does not exist"),
        (["--faults", "--dump", "core"], 2, "writes no records and no dumps"),
        (["-r", "kexec/linux64"], 77, "machine_kexec"),
    ],
)
def test_wrong_usage_has_its_sentence(words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["oracle", *words]) == status
    assert says in capsys.readouterr().err


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "x.json"
    place.touch()
    assert run_command_line(["oracle", "-r", "hvmlite/pvh", "-r", "firmware/efi", "--record", str(place)]) == 2
    assert "several routes need a folder" in capsys.readouterr().err


def test_a_program_is_no_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "init"
    program.write_bytes(load("init/init.elf"))
    assert run_command_line(["oracle", str(program)]) == 77
    assert "no entry that real firmware" in capsys.readouterr().err
    assert run_command_line(["oracle", str(program), "-r", "firmware/efi"]) == 77


def test_without_qemu_the_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert run_command_line(["oracle", "-r", "hvmlite/pvh"]) == 3
    err = capsys.readouterr().err
    assert "qemu-system-x86_64 is not installed" in err
    assert "apt-get install qemu-system-x86" in err


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("route", "names", "package"),
    [
        ("firmware/efi", ("_OVMF_FOLDERS", ()), "ovmf"),
        ("grub/linux32", ("GRUB_FOLDER", Path("/nonexistent")), "grub-pc-bin"),
    ],
)
def test_missing_firmware_is_named(
    route: str, names: tuple[str, object], package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tools, *names)
    assert run_command_line(["oracle", "-r", route, "-q"]) == 3
    assert f"apt-get install {package}" in capsys.readouterr().err


@pytest.mark.qemu
def test_the_probe_kernel_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "pvh.json"
    assert run_command_line(["oracle", "-r", "hvmlite/pvh", "--alone", "-a", "one two", "--record", str(place)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].startswith("hvmlite/pvh")
    assert captured.out.splitlines()[1].endswith("shutdown")
    record = decode(place.read_bytes())
    assert (record.outcome.reason, record.outcome.reached) == (Reason.SHUTDOWN, Milestone.SHUTDOWN)
    assert record.image.path == "embedded:probe"
    assert "probe: begin entry=pvh" in record.console


@pytest.mark.qemu
def test_a_boot_that_takes_too_long_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "record.json"
    assert run_command_line(["oracle", "-r", "firmware/efi", "--alone", "--timeout", "1", "--record", str(place)]) == 1
    assert capsys.readouterr().out.splitlines()[1].endswith("timeout")
    record = decode(place.read_bytes())
    assert record.outcome.reason is Reason.TIMEOUT
    assert record.milestones == []
    assert any("efi entry was not seen" in note for note in record.notes)


@pytest.mark.qemu
def test_a_boot_that_did_not_finish_is_compared_with_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["oracle", "-r", "firmware/efi", "--timeout", "1"]) == 1
    said = capsys.readouterr().out
    assert "firmware/efi did not finish on QEMU (timeout): nothing is compared." in said
    assert "unexplained" not in said


@pytest.mark.parametrize(
    "words", [("-r", "hvmlite/pvh"), ("-a", "quiet"), ("--no-initrd",), ("--record", "x.json"), ("--alone",)]
)
def test_faults_bring_all_they_need(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["oracle", "--faults", *words]) == 2
    assert "of its own" in capsys.readouterr().err


def test_faults_are_for_linux(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["oracle", "--faults"]) == 77
    assert "no 64-bit Linux kernel that says where" in capsys.readouterr().err


@pytest.mark.kernel
@pytest.mark.parametrize("hidden", ["", "stale-key"])
def test_faults_as_a_table(
    hidden: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cloud_kernel: Path
) -> None:
    def real(_subject: Subject, fault: Fault, **_: object) -> Outcome:
        if fault.kernel is not None:
            return Outcome(Ending.REFUSED, "in QEMU's words")
        return Outcome(Ending.PANIC, fault.name)

    def ours(subject: Subject, fault: Fault, *, platform: str, timeout: float) -> Outcome:
        assert (platform, timeout) == ("kvm", 300.0)
        if fault.name == hidden:
            return Outcome(Ending.USERSPACE)
        return Outcome(Ending.REFUSED, "in ours") if fault.kernel is not None else real(subject, fault)

    monkeypatch.setattr(faulty, "on_qemu", real)
    monkeypatch.setattr(faulty, "in_efishim", ours)
    assert run_command_line(["oracle", "--faults", "--platform", "kvm", "-q", str(cloud_kernel)]) == (1 if hidden else 0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(FAULTS)
    assert [line.split()[0] for line in lines[1:] if "not the same" in line] == ([hidden] if hidden else [])
    assert any("in QEMU's words" in line and "in ours" in line for line in lines)
