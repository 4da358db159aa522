"""`efishim run` as a process of its own: exit status, console, record, and how much memory it took."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from efishim.lab import record as records
from efishim.lab.record import Milestone, MilestonePoint, Record
from tests.support import init_report
from tests.support.init_report import Section

PROGRAM = """
import sys
from pathlib import Path
from efishim.cli import main
figure = Path(sys.argv.pop())
status = main()
used = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
figure.write_text(used[0])
sys.exit(status)
"""
"""The console script, which also says at its end what the process had resident at most (KiB).

Not from getrusage(2): a child inherits ru_maxrss from the process that starts it, and pytest is larger than efishim.
"""
LIMIT = 900.0
"""Host seconds for one run, which ends by its own limits: the longest takes 20 on an idle machine, 250 on a busy one."""


@dataclass(frozen=True)
class Finished:
    """A run that ended by itself; everything of it lies in `folder`."""

    folder: Path

    @property
    def status(self) -> int:
        """Exit status."""
        return int((self.folder / "status").read_text())

    @property
    def stdout(self) -> bytes:
        """What went to stdout."""
        return (self.folder / "stdout").read_bytes()

    @property
    def stderr(self) -> str:
        """What went to stderr."""
        return (self.folder / "stderr").read_text("utf-8", "replace")

    @property
    def resident(self) -> int:
        """Peak of resident memory, bytes."""
        return int((self.folder / "resident").read_text()) << 10

    @cached_property
    def record(self) -> Record:
        """The record. Raises RecordError when it is not one."""
        return records.decode((self.folder / "run.json").read_bytes())

    @cached_property
    def init(self) -> dict[str, Section]:
        """What the reporting init said. Raises ValueError when that is not whole."""
        return init_report.parse(self.record.console)

    @property
    def repeatable(self) -> bytes:
        """The record's bytes with nothing of the host's clock in them."""
        return records.encode(records.without_wall_clock(self.record))

    def point(self, name: Milestone) -> MilestonePoint:
        """A milestone. Raises StopIteration when it was not passed."""
        return next(point for point in self.record.milestones if point.name is name)

    def place(self, name: Milestone) -> int:
        """The address of a milestone."""
        at = self.point(name).at
        assert at is not None
        return at.address


def command(folder: Path, arguments: Sequence[str | Path]) -> list[str]:
    """The command line of a run whose record and memory figure go to `folder`."""
    record = ("--record", str(folder / "run.json"))
    return [sys.executable, "-c", PROGRAM, "run", *map(str, arguments), *record, str(folder / "resident")]


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Test workers that want the same thing wait for the first that makes it in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def efishim_run(folder: Path, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run to the end, once for all processes that name this folder: test workers share long runs.

    Raises subprocess.TimeoutExpired after LIMIT seconds.
    """
    with one_at_a_time(folder):
        if not (folder / "status").exists():
            with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
                done = subprocess.run(
                    command(folder, arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    check=False,
                    timeout=LIMIT,
                    env=os.environ | (environment or {}),
                )
            (folder / "status").write_text(str(done.returncode))
    return Finished(folder)


@contextmanager
def busy_machine(processes: int = 2) -> Iterator[None]:
    """Other processes want the processors too, so that a run is interrupted more often and elsewhere."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(10000))"], stdin=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
