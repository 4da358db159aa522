"""Python files that lie where efishim is run: none of them runs, whatever the command starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EFISHIM = [sys.executable, "-P", "-c", "import sys; from efishim.cli import main; sys.exit(main())"]
OURS = ("efishim", "efishim_plugins", "efishim_firmware_stubs", "unicorn", "construct", "pluggy", "pefile", "msgspec")
OTHERS = ("click", "rich_click", "rich", "platformdirs", "capstone", "lz4", "zstandard", "jinja2")
STARTUP = ("sitecustomize", "usercustomize")
PLANTED = "open(__file__ + '.ran', 'w').close()\nraise SystemExit('planted')\n"
TWO = ("-r", "firmware/efi", "-r", "hvmlite/efi", "--until", "entry")
COMPARE = ("compare", *TWO, "-j", "2")

COMMANDS = {
    "run": ("run", "--until", "entry"),
    "baseline": ("baseline", "save", *TWO, "-j", "2", "-o", "kept.json"),
    "study": ("study", "-j", "2", "--until", "entry"),
    "inspect": ("inspect",),
    "oracle": ("oracle", "--bad"),
    "providers": ("providers", "hvmlite"),
    "platforms": ("platforms",),
    "plugins": ("plugins",),
    "rules": ("rules", "pvh"),
    "doctor": ("doctor",),
    "schema": ("schema",),
    "completion": ("completion", "bash"),
    "help": ("--help",),
}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with a file for every module of the standard library, and for some others."""
    for name in (*sys.stdlib_module_names, *OURS, *OTHERS, *STARTUP):
        (tmp_path / f"{name}.py").write_text(PLANTED)
    return tmp_path


def ran(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ran"))


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_command_runs_what_lies_in_the_current_directory(planted: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run([*EFISHIM, *words], cwd=planted, capture_output=True, check=False, timeout=120)
    assert ran(planted) == []
    assert b"Traceback" not in done.stderr


def test_surface_runs_nothing_either(planted: Path) -> None:
    process = subprocess.Popen([*EFISHIM, "surface", "-j", "2"], cwd=planted, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said = line
        if b"each item alone: 1" in line:  # a worker has done something
            process.terminate()
    process.wait(60)
    process.stderr.close()
    assert b"each item alone: " in said
    assert ran(planted) == []


def test_processes_started_by_multiprocessing_alone_would_run_them(planted: Path) -> None:
    """The counter-case: what a console script, which has no -P, would start."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    code = "import sys; sys.path.remove(''); import multiprocessing; multiprocessing.get_context('spawn').Event()"
    subprocess.run([sys.executable, "-c", code], cwd=planted, env=environment, capture_output=True, check=False, timeout=60)
    assert ran(planted)


def test_the_installed_command_is_safe_without_any_option(planted: Path) -> None:
    script = shutil.which("efishim", path=str(Path(sys.executable).parent))
    assert script is not None
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run([script, *COMPARE], cwd=planted, env=environment, capture_output=True, check=False, timeout=120)
    assert ran(planted) == []


def test_a_python_that_cannot_be_told_to_be_safe_starts_no_workers(planted: Path) -> None:
    script = shutil.which("efishim", path=str(Path(sys.executable).parent))
    assert script is not None
    words = [sys.executable, "-E", script, *COMPARE]
    done = subprocess.run(words, cwd=planted, capture_output=True, check=False, timeout=60)
    assert ran(planted) == []
    assert done.returncode == 2
    assert b"-j 1" in done.stderr
