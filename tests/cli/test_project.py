"""efishim.toml and the EFISHIM_* variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efishim.cli import main
from efishim.cli.project import find_project
from efishim.errors import UsageError

TEXT = """
[kernels]
mine = "build/bzImage"
debian = "deb:linux-image-cloud-amd64"
[routes]
fast = ["hvmlite/pvh", "grub/linux64"]
one = "kexec/linux64"
[options]
memory = "256M"
append = "quiet"
seed = 7
until = "entry"
[comparisons.pr]
kernel = "mine"
routes = ["fast", "one"]
initrd = "i.img"
until = "startup_64"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "efishim.toml").write_text(TEXT)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def options(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["run", "-q", "--format", "json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["options"]
    return found


def test_the_file_is_found_from_below_and_its_paths_start_at_it(project: Path) -> None:
    found = find_project(Path.cwd())
    assert found.kernel("mine") == str(project / "build/bzImage")
    assert found.kernel("debian") == "deb:linux-image-cloud-amd64"
    assert found.kernel("other") == "other"
    assert found.expanded(("fast", "hvmlite/efi", "one")) == ("hvmlite/pvh", "grub/linux64", "hvmlite/efi", "kexec/linux64")
    comparison = found.comparison("pr")
    assert comparison.kernel == str(project / "build/bzImage")
    assert comparison.options == {"initrds": (str(project / "i.img"),), "until": "startup_64"}


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = options(capsys)
    assert (found["memory"], found["cmdline"], found["seed"], found["until"]) == (256 << 20, "quiet", 7, "entry")
    monkeypatch.setenv("EFISHIM_MEMORY", "1G")
    monkeypatch.setenv("EFISHIM_APPEND", "loud")
    found = options(capsys, "-a", "typed")
    assert (found["memory"], found["cmdline"], found["seed"]) == (1 << 30, "typed", 7)


def test_without_a_file_and_variables_nothing_is_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert options(capsys, "--until", "entry")["memory"] == 512 << 20


def test_names_are_understood_where_routes_and_kernels_are(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-r", "fast"]) == 2
    assert "fast stands for 2 routes" in capsys.readouterr().err
    assert main(["run", "-r", "one", "mine"]) == 4
    assert f"{project}/build/bzImage does not exist" in capsys.readouterr().err
    assert main(["compare", "--use", "pr", "-q"]) == 4
    assert f"{project}/build/bzImage does not exist" in capsys.readouterr().err
    assert main(["compare", "--use", "prs"]) == 2
    assert "did you mean pr?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[option]", "'option', which efishim does not know"),
        ("[options]\nmemry = 1", "did you mean memory?"),
        ("kernels = 1", "kernels is not a table"),
        ("[kernels]\na = 1", "kernels.a is not a path"),
        ("[routes]\na = [1]", "routes.a must be a list of non-empty strings"),
        ("[options]\nmemory = {}", "options.memory must be"),
        ('[options]\nappend = ["a", "b"]', "options.append must be one value, not a list"),
        ("[options]\nseed = []", "options.seed must be one value, not a list"),
        ("[comparisons.a]\nuntil = ['entry']", "comparisons.a.until must be one value, not a list"),
        ("[comparisons]\na = 1", "comparisons.a is not a table"),
        ("[", "is not TOML"),
    ],
)
def test_a_damaged_file_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "efishim.toml").write_text(text)
    with pytest.raises(UsageError) as refused:
        find_project(tmp_path)
    assert sentence in f"{refused.value.sentence} {refused.value.hint}"


def test_what_may_be_repeated_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "efishim.toml").write_text('[options]\ninitrd = ["a", "b"]\noption = ["x.y=1", "x.z=2"]\n')
    assert find_project(tmp_path).options == {
        "initrds": (str(tmp_path / "a"), str(tmp_path / "b")),
        "options": ("x.y=1", "x.z=2"),
    }


@pytest.mark.parametrize(("written", "meant"), [("@line.txt", "@{}/line.txt"), ("@@home", "@@home"), ("@/line", "@/line")])
def test_the_file_of_a_command_line_lies_beside_the_project(written: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / "efishim.toml").write_text(f'[options]\nappend = "{written}"\n')
    assert find_project(tmp_path).options == {"cmdline": meant.format(tmp_path)}


def test_a_directory_that_may_not_be_searched_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "efishim.toml").write_text("[options]\nseed = 1\n")
    real = Path.is_file

    def is_file(path: Path) -> bool:
        if path.parent.name == "closed":
            raise PermissionError
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert find_project(tmp_path / "closed").options == {"seed": "1"}
