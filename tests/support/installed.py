"""A fresh environment with efishim's wheel, made as docs/tutorial-provider.md says, once for all tests of a run."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial-provider.md"

_BLOCK = re.compile(r"^(?:`(?P<file>[^`\n]+)`\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of the tutorial: a file by its name, or commands with what they print."""

    file: str
    text: str

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command and what is shown behind it."""
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [(line, shown) for line, _, shown in (part.partition("\n") for part in parts)]


def blocks() -> list[Block]:
    """In the order of the page."""
    found = [Block(one["file"] or "", one["text"]) for one in _BLOCK.finditer(TUTORIAL.read_text())]
    assert all(one.file or one.commands for one in found)
    return found


def environment(**more: str) -> dict[str, str]:
    """What a user's shell has, without this Python's own."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COV_", "PYTEST"))
    }
    return kept | {"NO_COLOR": "1", "COLUMNS": "200", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | more


@dataclass(frozen=True)
class Installed:
    """An environment that has efishim, and what its site-packages had before."""

    folder: Path
    before: frozenset[str]

    @property
    def bin(self) -> Path:
        """Its programs."""
        return self.folder / "venv" / "bin"

    @property
    def site(self) -> Path:
        """Its packages."""
        return self.folder / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else installs into it meanwhile, or takes something away."""
        with (self.folder / "alone").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def run(self, *command: str, cwd: Path) -> str:
        """What a command prints, run from a folder as a user would."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def typed(self, command: str, cwd: Path) -> tuple[str, Path]:
        """What a command prints in a shell that has the environment activated, and in which folder it leaves that."""
        script = f". '{self.bin}/activate'\n{command}\nstatus=$?\npwd >&9\nexit $status"
        with (self.folder / "pwd").open("w+") as where:
            line = ["bash", "-c", f"exec 9>&{where.fileno()}\n{script}"]
            done = subprocess.run(
                line, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, pass_fds=(where.fileno(),)
            )
            where.seek(0)
            now = Path(where.read().strip())
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout, now


def make(folder: Path) -> Installed:
    """The first commands of the tutorial, with a wheel of this checkout."""
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True)
    (wheel,) = wheels.glob("efishim-*.whl")
    made = Installed(folder, frozenset())
    first, *rest = (command for command, _ in blocks()[0].commands)
    assert first == "python3 -m venv venv"  # which is done with the Python of the tests
    subprocess.run([sys.executable, "-m", "venv", "venv"], cwd=folder, check=True, capture_output=True)
    before = frozenset(path.name for path in made.site.iterdir())
    done = subprocess.run(
        ["bash", "-ec", "\n".join(rest)],
        cwd=folder,
        env=environment(EFISHIM=str(wheel)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Installed(folder, before)


def made_once(folder: Path) -> Installed:
    """One environment in a folder for all who ask, also from other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = folder / "before"
        if not known.exists():
            known.write_text("\n".join(sorted(make(folder).before)))
    return Installed(folder, frozenset(known.read_text().split("\n")))
