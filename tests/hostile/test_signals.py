"""Signals at any moment: nobody goes on alone, nothing stays behind after the next start, and a record is whole or not there.

The moments of the quick version are lines of progress: a slow host has more of them, and signals are heard from the
first on. With EFISHIM_FULL=1 a hundred moments are drawn in the time that each command takes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from efishim.lab.record import decode
from efishim.temporary import SUFFIX
from tests.firmware.programs import program
from tests.surface.needy import CODE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FULL = os.environ.get("EFISHIM_FULL") == "1"
PATIENCE = 120.0
"""Host seconds for what takes a second or two on a quiet one."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
SEED = 17
MOMENTS = 100
UNBORN = re.compile(
    rb'Traceback \(most recent call last\):\n(?:  .*\n)*  File ".*/multiprocessing/spawn\.py", line \d+, in _main\n(?:  .*\n)+'
    rb"(?:EOFError: Ran out of input|_pickle\.UnpicklingError: pickle data was truncated)\n"
)
"""What Python says in a worker whose parent was killed after it started the worker and before it had told it what to do."""

RUN = ("run", "--record", "{out}/record.json", "-m", "64M")
COMPARE = (
    "compare",
    "-r",
    "firmware/efi",
    "-r",
    "hvmlite/efi",
    "--until",
    "exit_boot_services",
    "-j",
    "2",
    "-o",
    "{out}/c.txt",
)
SURFACE = ("surface", "{out}/needy.efi", "-j", "2", "-m", "64", "--no-initrd", "--until", "shutdown", "-o", "{out}/s.txt")
FAULTS = (*SURFACE[:2], "--faults", *SURFACE[2:])
ORACLE = ("oracle", "-r", "firmware/efi", "--until", "exit_boot_services")
STUDY = ("study", "{out}/needy.efi", "--no-surface", "-j", "2", "--records", "{out}/kept", "-o", "{out}/study.txt")


@dataclass
class Stage:
    """A place of its own for all that a command writes."""

    root: Path

    def __post_init__(self) -> None:
        for name in ("out", "tmp", "home"):
            (self.root / name).mkdir()
        (self.root / "out" / "needy.efi").write_bytes(program(code=CODE))
        # inc eax, jmp back: it ends after ten seconds of its time, a plain jump to itself after two
        (self.root / "out" / "loop.efi").write_bytes(program(code=b"\xff\xc0\xeb\xfc"))

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """In a session of its own, by which what is left of it is found."""
        return subprocess.Popen(
            [sys.executable, "-m", "efishim", *(word.format(out=self.root / "out") for word in words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=self.environment,
        )

    @property
    def environment(self) -> dict[str, str]:
        """All places that a command may write to are on the stage."""
        places = {"HOME": "home", "TMPDIR": "tmp", "EFISHIM_CACHE": "cache"}
        return {**os.environ, **{name: str(self.root / place) for name, place in places.items()}}

    def left(self) -> list[Path]:
        """Temporary files and folders."""
        partial = [one for one in self.root.rglob("*") if one.suffix == SUFFIX or one.name.startswith(".new-")]
        return partial + list((self.root / "tmp").iterdir())

    def end(self, process: subprocess.Popen[bytes]) -> bytes:
        """What stood on stderr behind the signal. Everybody has to go without being asked again."""
        try:
            assert process.stderr is not None
            said = process.stderr.read()
            process.wait(PATIENCE)
            assert_alone(process.pid)
        finally:
            kill_session(process.pid)
            process.wait()
        if process.returncode == -signal.SIGKILL:
            said = UNBORN.sub(b"", said)
        assert b"Traceback" not in said, said.decode()
        record = self.root / "out" / "record.json"
        if record.exists():
            decode(record.read_bytes())
            record.unlink()
        return said

    def whole(self, words: Sequence[str]) -> float:
        """The next start: it succeeds, and nothing temporary is there any more. Gives its time in host seconds."""
        began = time.monotonic()
        process = self.start(words)
        said = self.end(process)
        assert process.returncode in (0, 1), said.decode()
        assert self.left() == []
        return time.monotonic() - began


def session(leader: int) -> list[int]:
    """Living processes of a session (proc(5): the session is the sixth field of stat, the state the third)."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(place.name))
    return found


def assert_alone(leader: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := session(leader):
        assert time.monotonic() < deadline, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        time.sleep(0.05)


def kill_session(leader: int) -> None:
    for pid in session(leader):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize(
    ("number", "lines"), [(signal.SIGINT, 1), (signal.SIGHUP, 2), (signal.SIGKILL, 1), (signal.SIGKILL, 2)]
)
def test_a_run(stage: Stage, number: signal.Signals, lines: int) -> None:
    """A record where one was asked for, unless nobody was asked. The guest goes on for far longer than that takes."""
    process = stage.start(("run", "{out}/loop.efi", "--no-initrd", "--timeout", "0", "--max-insns", "100G", *RUN[1:]))
    assert process.stderr is not None
    for _ in range(lines):
        assert process.stderr.readline()
    process.send_signal(number)
    record = stage.root / "out" / "record.json"
    process.wait(PATIENCE)
    assert record.exists() == (number != signal.SIGKILL)
    stage.end(process)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)


def test_workers(stage: Stage) -> None:
    """Their parent is killed in the middle of a search; the next start finds nothing and leaves nothing."""
    process = stage.start(FAULTS)
    assert process.stderr is not None
    for _ in range(2):
        assert process.stderr.readline()
    process.send_signal(signal.SIGKILL)
    stage.end(process)
    stage.whole(("run", "-q", "-m", "64M", "--until", "entry"))


@pytest.mark.skipif(not FULL, reason="a hundred moments take many minutes: EFISHIM_FULL=1")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "words",
    [RUN, COMPARE, SURFACE, FAULTS, pytest.param(ORACLE, marks=pytest.mark.qemu), STUDY],
    ids=["run", "compare", "surface", "faults", "oracle", "study"],
)
def test_a_hundred_moments(stage: Stage, words: Sequence[str]) -> None:
    random = Random(f"{SEED}/{words[0]}")
    duration = stage.whole(words)
    for turn in range(MOMENTS):
        process = stage.start(words)
        time.sleep(random.uniform(0, duration))
        process.send_signal(SIGNALS[turn % len(SIGNALS)])
        stage.end(process)
    stage.whole(words)
