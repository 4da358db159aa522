"""Packages that `efishim new-plugin` writes: what they are called, that they work, and that nothing is overwritten."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from efishim.cli.app import run_command_line
from efishim.cli.skeleton import FILES, NAME, Names, write
from efishim.errors import UsageError
from efishim.plugins import load_plugins

REGISTRY = load_plugins()


@pytest.mark.parametrize("kind", FILES)
def test_every_file_is_what_it_should_be(kind: str, tmp_path: Path) -> None:
    folder = write(Names("my-vmm2"), kind, tmp_path)
    assert folder == tmp_path / "efishim-my-vmm2"
    assert [one.name for one in tmp_path.iterdir()] == ["efishim-my-vmm2"]
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "efishim-my-vmm2"
    assert project["project"]["entry-points"] == {"efishim_v1": {"my-vmm2": "efishim_my_vmm2"}}
    assert (folder / "efishim_my_vmm2" / "py.typed").exists()
    assert "pytest" in (folder / ".github" / "workflows" / "tests.yml").read_text()
    for file in folder.rglob("*"):
        if file.is_file():
            text = file.read_text()
            assert "$" not in text
            assert text.endswith("\n") or not text
        if file.suffix == ".py":
            ast.parse(file.read_text())


@pytest.mark.parametrize("kind", FILES)
def test_its_code_is_as_tidy_as_ours(kind: str, tmp_path: Path) -> None:
    """The linter and the formatter of this project find nothing."""
    folder = write(Names("my-vmm"), kind, tmp_path)
    ruff = Path(sys.executable).with_name("ruff")
    settings = ["--no-cache", "--config", str(Path(__file__).parents[2] / "pyproject.toml")]
    for command in (["check", "--ignore", "I,INP001,D,S101,PLC0415,PT"], ["format", "--check"]):
        done = subprocess.run([ruff, *command, *settings, folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My", "not a name"),
        ("", "not a name"),
        ("a b", "not a name"),
        ("-a", "not a name"),
        ("a-", "not a name"),
        ("a--b", "not a name"),
        ("../a", "not a name"),
        ("a/b", "not a name"),
        ("a\n", "not a name"),
        ("1a", "not a name"),
        ("\u00e4", "not a name"),
        ("a" * 41, "not a name"),
        ("plugins", "of its own"),
        ("firmware-stubs", "of its own"),
        ("grub", "already"),
        ("elf64", "already"),
        ("linux64", "already"),
        ("pvh", "already"),
        ("efishim-grub", "already"),
    ],
)
def test_names_that_are_none(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Names.of(name, REGISTRY)


def test_names_that_are_some() -> None:
    assert Names.of("efishim-my-vmm", REGISTRY) == Names.of("my-vmm", REGISTRY) == Names("my-vmm")
    assert Names.of("a" * 40, REGISTRY).distribution == "efishim-" + "a" * 40
    assert NAME.fullmatch("x2")
    assert Names("one").words["magic"] != Names("two").words["magic"]


@pytest.mark.parametrize("name", ["none", "true", "handover", "module", "ram", "arena", "boot-request", "provider-suite"])
def test_a_class_is_called_like_nothing_that_its_module_uses(name: str) -> None:
    assert Names(name).words["cls"].endswith("Provider")
    assert Names("my-vmm").words["cls"] == "MyVmm"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        write(Names("mine"), "provider", tmp_path / ("x" * 300))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    taken = tmp_path / "efishim-mine"
    taken.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write(Names("mine"), "provider", tmp_path)
    assert taken.read_text() == "mine"
    taken.unlink()
    taken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        write(Names("mine"), "provider", tmp_path)
    with pytest.raises(UsageError, match="cannot be made"):
        write(Names("mine"), "provider", tmp_path / "missing")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["efishim-mine"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["new-plugin", "mine", "-C", str(tmp_path)]) == 0
    assert "efishim run -p mine" in capsys.readouterr().out
    assert run_command_line(["new-plugin", "mine", "-C", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_they_work_at_once(tmp_path: Path) -> None:
    """Found through their metadata, as installed packages are, their own tests pass."""
    folders = [write(Names(f"my-{kind}"), kind, tmp_path) for kind in FILES]
    for folder in folders:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        ((name, module),) = project["entry-points"]["efishim_v1"].items()
        metadata = folder / f"{module}-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
        (metadata / "entry_points.txt").write_text(f"[efishim_v1]\n{name} = {module}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(folder / "tests" for folder in folders)],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
