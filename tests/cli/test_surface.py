"""`efishim surface` and the profiles of `efishim run` as a user types them."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import efishim_firmware_stubs
import msgspec
import pytest

from efishim.cli.app import run_command_line
from efishim.cli.surface import FORMATS
from efishim.report import surfaces
from efishim.surface.model import Mark, Surface, decode, encode
from tests.firmware.programs import program
from tests.report.pages import parsed
from tests.surface.needy import CODE, needy_surface

QUICK = ("-q", "-j", "1", "-m", "64", "--no-initrd", "--until", "shutdown")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program whose needs are known, as a file."""
    path = tmp_path_factory.mktemp("surface") / "needy.efi"
    path.write_bytes(program(code=CODE))
    return str(path)


@pytest.fixture(scope="module")
def found(shared: Path) -> Surface:
    return needy_surface(shared)


def test_formats_are_those_that_there_are() -> None:
    assert tuple(surfaces.renderers()) == FORMATS == surfaces.FORMATS


@pytest.mark.slow
def test_text_from_the_command_line(kernel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The least profile that it saves brings the program to its end; and the command in the document is one."""
    least, document = tmp_path / "least.toml", tmp_path / "surface.json"
    assert run_command_line(["surface", kernel, *QUICK, "--save-profile", str(least)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^Needed \(5\): each of these must work$", out, re.MULTILINE)
    assert "7 of " in out.splitlines()[-1]
    assert "The set alone suffices" in out.splitlines()[-1]
    run = ["run", kernel, "-q", "-m", "64", "--no-initrd", "--no-observers", "--profile", str(least)]
    assert run_command_line(run) == 0
    assert run_command_line([*run, "--without", "BootServices.AllocatePool=EFI_NOT_FOUND"]) == 1
    again = ["surface", kernel, *QUICK, "-r", "firmware/efi@pc", "--profile", str(least)]
    assert run_command_line([*again, "--format", "json", "-o", str(document)]) == 0
    smaller = decode(document.read_bytes())
    assert {one.mark for one in smaller.findings} <= {Mark.NEEDED, Mark.PROBED}, "nothing of the least set is superfluous"
    words = shlex.split(smaller.reproduce)
    assert words[:3] == ["efishim", "surface", kernel]
    assert "firmware/efi@pc" in words


@pytest.mark.slow
@pytest.mark.measured
def test_text(found: Surface) -> None:
    text = surfaces.text(found)
    assert text.splitlines()[-1] == surfaces.conclusion(found)
    for finding in found.findings:
        assert finding.item.text in text
        assert all(effect.sentence in text for effect in finding.effects)
    assert all(character == "\n" or character.isprintable() for character in text)


def test_json(found: Surface) -> None:
    assert json.loads(surfaces.renderers()["json"](found))["proof"]["minimal"] is True


def test_markdown(found: Surface) -> None:
    text = surfaces.markdown(found)
    assert "| `BootServices.FreePool` (enough: `EFI_UNSUPPORTED`) | 1 |" in text
    assert found.profile in text
    for line in text.splitlines():
        assert not line.startswith("|") or len(re.findall(r"(?<!\\)\|", line)) == 4, line


def test_what_can_only_go_with_others(found: Surface) -> None:
    """As GetRNG of a firmware whose RNG protocol nobody needs: NULL alone it would be called."""
    rng = next(one for one in found.findings if one.mark is Mark.USED)
    assert not rng.conditional
    alone = msgspec.structs.replace(rng.effects[0], boots=False)
    changed = msgspec.structs.replace(rng, effects=[alone])
    assert changed.conditional
    document = msgspec.structs.replace(found, findings=[changed if one is rng else one for one in found.findings])
    assert "can go together with others" in surfaces.text(document)
    assert "can go together with others" not in surfaces.text(found)


def test_an_unfinished_search_says_so(found: Surface) -> None:
    partial = decode(encode(found).replace(b'"complete": true', b'"complete": false'))
    assert "The search was interrupted after" in surfaces.text(partial)


def test_save_profile_of_a_run(kernel: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen.toml"
    run = ["run", kernel, "-q", "-m", "64", "--no-initrd"]
    assert run_command_line([*run, "--save-profile", str(seen)]) == 0
    assert '"BootServices.AllocatePool" = "present"' in seen.read_text()
    assert "GetMemoryMap" not in seen.read_text()
    assert run_command_line([*run, "--profile", str(seen)]) == 0


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["surface", "-r", "hvmlite/pvh"], 77, "no EFI firmware"),
        (["surface", "-r", "hvmlite/nothing"], 2, "has no entry"),
        (["surface", "--no-observers"], 2, "no meaning here"),
        (["surface", "--profile", "no-such-firmware"], 2, "no-such-firmware does not exist"),
        (["surface", "--without", "BootServices.Fly"], 2, "there is no service 'BootServices.Fly'"),
        (["surface", "--max-insns", "1000", "-q", "-j", "1"], 1, "does not reach shutdown: insn limit"),
        (["run", "-p", "hvmlite", "-e", "pvh", "--profile", "u-boot"], 2, "hvmlite/pvh has no firmware"),
        (["run", "-p", "hvmlite", "-e", "pvh", "--save-profile", "x"], 77, "no EFI firmware"),
        (["run", "--no-observers", "--save-profile", "x"], 2, "observers"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_refusals(
    words: list[str],
    status: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command_line(words) == status
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_image_without_an_efi_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is that of `efishim run`."""
    elf = tmp_path / "probe.elf"
    elf.write_bytes(efishim_firmware_stubs.probe_elf())
    assert run_command_line(["surface", str(elf), "-q", "-j", "1"]) == run_command_line(["run", str(elf), "-q"]) == 77
    first, second = capsys.readouterr().err.strip().split("error: ")[1:]
    assert first.strip() == second.strip()


@pytest.mark.slow
def test_ctrl_c_before_anything_is_known(kernel: str) -> None:
    """Status 130, one sentence and nothing on stdout; somewhat later it would be what is known by then."""
    code = "import sys; from efishim.cli import main; sys.exit(main())"
    started = subprocess.Popen(
        [sys.executable, "-c", code, "surface", kernel, "-j", "2", "-m", "64", "--until", "shutdown"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    assert "the whole firmware" in started.stderr.readline()
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=120)
    assert started.returncode == 130
    assert "interrupted" in (out or err)
    assert "Traceback" not in err


@pytest.mark.slow
def test_faults_from_the_command_line(kernel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document resumes itself, and the command in it is one."""
    document = tmp_path / "faults.json"
    words = ["surface", kernel, "--faults", *QUICK]
    assert run_command_line([*words, "--format", "json", "-o", str(document)]) == 0
    found = json.loads(document.read_bytes())
    assert found["complete"]
    assert "surface --faults" in found["reproduce"]
    assert run_command_line([*words, "--resume", str(document)]) == 0
    out = capsys.readouterr().out
    assert "BootServices.AllocatePool:1=EFI_OUT_OF_RESOURCES" in out
    assert out.splitlines()[-1] == "5 faults, each in a run of its own: 3 goes on, 2 returns to the firmware."
    run = shlex.split(found["cases"][0]["effect"]["command"])
    assert run_command_line([*run[1:], "-q", "--no-observers"]) == 1, "the program returns an error again"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--faults", "--save-profile", "x.toml"], "--save-profile has no meaning with --faults"),
        (["--resume", "x.json"], "--resume needs --faults"),
        (["--faults", "--resume", "/nonexistent"], "does not exist"),
        (["--faults", "--resume", __file__], "is not what `efishim surface --faults --format json` writes"),
    ],
)
def test_words_about_faults_that_are_refused(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["surface", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_page_has_every_item_that_something_is_said_about(found: Surface) -> None:
    shown = surfaces.renderers()["html"](found)
    page = parsed(shown)
    assert page.strays == []
    items = {one.text for one in page.of("code")}
    assert {one.item.text for group in surfaces.groups(found) for one in group} <= items
    assert surfaces.conclusion(found) in " ".join(one.text for one in page.of("p"))
    assert [one for one in page.elements if "src" in one.attributes] == []


def test_the_report_of_faults_is_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["surface", "--faults", "--format", "html"]) == 2
    assert "has no format 'html'" in capsys.readouterr().err
