"""`efishim run` as a user runs it: a process of its own, a stock kernel, signals, pipes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from efishim.lab import record as records
from efishim.lab.record import Milestone, Reason
from tests.support.milestones import WITHOUT_LOADER

EFISHIM = [sys.executable, "-c", "import sys; from efishim.cli import main; sys.exit(main())"]


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*EFISHIM, "run", *arguments], capture_output=True, check=False, timeout=900)


@pytest.mark.kernel
def test_a_stock_kernel_to_power_off(cloud_kernel: Path, tmp_path: Path) -> None:
    done = run(str(cloud_kernel), "--record", str(tmp_path / "run.json"))
    assert done.returncode == 0
    record = records.decode((tmp_path / "run.json").read_bytes())
    assert [point.name for point in record.milestones] == WITHOUT_LOADER
    assert record.outcome.reason is Reason.SHUTDOWN
    assert record.console == done.stdout.decode()
    assert "Linux version 6.1" in record.console
    assert "Command line: console=ttyS0\r\n" in record.console
    assert b"shutdown reached" in done.stderr
    assert (tmp_path / "run.json").stat().st_size < 3_000_000


@pytest.mark.kernel
def test_the_reproduce_command_gives_the_same_record(cloud_kernel: Path, tmp_path: Path) -> None:
    """Through the shell, in another directory, with another hash seed: the same bytes but for the host's seconds."""
    first = tmp_path / "first.json"
    assert run(str(cloud_kernel), "-q", "--until", "start_kernel", "-a", "it's  quiet", "--record", str(first)).returncode == 0
    record = records.decode(first.read_bytes())
    words = shlex.split(record.reproduce)
    assert words[:2] == ["efishim", "run"]
    again = subprocess.run(
        [*EFISHIM, *words[1:], "-q", "--record", str(tmp_path / "second.json")],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        stdout=subprocess.DEVNULL,
    )
    assert again.returncode == 0
    second = records.decode((tmp_path / "second.json").read_bytes())
    assert records.encode(records.without_wall_clock(record)) == records.encode(records.without_wall_clock(second))


@pytest.mark.kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_valid_partial_record(number: signal.Signals, cloud_kernel: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*EFISHIM, "run", str(cloud_kernel), "--record", str(tmp_path / "run.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"startup_64 after" in line:
            break
    process.send_signal(number)
    asked = time.monotonic()
    rest = process.stderr.read()
    assert process.wait(100) == 128 + number
    assert time.monotonic() - asked < 100
    assert b"Traceback" not in rest
    record = records.decode((tmp_path / "run.json").read_bytes())
    assert record.outcome.reason is Reason.INTERRUPTED
    assert not record.outcome.reproducible
    assert record.outcome.reached in {Milestone.STARTUP_64, Milestone.START_KERNEL}


@pytest.mark.kernel
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.5, 0.8])
def test_ctrl_c_at_any_moment_is_no_traceback(delay: float, cloud_kernel: Path, tmp_path: Path) -> None:
    """Whatever was going on: exit status 130, and a record that is whole or not there."""
    process = subprocess.Popen(
        [*EFISHIM, "run", str(cloud_kernel), "--record", str(tmp_path / "run.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    time.sleep(0.15 + delay)  # the interpreter itself starts for about 0.1 s, in which Python answers by itself
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode == -signal.SIGINT:
        return  # a machine so busy that the interpreter had not come to efishim's first line yet
    assert process.returncode == 130
    assert b"Traceback" not in errors
    if (tmp_path / "run.json").exists():
        assert records.decode((tmp_path / "run.json").read_bytes()).outcome.reason is Reason.INTERRUPTED


@pytest.mark.slow
def test_a_limit_of_instructions_ends_the_run(tmp_path: Path) -> None:
    done = run("--max-insns", "100k", "--record", str(tmp_path / "run.json"))
    assert done.returncode == 1
    record = records.decode((tmp_path / "run.json").read_bytes())
    assert record.outcome.reason is Reason.INSN_LIMIT
    assert record.outcome.reproducible
    assert 100_000 <= record.outcome.insns < 110_000
    assert b"shutdown not reached (insn limit" in done.stderr


@pytest.mark.slow
def test_a_goal_on_the_way_is_enough() -> None:
    done = run("--until", "exit_boot_services")
    assert done.returncode == 0
    assert b"exit_boot_services reached" in done.stderr
    assert b"probe: end" not in done.stdout


@pytest.mark.slow
def test_a_goal_that_never_comes_is_status_1() -> None:
    done = run("--until", "userspace", "-q")
    assert done.returncode == 1
    assert b"probe: end" in done.stdout
    assert done.stderr == b""


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback() -> None:
    process = subprocess.Popen([*EFISHIM, "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGPIPE  # as of any program whose reader is gone


@pytest.mark.slow
def test_a_route_that_does_not_apply_is_status_77(tmp_path: Path) -> None:
    """An ELF file without EFI entry: a header and one instruction."""
    import struct  # noqa: PLC0415

    elf = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 120, 0x100000, 0x100000, 1, 1, 0x1000) + b"\xf4"
    (tmp_path / "kernel.elf").write_bytes(elf)
    done = run(str(tmp_path / "kernel.elf"))
    assert done.returncode == 77
    assert done.stdout == b""
    assert b"PE" in done.stderr
