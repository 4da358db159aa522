"""Experiments run in processes that never outlive the search."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from efishim.errors import MachineError
from efishim.lab.observe.limits import Interrupted
from efishim.why.forks import in_forks

LONG = 600.0
PARENT = """
import os, sys, time
from pathlib import Path
from efishim.why.forks import in_forks

def work():
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(600)
    return 1

in_forks([work], 1, 0)
"""


def number_in(path: Path) -> int:
    """The number that a process writes to a file, once it is there."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.01)
    return int(path.read_text())


def wait_for_end(pid: int) -> None:
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.01)


def test_results_come_in_the_order_of_the_work() -> None:
    assert in_forks([lambda: 1, lambda: 2, lambda: 3], 2, 0) == [1, 2, 3]


def test_a_process_that_ends_without_a_result_is_lost() -> None:
    def dies() -> int:
        os._exit(3)

    assert in_forks([dies, lambda: 2], 1, -1) == [-1, 2]


def test_what_the_work_raises_is_raised() -> None:
    def fails() -> int:
        raise ValueError("no good")

    with pytest.raises(MachineError, match="no good"):
        in_forks([fails], 1, 0)


def test_an_interrupt_ends_every_process(tmp_path: Path) -> None:
    said, asked = tmp_path / "pid", threading.Event()

    def works() -> int:
        said.write_text(str(os.getpid()))
        time.sleep(LONG)
        return 1

    def interrupt() -> None:
        number_in(said)
        asked.set()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted):
        in_forks([works], 1, 0, interrupt=asked)
    assert not Path(f"/proc/{number_in(said)}").exists()


def test_a_killed_search_leaves_no_process(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(said)]) as parent:
        pid = number_in(said)
        parent.send_signal(signal.SIGKILL)
    wait_for_end(pid)
