"""`efishim compare` and `efishim baseline` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec import UNSET

from efishim.cli.app import run_command_line
from efishim.lab.record import read_record

QUICK = ("--until", "entry", "-q", "-j", "1")
ROUTES = ("-r", "hvmlite/efi", "-r", "hvmlite/pvh")


@pytest.mark.slow
def test_two_routes_of_the_probe_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["compare", *ROUTES, *QUICK]) == 0
    out = capsys.readouterr().out
    assert out.endswith("Every difference is explained.\n")
    assert "Where do the routes converge?" in out


@pytest.mark.slow
def test_records_instead_of_a_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["compare", *ROUTES, *QUICK, "--records", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    files = [str(tmp_path / name) for name in ("hvmlite-efi-pc.json", "hvmlite-pvh-pc.json")]
    assert run_command_line(["compare", *files]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.slow
def test_records_give_the_document_that_the_runs_gave(tmp_path: Path) -> None:
    words = ["-r", "hvmlite/pvh", "-r", "grub/linux64", "-r", "lilo/linux16", "--until", "startup_64", "-q", "-j", "1"]
    first, second = tmp_path / "first", tmp_path / "second"
    run_command_line(["compare", *words, "--records", str(tmp_path), "--format", "json", "-o", str(first)])
    files = [str(tmp_path / f"{name}-pc.json") for name in ("hvmlite-pvh", "grub-linux64", "lilo-linux16")]
    run_command_line(["compare", *files, "--format", "json", "-o", str(second)])
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_routes_are_compared_with_modules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its command line; a route that gives the kernel no modules is refused when it is named."""
    (tmp_path / "one").write_bytes(b"x" * 100)
    modules = ("--module", f"{tmp_path}/one=a b", "--module", f"{tmp_path}/one")
    routes = ("-r", "multiboot/multiboot", "-r", "multiboot2/multiboot2", *QUICK)
    assert run_command_line(["compare", *routes, *modules, "--records", str(tmp_path)]) == 0
    for name in ("multiboot-multiboot-pc", "multiboot2-multiboot2-pc"):
        record = read_record(str(tmp_path / f"{name}.json"))
        assert [one.cmdline for one in record.options.initrds] == ["a b", UNSET]
    capsys.readouterr()
    assert run_command_line(["compare", *ROUTES, *QUICK, *modules]) == 2
    assert "these have no command lines" in capsys.readouterr().err


@pytest.mark.slow
def test_rules_are_listed_with_their_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["compare", *ROUTES, *QUICK, "--rules-used"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["differences", "pairs", "rule"]
    assert lines[-1].split() == ["0", "0", "(unexplained)"]


@pytest.mark.slow
def test_what_no_rule_explains_ends_in_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("")
    assert run_command_line(["compare", *ROUTES, *QUICK, "--rules", str(rules)]) == 1
    assert "differences are unexplained" in capsys.readouterr().out


@pytest.mark.slow
def test_a_route_that_fails_its_goal_ends_in_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["compare", *ROUTES, "-q", "-j", "1", "--max-insns", "1000"]) == 1
    assert "Not every run reached its goal" in capsys.readouterr().out


@pytest.mark.slow
def test_the_result_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert run_command_line(["compare", *ROUTES, *QUICK, "--format", "json", "-o", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(file.read_text())["schema"] == 1


@pytest.mark.slow
def test_progress_goes_to_stderr_one_line_a_milestone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["compare", *ROUTES, "--until", "entry", "-j", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "hvmlite/efi@pc: entry after 0 instructions" in lines
    assert any(line.startswith("hvmlite/pvh@pc: ended with milestone reached in ") for line in lines)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.json"], "one record has nothing to be compared with"),
        (["a.json", "b.json", "-r", "hvmlite/efi"], "-r has no meaning"),
        (["vmlinuz", "old", "initrd"], "compare takes one kernel"),
        (["vmlinuz", "initrd"], "two kernels are compared on routes that you name"),
        (["old", "new", "-r", "hvmlite/pvh", "--format", "html"], "has no format 'html'"),
        (["-r", "hvmlite/efi", "--all"], "contradict"),
        (["-r", "nobody/efi"], "no provider 'nobody'"),
        (["-r", "hvmlite/efi", "--rules", "/nonexistent"], "does not exist"),
    ],
)
def test_mistakes_end_in_2(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["compare", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_that_is_no_record_ends_in_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}")
    assert run_command_line(["compare", str(file), str(file)]) == 4
    assert "is not a record" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.measured
def test_a_baseline_is_saved_checked_found_different_and_updated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "baselines")
    assert run_command_line(["baseline", "save", "-o", place, *ROUTES, *QUICK]) == 0
    names = [f"hvmlite-{entry}@pc{end}.txt" for entry in ("efi", "pvh") for end in ("", ".code", ".log")]
    assert sorted(path.name for path in Path(place).iterdir()) == sorted(names)
    assert run_command_line(["baseline", "check", place, *QUICK]) == 0
    capsys.readouterr()
    changed = ["--cmdline", "quiet"]
    assert run_command_line(["baseline", "check", place, *QUICK, *changed]) == 1
    out = capsys.readouterr().out
    assert "hvmlite/pvh@pc: differs from its baseline: run +1 -1, told +2 -2\n" in out
    assert "    -entry.command_line = console=ttyS0" in out
    assert "    +entry.command_line = quiet" in out
    assert run_command_line(["baseline", "check", place, *QUICK, *changed, "--update"]) == 1
    assert run_command_line(["baseline", "check", place, *QUICK, *changed]) == 0


@pytest.mark.slow
def test_junit_of_a_check_has_a_case_for_each_route_and_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, file = str(tmp_path / "baselines"), tmp_path / "junit.xml"
    run_command_line(["baseline", "save", "-o", place, *ROUTES, *QUICK])
    status = run_command_line(["baseline", "check", place, *QUICK, "--cmdline", "quiet", "--format", "junit", "-o", str(file)])
    assert status == 1
    root = ElementTree.parse(file).getroot()
    failed = {case.get("name") for case in root.iter("testcase") if case.find("failure") is not None}
    assert {"run", "told"} <= failed
    assert len(list(root.iter("testcase"))) == 2 * 8
    capsys.readouterr()


def test_a_check_without_baselines_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["baseline", "check", str(tmp_path)]) == 2
    assert run_command_line(["baseline", "check", str(tmp_path / "none")]) == 2
    (tmp_path / "a.txt").write_text("hello")
    assert run_command_line(["baseline", "check", str(tmp_path)]) == 2
    assert "is not a baseline" in capsys.readouterr().err


@pytest.mark.slow
def test_a_baseline_may_have_some_sections_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, one = str(tmp_path), ["-r", "hvmlite/pvh", *QUICK]
    assert run_command_line(["baseline", "save", "-o", place, *one, "--sections", "told,calls"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["hvmlite-pvh@pc.txt"]
    text = (tmp_path / "hvmlite-pvh@pc.txt").read_text()
    assert "[told]" in text
    assert "[run]" not in text
    assert run_command_line(["baseline", "check", place, *QUICK]) == 0, "what was not saved is not compared"
    assert run_command_line(["baseline", "check", place, *QUICK, "-a", "quiet", "--sections", "calls"]) == 0
    assert run_command_line(["baseline", "check", place, *QUICK, "-a", "quiet", "--sections", "told"]) == 1
    assert run_command_line(["baseline", "check", place, *QUICK, "--sections", "run", "--update"]) == 1
    text = (tmp_path / "hvmlite-pvh@pc.txt").read_text()
    assert "[run]" in text
    assert "[told]" in text
    capsys.readouterr()
    assert run_command_line(["baseline", "check", place, "--sections", "tolled"]) == 2
    assert "did you mean told?" in capsys.readouterr().err
