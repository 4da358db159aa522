"""Control runs of `compare`: made of plans, or of records from files whose runs can be repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_kernel
from msgspec.structs import replace

from efishim.cli.app import State, run_command_line
from efishim.cli.controls import Controls, varied
from efishim.compare.control import Variation
from efishim.compare.settle import Wanted
from efishim.lab.plan.from_record import bounded
from efishim.lab.plan.plan import DEFAULT_MAX_INSNS, DEFAULT_TIMEOUT, Blob, Plan
from efishim.lab.record import Record, read_record

pytestmark = pytest.mark.slow

FILES = ("hvmlite-efi-pc", "hvmlite-pvh-pc")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("controls")
    (folder / "vmlinuz").write_bytes(probe_kernel())
    routes = ("-r", "hvmlite/efi", "-r", "hvmlite/pvh", "--until", "entry", "-q", "-j", "1", "--records", str(folder))
    assert run_command_line(["compare", str(folder / "vmlinuz"), *routes]) == 0
    return [read_record(str(folder / f"{name}.json")) for name in FILES]


def controls(records: list[Record]) -> Controls:
    return Controls(State(), records, [None] * len(records), jobs=1, quiet=True, no_cache=True, on=None)


def wanted(speed: int, *numbers: int) -> list[Wanted]:
    return [(number, Variation(speed=speed)) for number in numbers]


def speeds(made: Mapping[Wanted, Record]) -> dict[int, str]:
    return {number: record.options.options["machine.insns_per_us"] for (number, _), record in made.items()}


def test_a_record_is_repeated_at_another_speed(records: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    made = controls(records).repeat(wanted(3900, 0, 1))
    assert speeds(made) == {0: "3900", 1: "3900"}
    assert [record.route for record in made.values()] == [record.route for record in records]
    assert capsys.readouterr().err == ""


def test_a_record_of_other_code_than_its_plan_runs_now_is_not_varied(
    records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = records
    coverage = replace(first.coverage, blocks=first.coverage.blocks + 1)
    repeated = controls([replace(first, coverage=coverage), second])
    assert speeds(repeated.repeat(wanted(3900, 0, 1))) == {1: "3900"}
    said = capsys.readouterr().err
    assert "no control runs of hvmlite/efi@pc" in said
    assert "runs other code now" in said
    assert speeds(repeated.repeat(wanted(4100, 0, 1))) == {1: "4100"}
    assert capsys.readouterr().err == "", "said once"


def test_a_record_whose_image_is_not_here_is_not_repeated(records: list[Record], tmp_path: Path) -> None:
    first, second = records
    gone = replace(first, image=replace(first.image, path=str(tmp_path / "gone")))
    assert list(speeds(controls([gone, second]).repeat(wanted(3900, 0, 1)))) == [1]
    other = tmp_path / "other"
    other.write_bytes(bytes(first.image.size))
    changed = replace(first, image=replace(first.image, path=str(other)))
    assert list(speeds(controls([changed, second]).repeat(wanted(3900, 0, 1)))) == [1]


def test_a_run_that_cannot_be_made_again_is_named(records: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = records
    strange = replace(first, reproduce=first.reproduce + " --with boot_params.hdr.version@grub/linux64")
    assert list(speeds(controls([strange, second]).repeat(wanted(3900, 0, 1)))) == [1]
    assert "cannot be repeated: it differs in --with" in capsys.readouterr().err


def test_a_run_that_misses_its_goal_shows_nothing(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = controls(records)

    def missed(plans: Mapping[Wanted, Plan], _what: Sequence[str]) -> dict[Wanted, Record]:
        return {one: replace(records[0], outcome=replace(records[0].outcome, met=False)) for one in plans}

    assert list(speeds(repeated.repeat(wanted(3900, 0)))) == [0]
    monkeypatch.setattr(repeated, "_run", missed)
    assert repeated.repeat(wanted(4100, 0)) == {}


def at_speed(plan: Plan, speed: int) -> Plan:
    found = varied(plan, Variation(speed=speed))
    assert found is not None
    return found


def test_without_kaslr_the_command_line_says_so() -> None:
    plan = Plan(Blob.embedded("embedded:probe", b""), "hvmlite", "efi", "pc", cmdline=b"quiet")
    assert varied(plan, Variation(kaslr=False)) == dataclasses.replace(plan, cmdline=b"quiet nokaslr")
    dumped = dataclasses.replace(plan, dump=(Blob.embedded("embedded:dump", b""),))
    assert varied(dumped, Variation(kaslr=False)) is None


def test_a_speed_is_relative_to_the_one_that_was_chosen() -> None:
    plan = Plan(Blob.embedded("embedded:probe", b""), "hvmlite", "pvh", "pc", options=(("platform.x", "1"),))
    assert at_speed(plan, 3900).options == (("machine.insns_per_us", "3900"), ("platform.x", "1"))
    slow = at_speed(plan, 2000)
    assert dict(at_speed(slow, 3900).options)["machine.insns_per_us"] == "1950"
    slowest = at_speed(plan, 100)
    assert dict(at_speed(slowest, 3900).options)["machine.insns_per_us"] == "100"


def test_a_record_cannot_ask_for_a_run_without_end() -> None:
    plan = Plan(Blob.embedded("embedded:probe", b""), "hvmlite", "pvh", "pc", timeout=0, max_insns=10**15)
    found = bounded(plan)
    assert (found.timeout, found.max_insns) == (DEFAULT_TIMEOUT, DEFAULT_MAX_INSNS)
    short = dataclasses.replace(plan, timeout=3.0, max_insns=1000)
    assert bounded(short) == short
