"""Worker processes: they end with whoever started them, when they are told, and at once when nobody waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from efishim.lab.record import Reason, decode

pytestmark = pytest.mark.slow

PARENT = """
from efishim.lab.workers import workers
import tests.lab.test_workers as here

with workers(2, here.begin) as pool:
    jobs = [pool.submit(here.work) for _ in range(2)]
    print([job.result() for job in jobs], flush=True)
"""

asked = None


def begin(interrupt: object, _events: object) -> None:
    """In each worker, once."""
    globals()["asked"] = interrupt


def work() -> str:
    """Goes on until somebody does not want it any more."""
    os.write(1, b"working\n")
    while not asked.is_set():  # type: ignore[attr-defined]
        time.sleep(0.01)
    return "ended"


def children(pid: int) -> list[int]:
    """The workers of a process."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in path.read_text().split() if "spawn_main" in Path(f"/proc/{one}/cmdline").read_text()]


def gone(pids: list[int], seconds: float = 60.0) -> bool:
    """Are they all dead (and not only waiting to be reaped) within the time?"""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_lives(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def parent() -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A process with two busy workers."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"working\n"] * 2
        found = children(process.pid)
        assert len(found) == 2
        yield process, found
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGABRT])
def test_workers_die_with_their_parent(number: signal.Signals) -> None:
    with parent() as (process, found):
        process.send_signal(number)
        process.wait(10)
        assert gone(found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_to_all_is_for_the_parent(number: signal.Signals) -> None:
    with parent() as (_, found):
        for pid in found:
            os.kill(pid, number)
        assert not gone(found, 0.5)


def test_sigterm_lets_a_worker_end_what_it_does() -> None:
    """`timeout` sends it to the whole group: the results reach the parent."""
    with parent() as (process, found):
        for pid in found:
            os.kill(pid, signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == b"['ended', 'ended']\n"
        assert process.wait(10) == 0
        assert gone(found)


def test_an_exception_of_the_parent_waits_for_nobody() -> None:
    with parent() as (process, found):
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)  # a KeyboardInterrupt in the middle of waiting
        assert process.wait(60) != 0
        assert time.monotonic() - begun < 60
        assert gone(found)


EFISHIM = [sys.executable, "-c", "import sys; from efishim.cli import main; sys.exit(main())"]
SPIN = ("-j", "2", "-r", "firmware/efi", "-r", "hvmlite/efi", "--until", "userspace", "--timeout", "600")


@contextmanager
def comparing(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A comparison of two runs of many minutes, when both have begun."""
    words = [*EFISHIM, "compare", str(spinning(tmp_path)), *SPIN, "--records", str(tmp_path / "kept")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    assert process.stderr is not None
    begun = 0
    for line in process.stderr:
        begun += b"entry after" in line
        if begun == 2:
            break
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def spinning(folder: Path) -> Path:
    """An EFI program that never ends, and changes something all the time."""
    from tests.support.images import SectionSpec, build_pe  # noqa: PLC0415

    # 1: mov ecx, 100000; 2: dec ecx; jnz 2b; rdtsc; jmp 1b
    code = b"\xb9\xa0\x86\x01\x00\xff\xc9\x75\xfc\x0f\x31\xeb\xf3"
    path = folder / "spins.efi"
    path.write_bytes(build_pe([SectionSpec(b".text", 0x1000, code.ljust(0x200, b"\x90"), 0x200)]))
    return path


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_comparison_that_is_cut_short_keeps_what_it_has(number: signal.Signals, tmp_path: Path) -> None:
    """The signal goes to the whole group, as a terminal and timeout(1) send it."""
    with comparing(tmp_path) as process:
        os.killpg(process.pid, number)
        assert process.wait(120) == 128 + number
        records = [decode(path.read_bytes()) for path in sorted((tmp_path / "kept").iterdir())]
    assert [one.outcome.reason for one in records] == [Reason.INTERRUPTED] * 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_a_comparison(number: signal.Signals, tmp_path: Path) -> None:
    with comparing(tmp_path) as process:
        found = children(process.pid)
        assert len(found) == 2
        begun = time.monotonic()
        process.send_signal(number)
        process.send_signal(number)
        process.wait(120)
        assert gone(found)
        assert time.monotonic() - begun < 120
